//! Interpreters that Debian has no package of, built from its source package: one without GIL, one with musl.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, bail};

use super::{archive::Archive, store::Complete};
use crate::{apt, process};

/// How one of them is built.
struct Recipe {
    name: &'static str,
    /// What builds it, beside `TOOLS`.
    packages: &'static [&'static str],
    options: &'static [&'static str],
    /// CPython's `LDVERSION`, which names the executable and the folder of its modules.
    version: &'static str,
    /// What tests and their workloads import.
    modules: &'static str,
    /// The `-X` options about the GIL that it starts with.
    gil: &'static [&'static str],
}

const RECIPES: [Recipe; 2] = [
    Recipe {
        name: "freethreaded-3.13",
        packages: &["libffi-dev"],
        options: &["--disable-gil", "CC=gcc"],
        version: "3.13t",
        modules: "argparse, ctypes, json, socket, sys, threading, time",
        gil: &["gil=0", "gil=1"],
    },
    Recipe {
        name: "musl-3.13",
        packages: &["musl", "musl-dev", "musl-tools"],
        options: &["CC=../musl-cc"],
        version: "3.13",
        modules: "argparse, json, socket, sys, threading, time",
        gil: &["gil=1"],
    },
];
const SUITE: &str = "trixie";
const PACKAGE: &str = "python3.13";
const TOOLS: [&str; 4] = ["gcc", "libc6-dev", "make", "xz-utils"];
/// `-O1` takes less time to compile than CPython's own `-O3`.
const OPTIONS: [&str; 4] = [
    "--quiet",
    "--disable-test-modules",
    "--without-ensurepip",
    "OPT=-O1",
];
/// No workload needs them, and they are half of the source.
const LEFT_OUT: [&str; 4] = ["Doc", "Lib/idlelib", "Lib/test", "Lib/tkinter"];
/// musl-gcc gives glibc's multiarch name, and `configure` fails where that is not the name it finds by itself (CPython 3.13.5,
/// configure.ac:1145).
const MUSL_CC: &str = "#!/bin/sh\n\
    [ \"$1\" = --print-multiarch ] && { echo x86_64-linux-musl; exit; }\n\
    exec musl-gcc \"$@\"\n";

/// The assets' names.
pub fn names() -> impl Iterator<Item = &'static str> {
    RECIPES.iter().map(|recipe| recipe.name)
}

/// Builds the interpreter, and leaves in `folder` what it needs to run, wherever that folder is moved.
pub fn build(name: &str, folder: &Path) -> Result<Complete> {
    if !apt::is_here() {
        bail!("built from Debian's source package by apt, which is not here");
    }
    let recipe = RECIPES
        .iter()
        .find(|recipe| recipe.name == name)
        .context("no such asset")?;
    eprintln!("{name} is built from source: minutes");
    apt::install(&[&TOOLS, recipe.packages].concat())?;
    // In the asset's folder: what is built is moved, not copied, and is never left over.
    let work = tempfile::tempdir_in(folder)?;
    let source = work.path().join("source");
    unpack(&work.path().join("apt"), &source)?;
    compile(recipe, &source)?;
    let python = install(recipe.version, &source, folder)?;
    Ok(Complete {
        version: check(recipe, &folder.join(&python))?,
        python: python.to_string_lossy().into_owned(),
        debug_file: None,
    })
}

/// Downloads the source into `downloads`, and unpacks it.
fn unpack(downloads: &Path, source: &Path) -> Result<()> {
    let archive = Archive::open_sources(downloads.to_path_buf(), SUITE)?;
    fs::create_dir(source)?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--strip-components=1", "--no-same-owner"])
        .args(LEFT_OUT.map(|name| format!("--exclude=Python-*/{name}")))
        .arg("-C")
        .arg(source)
        .arg("-f")
        .arg(archive.tarball(PACKAGE)?);
    process::output(&mut tar).map(drop)
}

/// Makes the executable and the shared modules in `source/build`.
fn compile(recipe: &Recipe, source: &Path) -> Result<()> {
    let build = source.join("build");
    fs::create_dir(&build)?;
    write_musl_cc(&source.join("musl-cc"))?;
    // pkg-config knows glibc's libraries only; libffi is found without it, by its header (configure.ac, LIBFFI).
    process::output(
        Command::new("../configure")
            .args(OPTIONS)
            .args(recipe.options)
            .env("PKG_CONFIG_LIBDIR", "/nonexistent")
            .current_dir(&build),
    )?;
    let jobs = thread::available_parallelism()?;
    process::output(
        Command::new("make")
            .args(["-s", &format!("-j{jobs}"), "python", "sharedmods"])
            .current_dir(&build),
    )
    .map(drop)
}

fn write_musl_cc(path: &Path) -> Result<()> {
    fs::write(path, MUSL_CC)?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o755),
    )?)
}

/// Moves what is needed into `folder`, where CPython finds it relative to the executable (Modules/getpath.py), whose path in
/// `folder` is returned. `make install` would compile every module thrice.
fn install(version: &str, source: &Path, folder: &Path) -> Result<PathBuf> {
    let build = source.join("build");
    let library = folder.join(format!("lib/python{version}"));
    let python = Path::new("bin").join(format!("python{version}"));
    for name in ["bin", "lib"] {
        fs::create_dir(folder.join(name))?;
    }
    fs::rename(build.join("python"), folder.join(&python))?;
    fs::rename(source.join("Lib"), &library)?;
    // For tests that build an extension module.
    let headers = folder.join("include");
    fs::rename(source.join("Include"), &headers)?;
    fs::rename(build.join("pyconfig.h"), headers.join("pyconfig.h"))?;
    let modules = build.join(fs::read_to_string(build.join("pybuilddir.txt"))?.trim());
    let dynload = library.join("lib-dynload");
    fs::create_dir(&dynload)?;
    for entry in fs::read_dir(modules)? {
        let entry = entry?;
        // The shared modules are symbolic links there: the copy is of the file.
        if entry.path().is_file() {
            fs::copy(entry.path(), dynload.join(entry.file_name()))?;
        }
    }
    Ok(python)
}

/// Runs it with all that it is needed for; its version.
fn check(recipe: &Recipe, python: &Path) -> Result<String> {
    let script = format!(
        "import {}\n\
         assert sys._is_gil_enabled() == (sys._xoptions['gil'] == '1')\n\
         print('%d.%d.%d' % sys.version_info[:3])",
        recipe.modules
    );
    let mut version = String::new();
    for gil in recipe.gil {
        // `-I`: none of the user's own modules.
        version = process::output(Command::new(python).args(["-I", "-X", gil, "-c", &script]))?;
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_asset_needs_nothing_of_the_source() {
        let work = tempfile::tempdir().unwrap();
        let (source, folder) = (work.path().join("source"), work.path().join("asset"));
        let modules = source.join("build/build/lib.linux-x86_64-3.13");
        let (library, headers) = (source.join("Lib"), source.join("Include"));
        for name in [&folder, &modules, &library, &headers] {
            fs::create_dir_all(name).unwrap();
        }
        fs::create_dir(modules.join("__pycache__")).unwrap();
        let text = |path: &str, text: &str| fs::write(source.join(path), text).unwrap();
        text("build/pybuilddir.txt", "build/lib.linux-x86_64-3.13\n");
        text("build/python", "");
        text("build/_json.so", "code");
        text("Lib/os.py", "");
        text("Include/Python.h", "");
        text("build/pyconfig.h", "");
        symlink("../../_json.so", modules.join("_json.so")).unwrap();
        let python = install("3.13t", &source, &folder).unwrap();
        fs::remove_dir_all(&source).unwrap();
        assert_eq!(python, Path::new("bin/python3.13t"));
        assert!(folder.join(python).is_file());
        let library = folder.join("lib/python3.13t");
        assert!(library.join("os.py").is_file());
        for header in ["Python.h", "pyconfig.h"] {
            assert!(folder.join("include").join(header).is_file());
        }
        let module = fs::read_to_string(library.join("lib-dynload/_json.so"));
        assert_eq!(module.unwrap(), "code");
    }

    #[test]
    fn musls_compiler_says_what_it_compiles_for() {
        let folder = tempfile::tempdir().unwrap();
        let compiler = folder.path().join("musl-cc");
        write_musl_cc(&compiler).unwrap();
        let name = process::output(Command::new(compiler).arg("--print-multiarch"));
        assert_eq!(name.unwrap(), "x86_64-linux-musl");
    }
}
