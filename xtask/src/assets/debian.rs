//! Debian's interpreters: static in the executable, stripped, link-time optimised, each with the glibc of its release.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use object::Object as _;

use super::{
    archive::{self, Archive},
    store::Complete,
};
use crate::apt;

/// The assets' names.
pub const NAMES: [&str; 6] = [
    "debian-2.7",
    "debian-3.9",
    "debian-3.11",
    "debian-3.13",
    "debian-3.14",
    "debian-3.15",
];

/// The suite that has this interpreter.
fn suite(name: &str) -> Option<&'static str> {
    Some(match name {
        "debian-2.7" | "debian-3.9" => "bullseye",
        "debian-3.11" => "bookworm",
        "debian-3.13" => "trixie",
        "debian-3.14" => "forky",
        "debian-3.15" => "sid",
        _ => return None,
    })
}

/// Makes a root in `folder` with the interpreter, what it needs, and its debug file.
pub fn unpack(name: &str, folder: &Path) -> Result<Complete> {
    if !apt::is_here() {
        bail!("made from Debian's packages by apt, which is not here");
    }
    let suite = suite(name).context("no such asset")?;
    let package = name.replace("debian-", "python");
    let work = tempfile::tempdir()?;
    let archive = Archive::open(work.path().to_path_buf(), suite)?;
    prepare(folder)?;
    let packages = archive.with_dependencies(&package)?;
    for package in &packages {
        archive::unpack(package, folder, None)?;
    }
    let names = packages
        .iter()
        .filter_map(|path| path.file_name()?.to_str());
    let version = names
        .into_iter()
        .find_map(|file| version_in(file, &package))
        .context("the interpreter's package is missing")?;
    let python = format!("usr/bin/{package}");
    let debug_file = debug_file(&archive, &package, folder, &python);
    if let Err(error) = &debug_file {
        eprintln!("{name}: without debug file: {error:#}");
    }
    Ok(Complete {
        python: format!("/{python}"),
        version,
        debug_file: debug_file.ok(),
    })
}

/// The folders that packages count on: those of the merged `/usr`, and what a running program needs.
fn prepare(root: &Path) -> Result<()> {
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(root.join("usr").join(name))?;
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    for name in ["tmp", "proc", "dev", "sys", "etc"] {
        fs::create_dir(root.join(name))?;
    }
    Ok(fs::set_permissions(
        root.join("tmp"),
        fs::Permissions::from_mode(0o1777),
    )?)
}

/// `python3.13_3.13.5-2+deb13u1_amd64.deb` → `3.13.5`, if it is of this package.
fn version_in(file: &str, package: &str) -> Option<String> {
    let (version, _) = file
        .strip_prefix(package)?
        .strip_prefix('_')?
        .split_once('_')?;
    Some(
        version
            .split(['-', '+'])
            .next()?
            .replace('~', "")
            .replace("%7e", ""),
    )
}

/// Takes the interpreter's debug file, and nothing else, out of its large `-dbg` package. Relative to the root.
fn debug_file(archive: &Archive, package: &str, root: &Path, python: &str) -> Result<String> {
    let path = debug_path(&fs::read(root.join(python))?)?;
    archive::unpack(
        &archive.alone(&format!("{package}-dbg"))?,
        root,
        Some(&format!("./{path}")),
    )?;
    Ok(path)
}

/// Where Debian keeps the debug file of an executable: by its build ID.
fn debug_path(executable: &[u8]) -> Result<String> {
    let elf = object::File::parse(executable)?;
    let id = elf.build_id()?.context("the interpreter has no build ID")?;
    let (first, rest) = id
        .split_first()
        .context("the interpreter's build ID is empty")?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("usr/lib/debug/.build-id/{first:02x}/{rest}.debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_the_packages_file_name() {
        let version = |file| version_in(file, "python3.13");
        assert_eq!(
            version("python3.13_3.13.5-2+deb13u1_amd64.deb").as_deref(),
            Some("3.13.5")
        );
        assert_eq!(
            version("python3.13_3.13.0~rc2-1_amd64.deb").as_deref(),
            Some("3.13.0rc2")
        );
        assert_eq!(version("python3.13-minimal_3.13.5-2_amd64.deb"), None);
        assert_eq!(version("libpython3.13-stdlib_3.13.5-2_amd64.deb"), None);
    }

    #[test]
    fn every_name_has_a_suite() {
        assert!(NAMES.iter().all(|name| suite(name).is_some()));
        assert_eq!(suite("debian-1.5"), None);
    }
}
