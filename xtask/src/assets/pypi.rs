//! An interpreter with packages from PyPI, for programs that are to be healthy.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{pyenv, store::Complete};
use crate::{process, workspace};

/// The asset's name.
pub const NAME: &str = "pypi";

/// Makes in `folder` a virtual environment of pyenv's newest interpreter. Its scripts are of no use, as the folder is renamed; its
/// interpreter finds everything from where it is.
pub fn install(folder: &Path) -> Result<Complete> {
    let newest = pyenv::interpreters().pop();
    let newest = newest.context("no interpreter of pyenv's: pyenv install 3.13")?;
    process::output(Command::new(newest.python).args(["-m", "venv"]).arg(folder))?;
    let python = "bin/python";
    let install = ["-m", "pip", "install", "--quiet", "--no-deps", "-r"];
    let requirements = workspace::root().join("tests/workloads/healthy/requirements.txt");
    process::output(
        Command::new(folder.join(python))
            .args(install)
            .arg(requirements),
    )?;
    Ok(Complete {
        python: python.to_owned(),
        version: newest.version,
        debug_file: None,
    })
}
