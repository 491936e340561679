//! `cargo xtask assets`: the interpreters that the tests need and git cannot hold.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, bail};

pub mod archive;
mod debian;
mod list;
mod py_spy;
mod pyenv;
mod pypi;
mod source;
mod store;

pub use py_spy::{executable as py_spy, make as make_py_spy};

/// Makes the interpreters that the tests trace, in ${GILSCOPE_ASSETS:-${XDG_CACHE_HOME:-~/.cache}/gilscope}.
///
/// debian-X.Y is Debian's own interpreter with its libraries in a folder to chroot into, and its separate debug file, downloaded by apt
/// from this machine's mirror; apt's own state stays untouched. stripped-X.Y.Z is pyenv's interpreter with a stripped copy of its
/// libpython. freethreaded-X.Y and musl-X.Y, which Debian has not, are built from its source package in some minutes, and keep their
/// symbols. pypi is a virtual environment of pyenv's newest interpreter with some packages. What is there already is left alone: remove its folder to have it made again.
#[derive(clap::Args)]
pub struct Args {
    /// Make nothing, print one JSON line for each asset: name, python (as seen from root), root (to chroot into, or null), version,
    /// debug_file (with its symbols, or null when python has them itself), stripped, absent (why it is not here, or null)
    #[arg(long, conflicts_with = "names")]
    list: bool,
    /// Which to make [default: all that this machine can]
    names: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    if args.list {
        return list::print();
    }
    make(&args.names)
}

/// Makes the assets with these names, all if there are none; goes on after a failure, and tells of them at the end.
pub fn make(names: &[String]) -> Result<()> {
    let home = home()?;
    let mut failed = Vec::new();
    let known: Vec<_> = debian::NAMES
        .map(str::to_owned)
        .into_iter()
        .chain(source::names().map(str::to_owned))
        .chain(pyenv::stripped_names())
        .chain([pypi::NAME.to_owned()])
        .collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!(
            "no asset is called {unknown}; there are {}",
            known.join(", ")
        );
    }
    for name in known
        .iter()
        .filter(|name| names.is_empty() || names.contains(name))
    {
        let made = store::make(&home, name, |folder| {
            if pyenv::is_stripped_name(name) {
                pyenv::strip(name, folder)
            } else if name == pypi::NAME {
                pypi::install(folder)
            } else if source::names().any(|built| built == name) {
                source::build(name, folder)
            } else {
                debian::unpack(name, folder)
            }
        });
        if let Err(error) = made {
            eprintln!("{name}: {error:#}");
            failed.push(name.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("not made: {}", failed.join(", "));
    }
    Ok(())
}

/// pyenv's newest interpreter.
pub fn newest_pyenv() -> Option<PathBuf> {
    Some(pyenv::interpreters().pop()?.python)
}

/// The folder that holds them all.
pub fn home() -> Result<PathBuf> {
    let cache = || {
        Some(
            env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(|| Some(env::home_dir()?.join(".cache")))?
                .join("gilscope"),
        )
    };
    env::var_os("GILSCOPE_ASSETS")
        .map(PathBuf::from)
        .or_else(cache)
        .context("no home folder: set GILSCOPE_ASSETS")
}
