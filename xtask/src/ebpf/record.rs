//! The record beside each committed object: from which inputs and by which toolchain it was made.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::{
    build,
    package::{self, Package},
};

/// The versions that decide about an object's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// `rustc --version` and its LLVM's.
    pub rustc: String,
    /// `cargo --version`.
    pub cargo: String,
    /// bpf-linker's and its LLVM's.
    pub bpf_linker: String,
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.rustc, self.cargo, self.bpf_linker)
    }
}

/// What is written to `<object>.inputs`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// SHA-256 of each input file, by its path in the repository.
    pub inputs: BTreeMap<String, String>,
    /// What cargo and rustc are told, the same on every machine.
    pub flags: Vec<String>,
    /// What built it.
    pub toolchain: Versions,
    /// SHA-256 of the object itself.
    pub object_sha256: String,
}

impl Record {
    /// The record of an object just built.
    pub fn of(root: &Path, package: &Package, toolchain: Versions, object: &[u8]) -> Result<Self> {
        Ok(Self {
            inputs: package::inputs(root, &root.join(package.folder))?,
            flags: build::FLAGS.map(str::to_owned).to_vec(),
            toolchain,
            object_sha256: package::sha256(object),
        })
    }

    /// The committed record.
    pub fn read(root: &Path, package: &Package) -> Result<Self> {
        let path = path(root, package);
        let text = fs::read(&path).with_context(|| {
            format!("cannot read {}; make it: cargo xtask ebpf", path.display())
        })?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not a record", path.display()))
    }

    /// Writes the record beside the object.
    pub fn write(&self, root: &Path, package: &Package) -> Result<()> {
        let path = path(root, package);
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// An error that names what differs, unless the committed object is this record's and the sources are those it was made from.
    pub fn demand_fresh(&self, root: &Path, package: &Package) -> Result<()> {
        let object = fs::read(root.join(package.object))
            .with_context(|| format!("cannot read {}", package.object))?;
        let now = Self::of(root, package, self.toolchain.clone(), &object)?;
        let mut differences = differences(&self.inputs, &now.inputs);
        if self.flags != now.flags {
            differences.push("the flags".to_owned());
        }
        if self.object_sha256 != now.object_sha256 {
            differences.push(package.object.to_owned());
        }
        if !differences.is_empty() {
            bail!(
                "{} is stale, make it again: cargo xtask ebpf. Differs: {}",
                package.object,
                differences.join(", ")
            );
        }
        Ok(())
    }
}

fn path(root: &Path, package: &Package) -> PathBuf {
    root.join(format!("{}.inputs", package.object))
}

/// The keys whose values are not the same in both.
fn differences(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let gone = before.keys().filter(|key| !now.contains_key(*key));
    let changed = now
        .iter()
        .filter(|(key, hash)| before.get(*key) != Some(hash))
        .map(|(key, _)| key);
    gone.chain(changed).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: Package = Package {
        name: "probe",
        folder: "probe",
        object: "probe.bpf.o",
    };

    fn recorded(root: &Path) -> Record {
        fs::write(root.join(PROBE.object), "object").unwrap();
        let versions = Versions {
            rustc: String::new(),
            cargo: String::new(),
            bpf_linker: String::new(),
        };
        Record::of(root, &PROBE, versions, b"object")
            .unwrap()
            .write(root, &PROBE)
            .unwrap();
        Record::read(root, &PROBE).unwrap()
    }

    #[test]
    fn an_untouched_repository_is_fresh() {
        let root = package::tests::repository();
        recorded(root.path())
            .demand_fresh(root.path(), &PROBE)
            .unwrap();
    }

    #[test]
    fn every_kind_of_change_is_named() {
        let root = package::tests::repository();
        let mut record = recorded(root.path());
        fs::write(root.path().join("shared/src/lib.rs"), "// changed").unwrap();
        fs::write(root.path().join("probe/src/new.rs"), "").unwrap();
        fs::remove_file(root.path().join("probe/Cargo.lock")).unwrap();
        fs::write(root.path().join(PROBE.object), "another").unwrap();
        record.flags.clear();
        let error = record
            .demand_fresh(root.path(), &PROBE)
            .unwrap_err()
            .to_string();
        for named in [
            "shared/src/lib.rs",
            "probe/src/new.rs",
            "probe/Cargo.lock",
            "probe.bpf.o",
            "the flags",
        ] {
            assert!(error.contains(named), "{named} is not in: {error}");
        }
        assert!(!error.contains("probe/src/main.rs"), "{error}");
    }

    #[test]
    fn an_object_without_record_says_how_to_make_it() {
        let root = package::tests::repository();
        let error = Record::read(root.path(), &PROBE).unwrap_err().to_string();
        assert!(error.contains("cargo xtask ebpf"), "{error}");
    }
}
