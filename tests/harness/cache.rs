//! What the tests take from elsewhere, and keep.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use nix::fcntl::{Flock, FlockArg};

use crate::python;

/// The `bin` folder of a virtual environment with this package of PyPI's (`name==version`), in `folder`, made once.
///
/// # Errors
/// Why it cannot be had, for example without a network.
pub fn environment_with(package: &str, folder: &Path) -> Result<PathBuf, String> {
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let lock = folder.join(format!("{package}.lock"));
    let lock = File::create(lock).map_err(|error| error.to_string())?;
    // Other tests may be making it.
    let _lock =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error.to_string())?;
    let environment = folder.join(package);
    let made = environment.join("made");
    if !made.exists() {
        let make = ["-m", "venv", "--clear"];
        run(Command::new(python().program())
            .args(make)
            .arg(&environment))?;
        let install = ["-m", "pip", "install", "--quiet", package];
        run(Command::new(environment.join("bin/python")).args(install))?;
        File::create(made).map_err(|error| error.to_string())?;
    }
    Ok(environment.join("bin"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let why = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    output.status.success().then_some(()).ok_or_else(why)
}
