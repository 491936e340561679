//! The eBPF crates and what their objects are made from.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::process;

/// An eBPF crate outside the workspace and the object that it makes; paths are relative to the workspace's root.
pub struct Package {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Its folder.
    pub folder: &'static str,
    /// The committed object.
    pub object: &'static str,
}

/// All of them.
pub const PACKAGES: &[Package] = &[
    Package {
        name: "gilscope-ebpf",
        folder: "gilscope-ebpf",
        object: "gilscope/ebpf/gilscope.bpf.o",
    },
    Package {
        name: "oracle-ebpf",
        folder: "tests/oracle-ebpf",
        object: "tests/oracle/oracle.bpf.o",
    },
];

/// The names, for the command line.
pub fn names() -> Vec<&'static str> {
    PACKAGES.iter().map(|package| package.name).collect()
}

/// What cargo knows of a manifest; the fields that matter here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Manifest>,
}

#[derive(Deserialize)]
struct Manifest {
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Dependency {
    path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Manifest {
    /// Asks cargo, which neither resolves nor downloads anything for this.
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("Cargo.toml");
        let mut cargo = process::cargo();
        cargo
            .args([
                "metadata",
                "--no-deps",
                "--offline",
                "--format-version=1",
                "--manifest-path",
            ])
            .arg(&path);
        let metadata: Metadata = serde_json::from_str(&process::output(&mut cargo)?)?;
        let own = metadata
            .packages
            .into_iter()
            .find(|package| package.manifest_path == path);
        own.with_context(|| format!("cargo metadata does not know {}", path.display()))
    }
}

/// The name of the crate's one binary.
pub fn binary(folder: &Path) -> Result<String> {
    let targets = Manifest::read(folder)?.targets;
    let binary = targets
        .into_iter()
        .find(|target| target.kind.iter().any(|kind| kind == "bin"));
    Ok(binary.context("no binary")?.name)
}

/// The SHA-256 of every file that the crate's object is made from, by its path relative to `root`: the crate's manifest, lock
/// file, cargo configuration and sources, and those of the crates of this repository that it uses.
pub fn inputs(root: &Path, folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut inputs = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let manifest = Manifest::read(&folder)?;
        for name in ["Cargo.toml", "Cargo.lock", "build.rs", ".cargo/config.toml"]
            .map(|name| folder.join(name))
        {
            if name.is_file() {
                add(&mut inputs, root, &name)?;
            }
        }
        add_all(&mut inputs, root, &folder.join("src"))?;
        let seen = |path: &PathBuf| {
            path.strip_prefix(root)
                .is_ok_and(|path| inputs.contains_key(&key(&path.join("Cargo.toml"))))
        };
        folders.extend(
            manifest
                .dependencies
                .into_iter()
                .filter_map(|on| on.path)
                .filter(|path| !seen(path)),
        );
    }
    Ok(inputs)
}

fn add_all(inputs: &mut BTreeMap<String, String>, root: &Path, folder: &Path) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            add_all(inputs, root, &path)?
        } else {
            add(inputs, root, &path)?
        }
    }
    Ok(())
}

fn add(inputs: &mut BTreeMap<String, String>, root: &Path, file: &Path) -> Result<()> {
    let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let relative = file
        .strip_prefix(root)
        .context("a source outside the repository")?;
    inputs.insert(key(relative), sha256(&content));
    Ok(())
}

fn key(relative: &Path) -> String {
    relative.to_string_lossy().into_owned()
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A repository with an eBPF crate `probe` that uses the crate `shared`.
    pub fn repository() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, manifest) in [
            (
                "probe",
                "[package]\nname='probe'\nedition='2024'\n[dependencies]\nshared={path='../shared'}\n[workspace]\n",
            ),
            (
                "shared",
                "[package]\nname='shared'\nedition='2024'\n[workspace]\n",
            ),
        ] {
            let folder = root.path().join(name);
            fs::create_dir_all(folder.join("src/inner")).unwrap();
            fs::write(folder.join("Cargo.toml"), manifest).unwrap();
            fs::write(folder.join("src/inner/mod.rs"), "").unwrap();
        }
        fs::write(root.path().join("probe/src/main.rs"), "fn main() {}").unwrap();
        fs::write(root.path().join("probe/Cargo.lock"), "").unwrap();
        fs::write(root.path().join("shared/src/lib.rs"), "").unwrap();
        root
    }

    #[test]
    fn inputs_are_the_crates_files_and_those_of_the_crates_it_uses() {
        let root = repository();
        let inputs = inputs(root.path(), &root.path().join("probe")).unwrap();
        let expected = [
            "probe/Cargo.lock",
            "probe/Cargo.toml",
            "probe/src/inner/mod.rs",
            "probe/src/main.rs",
            "shared/Cargo.toml",
            "shared/src/inner/mod.rs",
            "shared/src/lib.rs",
        ];
        assert_eq!(inputs.keys().collect::<Vec<_>>(), expected);
        assert_eq!(
            inputs["shared/src/lib.rs"],
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn the_binary_has_the_name_that_cargo_gives_it() {
        let root = repository();
        assert_eq!(binary(&root.path().join("probe")).unwrap(), "probe");
        assert!(binary(&root.path().join("shared")).is_err());
    }
}
