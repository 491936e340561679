//! pyenv's interpreters: shared libpython, unstripped, so that an oracle finds its symbols; and stripped copies of them.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::store::Complete;
use crate::process;

const STRIPPED: &str = "stripped-";

/// One of pyenv's interpreters.
pub struct Interpreter {
    /// `3.12.1`.
    pub version: String,
    /// The executable, a stub.
    pub python: PathBuf,
    /// Where its code is, if that is shared.
    pub library: Option<PathBuf>,
}

/// The folder that pyenv keeps its interpreters in.
pub fn versions_folder() -> Option<PathBuf> {
    let root = env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".pyenv")))?;
    Some(root.join("versions"))
}

/// All of pyenv's CPythons, by version.
pub fn interpreters() -> Vec<Interpreter> {
    let entries = versions_folder()
        .into_iter()
        .flat_map(fs::read_dir)
        .flatten()
        .flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| interpreter(&entry.path()))
        .collect();
    found.sort_by_key(|one| numbers(&one.version));
    found
}

fn interpreter(folder: &Path) -> Option<Interpreter> {
    let version = folder.file_name()?.to_str()?.to_owned();
    let [major, minor, _] = numbers(&version)?;
    let python = folder.join(format!("bin/python{major}.{minor}"));
    // Up to 3.7 the ABI flag `m` is in the name (PEP 3149; dropped in 3.8).
    let names =
        ["", "m"].map(|flag| folder.join(format!("lib/libpython{major}.{minor}{flag}.so.1.0")));
    python.is_file().then(|| Interpreter {
        version,
        python,
        library: names.into_iter().find(|name| name.is_file()),
    })
}

/// `3.12.1` → [3, 12, 1]; nothing for `pypy3.10-7.3` and the like.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    parts?.try_into().ok()
}

/// The names of the stripped copies that can be made.
pub fn stripped_names() -> impl Iterator<Item = String> {
    interpreters()
        .into_iter()
        .filter(|one| one.library.is_some())
        .map(|one| stripped_name(&one.version))
}

/// What the stripped copy of a version is called.
pub fn stripped_name(version: &str) -> String {
    format!("{STRIPPED}{version}")
}

/// Whether that is what a stripped copy is called.
pub fn is_stripped_name(name: &str) -> bool {
    name.starts_with(STRIPPED)
}

/// Makes in `folder` a stripped copy of libpython, and a script that becomes the interpreter with it. The stub's `RUNPATH` comes after
/// `LD_LIBRARY_PATH` (ld.so(8)).
pub fn strip(name: &str, folder: &Path) -> Result<Complete> {
    let one = interpreters()
        .into_iter()
        .find(|one| stripped_name(&one.version) == name)
        .context("pyenv has no such version")?;
    let library = one.library.context("its libpython is not shared")?;
    let file = |path: &Path| {
        path.file_name()
            .map(PathBuf::from)
            .context("a path without a name")
    };
    for name in ["lib", "bin"] {
        fs::create_dir(folder.join(name))?;
    }
    process::output(
        Command::new("strip")
            .arg("--strip-all")
            .arg("-o")
            .arg(folder.join("lib").join(file(&library)?))
            .arg(&library),
    )?;
    let python = Path::new("bin").join(file(&one.python)?);
    let script = folder.join(&python);
    fs::write(&script, script_for(&one.python))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(Complete {
        python: python.to_string_lossy().into_owned(),
        version: one.version,
        debug_file: Some(library.to_string_lossy().into_owned()),
    })
}

fn script_for(python: &Path) -> String {
    format!(
        "#!/bin/sh\nhere=$(dirname \"$(readlink -f \"$0\")\")\nLD_LIBRARY_PATH=\"$here/../lib\" exec \"{}\" \"$@\"\n",
        python.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cpythons_versions_are_taken() {
        assert_eq!(numbers("3.12.1"), Some([3, 12, 1]));
        for other in ["pypy3.10-7.3.16", "3.13.0t", "3.12", "my-venv", ""] {
            assert_eq!(numbers(other), None, "{other}");
        }
    }
}
