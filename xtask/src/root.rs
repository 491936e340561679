//! Doing as root what needs root.

use std::{ffi::OsStr, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

use crate::process;

/// Whether this process runs as root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A command that runs `program` as root: by `sudo -E`, and saying so, when this process is not root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let program = program.as_ref();
    eprintln!("{} needs root: running it by sudo", program.display());
    let mut sudo = Command::new("sudo");
    // sudo's own PATH may hide cargo, pyenv and the like.
    sudo.args(["-E", "env"]).arg(path_assignment()).arg(program);
    sudo
}

/// Replaces this process by the same command line run as root; returns only as root.
pub fn become_root() -> Result<()> {
    if is_root() {
        return Ok(());
    }
    let exe = std::env::current_exe().context("cannot find this program's own file")?;
    let mut again = command(exe);
    again.args(std::env::args_os().skip(1));
    let shown = process::shown(&again);
    Err(again.exec()).with_context(|| format!("cannot run `{shown}`"))
}

fn path_assignment() -> std::ffi::OsString {
    let mut assignment = std::ffi::OsString::from("PATH=");
    assignment.push(std::env::var_os("PATH").unwrap_or_default());
    assignment
}
