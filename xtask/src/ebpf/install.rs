//! Getting what is lacking of the BPF toolchain.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::{
    build,
    toolchain::{self, Compiler, LINKER_LLVMS, Llvm, OLDEST_RUSTC, Tools},
};
use crate::{apt, process};

/// A fixed version: it decides about the object's bytes.
const LINKER_VERSION: &str = "0.13.0";
/// Debian's compilers that come with their library's source; the `-web` one is kept new in stable releases, for browsers.
const DEBIAN_COMPILERS: [[&str; 2]; 2] = [["rustc-web", "rust-web-src"], ["rustc", "rust-src"]];
/// What bpf-linker links with, beside LLVM itself.
const LINKER_LIBRARIES: [&str; 3] = ["libzstd-dev", "zlib1g-dev", "libxml2-dev"];

/// A compiler with its library's source and a bpf-linker that can read its bitcode; installed where they are not there.
pub fn tools() -> Result<Tools> {
    let (compiler, llvm) = pair()?;
    let (linker, version) = linker(&llvm)?;
    let bin = PathBuf::from(process::output(Command::new(&llvm.config).arg("--bindir"))?);
    let versions = toolchain::versions(&compiler, &llvm, &version)?;
    Ok(Tools {
        rustc: compiler.rustc,
        sysroot: compiler.sysroot,
        linker,
        strip: bin.join("llvm-strip"),
        versions,
    })
}

fn pair() -> Result<(Compiler, Llvm)> {
    let here = || toolchain::choose(&toolchain::compilers(), &toolchain::llvms());
    // An LLVM for a compiler that is here already, else a compiler and an LLVM for that.
    for install in [install_llvm, install_compiler, install_llvm] {
        if let Some(pair) = here() {
            return Ok(pair);
        }
        install().with_context(by_hand)?;
    }
    here().with_context(by_hand)
}

/// From Debian where its packages are new enough: a release, which does not change from day to day; else rustup's nightly.
fn install_compiler() -> Result<()> {
    let version = |package: &str| toolchain::major_minor(&apt::candidate(package)?);
    let new_enough = |packages: &&[&str; 2]| version(packages[0]) >= Some(OLDEST_RUSTC);
    if let Some(packages) = apt::find(|| DEBIAN_COMPILERS.iter().find(new_enough))? {
        return apt::install(packages);
    }
    eprintln!("installing Rust's nightly toolchain with rust-src");
    let nightly = [
        "toolchain",
        "install",
        "nightly",
        "--profile=minimal",
        "--component=rust-src",
    ];
    process::run(Command::new("rustup").args(nightly))
}

/// The oldest LLVM that fits one of the compilers and that apt has, if there is one.
fn install_llvm() -> Result<()> {
    let Some(oldest) = toolchain::compilers()
        .iter()
        .map(|compiler| compiler.llvm)
        .min()
    else {
        return Ok(());
    };
    let headers = |major: u32| format!("llvm-{major}-dev");
    let has = |major: &u32| *major >= oldest && apt::candidate(&headers(*major)).is_some();
    let Some(major) = apt::find(|| LINKER_LLVMS.clone().find(has))? else {
        return Ok(());
    };
    let (headers, polly) = (headers(major), format!("libpolly-{major}-dev"));
    let mut packages = vec![headers.as_str(), polly.as_str()];
    packages.extend(LINKER_LIBRARIES);
    apt::install(&packages)
}

/// The folder of a bpf-linker made with `llvm`, built into `target/tools` the first time, and what it calls itself.
fn linker(llvm: &Llvm) -> Result<(PathBuf, String)> {
    let tools = crate::workspace::target().join("tools");
    let home = tools.join(format!("bpf-linker-{LINKER_VERSION}-llvm-{}", llvm.major));
    let bin = home.join("bin");
    let version = || process::output(Command::new(bin.join("bpf-linker")).arg("--version"));
    if version().is_err() {
        eprintln!(
            "installing bpf-linker {LINKER_VERSION} into {}: about a minute",
            home.display()
        );
        if apt::is_here() {
            apt::install(&LINKER_LIBRARIES)?;
        }
        fs::create_dir_all(&home)?;
        let mut cargo = process::cargo();
        build::without_foreign(&mut cargo);
        cargo.args([
            "install",
            "bpf-linker",
            "--locked",
            "--version",
            LINKER_VERSION,
            "--no-default-features",
        ]);
        cargo
            .args([
                "--features",
                &format!("llvm-{}", llvm.major),
                "--force",
                "--root",
            ])
            .arg(&home);
        cargo.arg("--target-dir").arg(tools.join("build"));
        cargo.env(
            "LLVM_PREFIX",
            process::output(Command::new(&llvm.config).arg("--prefix"))?,
        );
        process::run(&mut cargo).with_context(by_hand)?;
    }
    let version = version().context("the bpf-linker just built does not run")?;
    Ok((bin, version))
}

fn by_hand() -> String {
    let (major, minor) = OLDEST_RUSTC;
    let (first, last) = (LINKER_LLVMS.start(), LINKER_LLVMS.end());
    format!(
        "the BPF toolchain is not complete here. It needs a rustc of {major}.{minor} or newer with its library's source, and an LLVM \
         ({first} to {last}) with its headers that is at least as new as that rustc's own.\n\
         On Debian: apt-get install rustc-web rust-web-src llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev libxml2-dev\n\
         Elsewhere: rustup toolchain install nightly --component rust-src, and an LLVM whose llvm-config-N is on PATH"
    )
}
