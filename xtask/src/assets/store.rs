//! A folder of assets: each is made aside under a lock and appears whole.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

const COMPLETE: &str = ".complete";

/// What `.complete` says of an interpreter. Relative paths are relative to the asset's folder.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Complete {
    /// The interpreter.
    pub python: String,
    /// CPython's version.
    pub version: String,
    /// The file with its symbols.
    pub debug_file: Option<String>,
}

/// Makes the asset `name` by `build`, which returns what `.complete` is to say, unless it is there.
pub fn make<T: Serialize>(
    home: &Path,
    name: &str,
    build: impl FnOnce(&Path) -> Result<T>,
) -> Result<()> {
    fs::create_dir_all(home).with_context(|| format!("cannot make {}", home.display()))?;
    let _lock = lock(&home.join(format!(".{name}.lock")))?;
    if home.join(name).join(COMPLETE).is_file() {
        return Ok(());
    }
    eprintln!("making the asset {name}");
    // Under the lock these are remains of a maker that died.
    let (aside, folder) = (home.join(format!(".{name}.making")), home.join(name));
    for remains in [&aside, &folder] {
        if remains.exists() {
            fs::remove_dir_all(remains)
                .with_context(|| format!("cannot remove {}", remains.display()))?;
        }
    }
    fs::create_dir(&aside)?;
    let built = build(&aside).and_then(|complete| {
        Ok(fs::write(
            aside.join(COMPLETE),
            serde_json::to_string(&complete)?,
        )?)
    });
    if let Err(error) = built {
        let _ = fs::remove_dir_all(&aside);
        return Err(error);
    }
    fs::rename(&aside, &folder).with_context(|| format!("cannot rename to {}", folder.display()))
}

/// What is known of the asset `name`, if it is there.
pub fn read(home: &Path, name: &str) -> Option<Complete> {
    serde_json::from_slice(&fs::read(home.join(name).join(COMPLETE)).ok()?).ok()
}

/// Waits for another maker of the same asset.
fn lock(path: &Path) -> Result<Flock<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("cannot lock {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    fn complete() -> Complete {
        Complete {
            python: "bin/python".into(),
            version: "3.13.5".into(),
            debug_file: None,
        }
    }

    #[test]
    fn an_asset_is_made_once_and_whole() {
        let home = tempfile::tempdir().unwrap();
        make(home.path(), "a", |folder| {
            fs::write(folder.join("file"), "")?;
            Ok(complete())
        })
        .unwrap();
        assert_eq!(read(home.path(), "a"), Some(complete()));
        assert!(home.path().join("a/file").is_file());
        make(home.path(), "a", |_| -> Result<Complete> {
            bail!("made twice")
        })
        .unwrap();
    }

    #[test]
    fn a_failure_leaves_nothing_and_remains_are_replaced() {
        let home = tempfile::tempdir().unwrap();
        make(home.path(), "a", |_| -> Result<Complete> { bail!("no") }).unwrap_err();
        assert!(!home.path().join("a").exists() && !home.path().join(".a.making").exists());
        fs::create_dir(home.path().join("a")).unwrap();
        fs::create_dir(home.path().join(".a.making")).unwrap();
        make(home.path(), "a", |_| Ok(complete())).unwrap();
        assert_eq!(read(home.path(), "a"), Some(complete()));
    }
}
