//! Debian packages on this machine: which are missing, and installing them.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, root};

/// Whether this machine installs its packages by apt.
pub fn is_here() -> bool {
    process::which("apt-get").is_some() && process::which("dpkg-query").is_some()
}

/// Those of `packages` that are not installed.
pub fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    packages
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect()
}

fn is_installed(package: &str) -> bool {
    process::output(Command::new("dpkg-query").args([
        "--show",
        "--showformat=${db:Status-Status}",
        package,
    ]))
    .is_ok_and(|status| status == "installed")
}

/// The version that apt would install of `package`, if it knows one.
pub fn candidate(package: &str) -> Option<String> {
    let policy = process::output(Command::new("apt-cache").args(["policy", package])).ok()?;
    candidate_in(&policy)
}

fn candidate_in(policy: &str) -> Option<String> {
    let line = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (line != "(none)").then(|| line.to_owned())
}

/// What `find` finds among the packages that apt knows; if nothing, looks again with fresh lists.
pub fn find<T>(find: impl Fn() -> Option<T>) -> Result<Option<T>> {
    if !is_here() {
        return Ok(None);
    }
    if let Some(found) = find() {
        return Ok(Some(found));
    }
    update()?;
    Ok(find())
}

fn update() -> Result<()> {
    process::run(root::command("apt-get").args(["-q", "update"]))
}

/// Installs what is missing of `packages`, saying so; after a failure tries once more with fresh lists.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        eprintln!("installing the Debian package {package}");
    }
    if install_now(&missing).is_err() {
        update()?;
        install_now(&missing).context("apt cannot install what is missing")?;
    }
    Ok(())
}

/// `--no-remove`: a conflict with a package of the user's is an error, never a removal.
fn install_now(packages: &[&str]) -> Result<()> {
    let mut apt = root::command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.args([
        "-q",
        "install",
        "--yes",
        "--no-remove",
        "--no-install-recommends",
    ])
    .args(packages);
    process::run(&mut apt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidate_is_read_from_apts_policy() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  Version table:\n";
        assert_eq!(
            candidate_in(policy).as_deref(),
            Some("1.96.0+dfsg1-1~deb12u2")
        );
        assert_eq!(
            candidate_in("x:\n  Installed: (none)\n  Candidate: (none)\n"),
            None
        );
        assert_eq!(candidate_in(""), None);
    }
}
