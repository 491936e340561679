//! `--list`: what the tests read.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::{debian, pyenv, pypi, source, store};

/// One line; see the option's help for what the fields mean.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    python: Option<PathBuf>,
    root: Option<PathBuf>,
    version: Option<String>,
    debug_file: Option<PathBuf>,
    stripped: bool,
    absent: Option<String>,
}

/// Prints a line for every asset.
pub fn print() -> Result<()> {
    let home = super::home()?;
    let mut lines: Vec<_> = debian::NAMES
        .iter()
        .map(|name| made(&home, name, true))
        .collect();
    lines.extend(source::names().map(|name| built(&home, name)));
    lines.push(built(&home, pypi::NAME));
    let interpreters = pyenv::interpreters();
    if interpreters.is_empty() {
        let folder = pyenv::versions_folder().unwrap_or_default();
        lines.push(absent(
            "pyenv",
            false,
            format!(
                "no interpreters in {}; PYENV_ROOT names pyenv's folder",
                folder.display()
            ),
        ));
    }
    for one in interpreters {
        let stripped = one
            .library
            .is_some()
            .then(|| made(&home, &pyenv::stripped_name(&one.version), false));
        lines.push(unstripped(one));
        lines.extend(stripped);
    }
    for line in lines {
        println!("{}", serde_json::to_string(&line)?);
    }
    Ok(())
}

/// An asset from the store; with `rooted`, its folder is a root to chroot into.
fn made(home: &Path, name: &str, rooted: bool) -> Line {
    let Some(complete) = store::read(home, name) else {
        return absent(name, true, format!("not made: cargo xtask assets {name}"));
    };
    let folder = home.join(name);
    Line {
        name: name.to_owned(),
        python: Some(if rooted {
            complete.python.into()
        } else {
            folder.join(complete.python)
        }),
        debug_file: complete.debug_file.map(|file| folder.join(file)),
        root: rooted.then_some(folder),
        version: Some(complete.version),
        stripped: true,
        absent: None,
    }
}

/// An asset from the store that has its symbols itself.
fn built(home: &Path, name: &str) -> Line {
    Line {
        stripped: false,
        ..made(home, name, false)
    }
}

fn unstripped(one: pyenv::Interpreter) -> Line {
    Line {
        name: format!("pyenv-{}", one.version),
        python: Some(one.python),
        root: None,
        version: Some(one.version),
        debug_file: None,
        stripped: false,
        absent: None,
    }
}

fn absent(name: &str, stripped: bool, reason: String) -> Line {
    Line {
        name: name.to_owned(),
        python: None,
        root: None,
        version: None,
        debug_file: None,
        stripped,
        absent: Some(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_whole_and_absence_has_a_reason() {
        let home = tempfile::tempdir().unwrap();
        let complete = |python: &str| store::Complete {
            python: python.to_owned(),
            version: "3.13.5".to_owned(),
            debug_file: Some("usr/lib/debug/x.debug".to_owned()),
        };
        store::make(home.path(), "rooted", |_| {
            Ok(complete("/usr/bin/python3.13"))
        })
        .unwrap();
        store::make(home.path(), "plain", |_| Ok(complete("bin/python3.13"))).unwrap();
        let rooted = made(home.path(), "rooted", true);
        assert_eq!(rooted.python, Some("/usr/bin/python3.13".into()));
        assert_eq!(rooted.root, Some(home.path().join("rooted")));
        assert_eq!(
            rooted.debug_file,
            Some(home.path().join("rooted/usr/lib/debug/x.debug"))
        );
        let plain = made(home.path(), "plain", false);
        assert_eq!(
            (plain.python, plain.root),
            (Some(home.path().join("plain/bin/python3.13")), None)
        );
        assert!(plain.stripped && !built(home.path(), "plain").stripped);
        let missing = made(home.path(), "missing", true);
        assert_eq!(
            missing.absent.as_deref(),
            Some("not made: cargo xtask assets missing")
        );
        assert!(missing.python.is_none());
    }
}
