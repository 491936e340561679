//! The interpreters to judge on.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// An interpreter, or why it is not here: a line of `cargo xtask assets --list`.
#[derive(Clone, Debug, Deserialize)]
pub struct Python {
    /// `pyenv-3.12.1`, `debian-3.13`.
    pub name: String,
    /// The executable as seen from `root`.
    pub python: Option<PathBuf>,
    /// To chroot into.
    pub root: Option<PathBuf>,
    /// CPython's version.
    pub version: Option<String>,
    /// Has the symbols that the executable has not.
    pub debug_file: Option<PathBuf>,
    /// It has no symbols of its own.
    stripped: bool,
    /// Why it is not here.
    pub absent: Option<String>,
}

impl Python {
    /// Why nothing can be judged on it, if so.
    pub fn skipped(&self) -> Option<String> {
        let symbols = !self.stripped || self.debug_file.is_some();
        let reason = (!symbols).then(|| "no debug file: the oracle finds no take_gil".to_owned());
        self.absent.clone().or(reason)
    }

    /// Whether its GIL is a semaphore.
    pub fn has_semaphore(&self) -> bool {
        let version = self.version.as_ref();
        version.is_some_and(|version| version.starts_with("2.7"))
    }

    /// Whether this workload is for it: those that are stripped, which differ in how the GIL is found, have two.
    pub fn is_judged_on(&self, workload: &str) -> bool {
        match self.name.split_once('-') {
            // It is about how often a semaphore is handed on.
            _ if workload == "crowd" => self.has_semaphore() && !self.stripped,
            // It has no ctypes.
            Some(("musl", _)) => workload != "churn",
            _ => !self.stripped || ["spin", "churn"].contains(&workload),
        }
    }
}

/// The CPythons that gilscope and the oracle both know: pyenv's 2.7, 3.6 and later, stripped copies of them, and
/// Debian's, which are stripped too; a free-threaded one with its GIL switched on, and one on musl.
pub fn list() -> Result<Vec<Python>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace())
        .args(["xtask", "assets", "--list"]);
    let output = command.output().context("cannot run cargo xtask")?;
    ensure!(
        output.status.success(),
        "cargo xtask assets --list: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout)?;
    let all: Vec<Python> = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|one| is_judged(&one.name)).collect())
}

fn is_judged(name: &str) -> bool {
    let minor = |version: &str| version.strip_prefix("3.")?.split('.').next()?.parse().ok();
    let from = |version: &str, oldest: u32| {
        version.starts_with("2.7") || minor(version).is_some_and(|minor: u32| minor >= oldest)
    };
    match name.split_once('-') {
        Some(("freethreaded" | "musl", _)) => true,
        Some(("pyenv" | "stripped", version)) => from(version, 6),
        Some(("debian", version)) => from(version, 9),
        // pyenv itself is absent.
        _ => name == "pyenv",
    }
}

/// The workspace's root folder.
pub fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_both_know_is_judged() {
        for name in [
            "pyenv-2.7.18",
            "pyenv-3.6.15",
            "pyenv-3.7.16",
            "pyenv-3.13.0",
            "freethreaded-3.13",
            "musl-3.13",
            "stripped-2.7.18",
            "stripped-3.6.15",
            "stripped-3.12.1",
            "debian-2.7",
            "debian-3.9",
            "debian-3.11",
            "pyenv",
        ] {
            assert!(is_judged(name), "{name}");
        }
        for name in ["pyenv-3.5.9", "debian-3.8"] {
            assert!(!is_judged(name), "{name}");
        }
    }
}
