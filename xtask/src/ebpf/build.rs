//! One reproducible build: the same sources and toolchain make the same bytes, wherever they lie.

use std::{ffi::OsString, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{
    package::{self, Package},
    rustc,
    toolchain::Tools,
};
use crate::process;

const TARGET: &str = "bpfel-unknown-none";

/// What every build is told; recorded beside the object. `debuginfo` and `--btf`: bpf-linker makes BTF from the debug information.
/// `bpf_target_arch`: whose `pt_regs` the programs read, whatever machine builds them.
pub const FLAGS: [&str; 3] = [
    "--cfg=bpf_target_arch=\"x86_64\"",
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
];

/// Variables by which a user's or the outer cargo's settings would reach the bytes.
const FOREIGN: [&str; 6] = [
    "LD_LIBRARY_PATH",
    "RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_INCREMENTAL",
];

/// Builds the package's object, with `target` as cargo's target folder, and returns its bytes.
pub fn object(root: &Path, package: &Package, tools: &Tools, target: &Path) -> Result<Vec<u8>> {
    let folder = root.join(package.folder);
    let binary = package::binary(&folder)?;
    let mut cargo = process::cargo();
    without_foreign(&mut cargo).current_dir(&folder);
    cargo.args([
        "build",
        "--locked",
        "--release",
        "-Zbuild-std=core",
        "--target",
        TARGET,
        "--bin",
        &binary,
    ]);
    cargo.arg("--target-dir").arg(target);
    cargo
        .env("RUSTC", &tools.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", tools.path()?);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", encoded_flags(root, tools)?);
    rustc::stand_in(&mut cargo, root)?;
    process::run(&mut cargo)?;
    stripped(&target.join(TARGET).join("release").join(binary), tools)
}

/// The object without DWARF: it is not loaded, is most of the file, and names the folder that cargo built in. BTF stays.
fn stripped(path: &Path, tools: &Tools) -> Result<Vec<u8>> {
    let stripped = path.with_extension("stripped");
    process::output(
        Command::new(&tools.strip)
            .arg("--strip-debug")
            .arg("-o")
            .arg(&stripped)
            .arg(path),
    )?;
    fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))
}

/// Takes from `cargo` what the environment would add to a build.
pub fn without_foreign(cargo: &mut Command) -> &mut Command {
    let profile = |name: &OsString| {
        name.to_str()
            .is_some_and(|name| name.starts_with("CARGO_PROFILE_"))
    };
    for name in std::env::vars_os().map(|(name, _)| name).filter(profile) {
        cargo.env_remove(name);
    }
    for name in FOREIGN {
        cargo.env_remove(name);
    }
    cargo
}

/// The flags, and those that take this machine's paths out of the object.
fn encoded_flags(root: &Path, tools: &Tools) -> Result<OsString> {
    let mut remaps = vec![
        (root.to_path_buf(), "/gilscope"),
        (tools.sysroot.join("lib/rustlib/src/rust"), "/rust"),
    ];
    // rustup's and Debian's folder may be a symbolic link: rustc sees either name.
    if let Ok(real) = tools.sysroot.join("lib/rustlib/src/rust").canonicalize() {
        remaps.push((real, "/rust"));
    }
    // One folder for each registry, its name made from the registry's address.
    for registry in fs::read_dir(cargo_home()?.join("registry/src"))
        .into_iter()
        .flatten()
    {
        remaps.push((registry?.path(), "/registry"));
    }
    let mut flags = OsString::from(FLAGS.join("\x1f"));
    for (from, to) in remaps {
        flags.push("\x1f--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    Ok(flags)
}

fn cargo_home() -> Result<std::path::PathBuf> {
    let home = || std::env::home_dir().map(|home| home.join(".cargo"));
    std::env::var_os("CARGO_HOME")
        .map(Into::into)
        .or_else(home)
        .context("neither CARGO_HOME nor a home folder")
}
