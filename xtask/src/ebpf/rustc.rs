//! Stands between cargo and rustc in an eBPF build, to keep the checkout's path out of the object.
//!
//! cargo makes `-C metadata` of a crate outside its workspace from the crate's absolute path, and rustc makes the hash in every
//! symbol's name from that: `gilscope-common` would be another crate in another folder. No flag of cargo's changes it, so for the
//! crates of this repository it is replaced by their name, which is unique among the few crates of such a build.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};

/// Set to the repository's root where this program is called in rustc's stead.
const ROOT: &str = "XTASK_RUSTC_ROOT";

/// Makes `cargo` call this program for every crate.
pub fn stand_in(cargo: &mut Command, root: &Path) -> Result<()> {
    cargo
        .env(
            "RUSTC_WRAPPER",
            env::current_exe().context("cannot find this program's own file")?,
        )
        .env(ROOT, root);
    Ok(())
}

/// Becomes rustc if cargo called this program in its stead; else returns.
pub fn become_rustc_if_called_so() -> Result<()> {
    let Some(root) = env::var_os(ROOT) else {
        return Ok(());
    };
    let mut args = env::args_os().skip(1);
    let rustc = args.next().context("no rustc to call")?;
    let own = env::var_os("CARGO_MANIFEST_DIR")
        .is_some_and(|folder| Path::new(&folder).starts_with(&root));
    let args: Vec<_> = args.collect();
    let args = if own { with_plain_metadata(args) } else { args };
    Err(Command::new(&rustc).args(args).exec())
        .with_context(|| format!("cannot run {}", rustc.display()))
}

/// The arguments with the value of `-C metadata` replaced by that of `--crate-name`.
fn with_plain_metadata(mut args: Vec<OsString>) -> Vec<OsString> {
    let name = args
        .iter()
        .position(|arg| arg == "--crate-name")
        .and_then(|at| args.get(at + 1))
        .cloned()
        .unwrap_or_default();
    for arg in args
        .iter_mut()
        .filter(|arg| arg.to_str().is_some_and(|arg| arg.starts_with("metadata=")))
    {
        *arg = [OsStr::new("metadata="), &name].into_iter().collect();
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_metadata_is_replaced() {
        let args = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let before = args(
            "--crate-name gilscope_common src/lib.rs -C metadata=25ac -C extra-filename=-25ac",
        );
        let after = args(
            "--crate-name gilscope_common src/lib.rs -C metadata=gilscope_common -C extra-filename=-25ac",
        );
        assert_eq!(with_plain_metadata(before), after);
        assert_eq!(with_plain_metadata(args("-vV")), args("-vV"));
    }
}
