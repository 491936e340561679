//! Which compilers and LLVMs are here, and which of them fit together.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::record::Versions;
use crate::process;

/// The LLVMs that bpf-linker 0.13 can be built with (its Cargo.toml, features `llvm-N`).
pub const LINKER_LLVMS: std::ops::RangeInclusive<u32> = 21..=23;
/// The oldest rustc whose `core` the eBPF crates build with: the workspace's `rust-version`.
pub const OLDEST_RUSTC: (u32, u32) = (1, 88);

/// Everything that a build needs.
pub struct Tools {
    /// The compiler.
    pub rustc: PathBuf,
    /// Its sysroot, with the library's source.
    pub sysroot: PathBuf,
    /// The folder of `bpf-linker`.
    pub linker: PathBuf,
    /// `llvm-strip`.
    pub strip: PathBuf,
    /// For the record.
    pub versions: Versions,
}

impl Tools {
    /// `PATH` with bpf-linker first: rustc calls it by name.
    pub fn path(&self) -> Result<std::ffi::OsString> {
        let rest = env::var_os("PATH").unwrap_or_default();
        Ok(env::join_paths(
            std::iter::once(self.linker.clone()).chain(env::split_paths(&rest)),
        )?)
    }
}

/// A compiler with its library's source.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiler {
    /// The compiler.
    pub rustc: PathBuf,
    /// Its sysroot.
    pub sysroot: PathBuf,
    /// Its version, as it tells it.
    pub version: String,
    /// The major version of its LLVM.
    pub llvm: u32,
}

/// The compilers here that have their library's source and are new enough; Debian's before rustup's.
pub fn compilers() -> Vec<Compiler> {
    let rustup = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".rustup")));
    let toolchains = rustup
        .into_iter()
        .flat_map(|home| fs::read_dir(home.join("toolchains")))
        .flatten()
        .flatten();
    let mut rustcs: Vec<_> = toolchains
        .map(|toolchain| toolchain.path().join("bin/rustc"))
        .collect();
    rustcs.sort();
    rustcs.insert(0, "/usr/bin/rustc".into());
    rustcs.iter().filter_map(|rustc| compiler(rustc)).collect()
}

fn compiler(rustc: &Path) -> Option<Compiler> {
    let ask = |what: &[&str]| {
        process::output(Command::new(rustc).env_remove("LD_LIBRARY_PATH").args(what)).ok()
    };
    let (version, release, llvm) = versions_in(&ask(&["-vV"])?)?;
    let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?);
    let source = sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml");
    (release >= OLDEST_RUSTC && source.is_file()).then(|| Compiler {
        rustc: rustc.into(),
        sysroot,
        version,
        llvm,
    })
}

/// What to record, the release and the LLVM's major version, from what `rustc -vV` prints.
fn versions_in(text: &str) -> Option<(String, (u32, u32), u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let llvm = field("LLVM version: ")?;
    let major = llvm.split('.').next()?.parse().ok()?;
    Some((
        format!("{} with LLVM {llvm}", text.lines().next()?),
        major_minor(field("release: ")?)?,
        major,
    ))
}

/// `1.96.0+dfsg1-1` → (1, 96).
pub fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// An LLVM that bpf-linker can be built with.
#[derive(Clone, Debug, PartialEq)]
pub struct Llvm {
    /// Its major version.
    pub major: u32,
    /// Its `llvm-config`.
    pub config: PathBuf,
}

/// The LLVMs here that bpf-linker can be built with, oldest first.
pub fn llvms() -> Vec<Llvm> {
    LINKER_LLVMS
        .filter_map(|major| {
            Some(Llvm {
                major,
                config: process::which(&format!("llvm-config-{major}"))?,
            })
        })
        .collect()
}

/// The first compiler for which an LLVM is there that is at least as new as its own (an older LLVM cannot read its bitcode), with
/// the oldest such LLVM.
pub fn choose(compilers: &[Compiler], llvms: &[Llvm]) -> Option<(Compiler, Llvm)> {
    let fitting = |compiler: &Compiler| llvms.iter().find(|llvm| llvm.major >= compiler.llvm);
    compilers
        .iter()
        .find_map(|compiler| Some((compiler.clone(), fitting(compiler)?.clone())))
}

/// The versions to record of a compiler and a linker made by `llvm`.
pub fn versions(compiler: &Compiler, llvm: &Llvm, linker: &str) -> Result<Versions> {
    let llvm = process::output(Command::new(&llvm.config).arg("--version"))?;
    let cargo = process::output(process::cargo().arg("--version")).context("cargo's version")?;
    Ok(Versions {
        rustc: compiler.version.clone(),
        cargo,
        bpf_linker: format!("{linker} with LLVM {llvm}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(name: &str, llvm: u32) -> Compiler {
        Compiler {
            rustc: name.into(),
            sysroot: "/".into(),
            version: String::new(),
            llvm,
        }
    }

    fn llvm(major: u32) -> Llvm {
        Llvm {
            major,
            config: format!("llvm-config-{major}").into(),
        }
    }

    #[test]
    fn linker_llvm_is_never_older_than_the_compilers() {
        let chosen = |compilers: &[Compiler], llvms: &[Llvm]| {
            choose(compilers, llvms).map(|(c, l)| (c.llvm, l.major))
        };
        assert_eq!(
            chosen(&[compiler("a", 22)], &[llvm(21), llvm(22), llvm(23)]),
            Some((22, 22))
        );
        assert_eq!(chosen(&[compiler("a", 22)], &[llvm(21)]), None);
        assert_eq!(
            chosen(&[compiler("a", 23), compiler("b", 22)], &[llvm(22)]),
            Some((22, 22))
        );
        assert_eq!(chosen(&[], &[llvm(22)]), None);
    }

    #[test]
    fn versions_are_read_from_rustcs_own_words() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8";
        let (version, release, llvm) = versions_in(text).unwrap();
        assert_eq!(
            (version.as_str(), release, llvm),
            (
                "rustc 1.96.0 (ac68faa20 2026-05-25) with LLVM 22.1.8",
                (1, 96),
                22
            )
        );
        assert_eq!(versions_in("rustc 1.96.0"), None);
        assert_eq!(major_minor("1.85.0+dfsg3-1~deb12u3"), Some((1, 85)));
        assert_eq!(major_minor("nightly"), None);
    }
}
