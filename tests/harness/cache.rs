//! What the tests take from elsewhere, and keep.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use nix::fcntl::{Flock, FlockArg};

use crate::python;

/// A Python that can import PyPI's `hdrhistogram`: in a virtual environment in `folder` that is made
/// once.
///
/// # Errors
/// Why it cannot be had, for example without a network.
pub fn python_with_hdrhistogram(folder: &Path) -> Result<PathBuf, String> {
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let lock = File::create(folder.join("hdrhistogram.lock")).map_err(|error| error.to_string())?;
    // Other tests may be making it.
    let _lock =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error.to_string())?;
    let environment = folder.join("hdrhistogram");
    let interpreter = environment.join("bin/python");
    if run(Command::new(&interpreter).args(["-c", "import hdrh.histogram"])).is_err() {
        let make = ["-m", "venv", "--clear"];
        run(Command::new(python().program())
            .args(make)
            .arg(&environment))?;
        let install = ["-m", "pip", "install", "--quiet", "hdrhistogram"];
        run(Command::new(&interpreter).args(install))?;
    }
    Ok(interpreter)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let why = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    output.status.success().then_some(()).ok_or_else(why)
}
