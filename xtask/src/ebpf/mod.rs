//! `cargo xtask ebpf`: the eBPF objects, from source, reproducibly.
//!
//! The objects are committed, so that building gilscope needs stable Rust alone. Beside each stands a [`record`] of what it was
//! made from; this room's tests compare it with the sources, and need no BPF toolchain for it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

mod build;
mod install;
mod package;
mod record;
mod rustc;
mod stack;
mod toolchain;

use package::Package;
use record::Record;
pub use rustc::become_rustc_if_called_so;
use toolchain::Tools;

/// Builds the eBPF objects that are committed to the repository, installing the toolchain for it when it is not there.
///
/// Needs a rustc with its library's source (rust-src) and a bpf-linker whose LLVM is at least as new as rustc's. On Debian both come
/// from packages, elsewhere from rustup's nightly; bpf-linker is built into target/tools.
#[derive(clap::Args)]
pub struct Args {
    /// Change nothing: build aside, and compare with what is committed (the bytes too, where the toolchain is the recorded one)
    #[arg(long)]
    check: bool,
    /// Only this crate
    #[arg(long = "crate", value_name = "NAME", value_parser = package::names())]
    package: Option<String>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let root = crate::workspace::root();
    let tools = install::tools()?;
    eprintln!("toolchain: {}", tools.versions);
    // Kept between builds; a check starts from nothing, as a cache could hide what has changed.
    let kept = crate::workspace::target().join("ebpf");
    fs::create_dir_all(&kept)?;
    let fresh = tempfile::tempdir_in(&kept)?;
    let wanted = |package: &&Package| {
        args.package
            .as_ref()
            .is_none_or(|name| *name == package.name)
    };
    for package in package::PACKAGES.iter().filter(wanted) {
        let done = if args.check {
            check(&root, package, &tools, fresh.path())
        } else {
            write(&root, package, &tools, &kept)
        };
        done.with_context(|| format!("the eBPF crate {}", package.name))?;
    }
    Ok(())
}

fn write(root: &Path, package: &Package, tools: &Tools, target: &Path) -> Result<()> {
    let object = build::object(root, package, tools, target)?;
    stack::demand_room(&object)?;
    let record = Record::of(root, package, tools.versions.clone(), &object)?;
    let path = root.join(package.object);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, &object).with_context(|| format!("cannot write {}", path.display()))?;
    record.write(root, package)?;
    eprintln!(
        "{}: {} bytes, sha256 {}",
        package.object,
        object.len(),
        record.object_sha256
    );
    Ok(())
}

fn check(root: &Path, package: &Package, tools: &Tools, target: &Path) -> Result<()> {
    let committed = Record::read(root, package)?;
    committed.demand_fresh(root, package)?;
    let object = build::object(root, package, tools, target)?;
    let built = Record::of(root, package, tools.versions.clone(), &object)?;
    if committed.toolchain != built.toolchain {
        eprintln!(
            "{}: fresh; built, bytes not compared: it was made by {}",
            package.object, committed.toolchain
        );
    } else if committed.object_sha256 != built.object_sha256 {
        bail!(
            "the same toolchain made other bytes than {}: sha256 {}",
            package.object,
            built.object_sha256
        );
    } else {
        eprintln!(
            "{}: fresh, and built again to the same bytes",
            package.object
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stale object cannot ship: whoever changes what an object is made from has to build it again.
    #[test]
    fn committed_objects_are_made_from_the_sources_here() {
        let root = crate::workspace::root();
        for package in package::PACKAGES {
            let record = Record::read(&root, package).unwrap();
            record.demand_fresh(&root, package).unwrap();
        }
    }

    #[test]
    fn the_stack_of_every_kernel_is_large_enough_for_them() {
        let root = crate::workspace::root();
        for package in package::PACKAGES {
            let object = fs::read(root.join(package.object)).unwrap();
            stack::demand_room(&object).unwrap();
        }
    }
}
