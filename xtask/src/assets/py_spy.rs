//! py-spy from PyPI, to measure against.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::store;
use crate::process;

const NAME: &str = "py-spy";

/// Its executable, once it is made.
pub fn executable() -> Result<PathBuf> {
    Ok(super::home()?.join(NAME).join("bin/py-spy"))
}

/// Installs it by `python`'s pip, unless it is there.
pub fn make(python: &Path) -> Result<()> {
    store::make(&super::home()?, NAME, |folder| {
        process::output(
            Command::new(python)
                .args(["-m", "pip", "install", "--quiet", "--target"])
                .arg(folder)
                .arg(NAME),
        )
    })
}
