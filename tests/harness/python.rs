//! Real interpreters, and what they are to run.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// CPython 3s that gilscope reads; and 2.7.
const SUPPORTED: std::ops::RangeInclusive<u32> = 6..=15;
/// An asset that is one of pyenv's once more.
const PACKAGES: &str = "pypi";
const WORKLOAD: &str = include_str!("../workloads/workload.py");
/// Some find what they look for in it.
const WORKLOAD_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/workload.py");
const PROGRAM: &str = include_str!("../workloads/program.py");
/// Runs modules that come as text, by the names of files that need not be there: `linecache` has their lines all the same.
const LOADER: &str = "\
import json, linecache, sys, types
for name, path, text in json.loads(sys.argv.pop(1)):
    linecache.cache[path] = len(text), None, text.splitlines(True), path
    module = sys.modules.setdefault(str(name), types.ModuleType(str(name)))
    exec(compile(text, path, 'exec'), module.__dict__)
";

/// A CPython that is on this machine.
#[derive(Clone, Debug)]
pub struct Python {
    /// What to call it.
    pub name: String,
    /// Its version, as `X.Y.Z`.
    pub version: String,
    /// Without the symbols of what is not exported.
    pub is_stripped: bool,
    program: PathBuf,
    /// Where it has to be run by chroot(8).
    root: Option<PathBuf>,
}

impl Python {
    fn new(program: &Path, name: Option<&str>) -> Option<Self> {
        let ask = "import sys; print('%d.%d.%d' % sys.version_info[:3]); print(sys.executable)";
        let output = Command::new(program).args(["-c", ask]).output().ok()?;
        let answer = String::from_utf8(output.stdout).ok()?;
        let (version, executable) = answer.trim().split_once('\n')?;
        Some(Self {
            name: name.map_or_else(|| format!("python3 {version}"), str::to_owned),
            version: version.to_owned(),
            // Of the machine's own nothing is known; it is none of those that it matters for.
            is_stripped: false,
            program: executable.into(),
            root: None,
        })
    }

    fn is_supported(&self) -> bool {
        let mut numbers = self.version.split('.').map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(2)), Some(Ok(minor))) => minor == 7,
            (Some(Ok(3)), Some(Ok(minor))) => SUPPORTED.contains(&minor),
            _ => false,
        }
    }

    /// The path that it is run by.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Where it has to be run by chroot(8).
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Runs it; a free-threaded one with its GIL switched on.
    pub fn command(&self) -> Command {
        let mut command = match &self.root {
            None => Command::new(&self.program),
            Some(root) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg(&self.program);
                command
            }
        };
        // Other builds do not know it.
        command.env("PYTHON_GIL", "1");
        command
    }

    /// Runs this source text.
    pub fn script(&self, source: &str) -> Command {
        let mut command = self.command();
        command.args(["-c", source]);
        command
    }

    /// Runs a workload, as text: it may be in another root than the interpreter.
    pub fn workload(&self, source: &str, arguments: &[&str]) -> Command {
        let main = ("__main__", "<string>", source);
        self.modules(&[("workload", WORKLOAD_FILE, WORKLOAD), main], arguments)
    }

    /// Runs a program of `workloads/incidents` or `workloads/findings`, likewise.
    pub fn program_of(&self, path: &Path, arguments: &[&str]) -> Command {
        let source = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let modules = [
            ("workload", WORKLOAD_FILE, WORKLOAD),
            ("program", "program.py", PROGRAM),
            ("__main__", path.to_str().unwrap(), &source),
        ];
        self.modules(&modules, arguments)
    }

    /// Each is a name, a file and a text.
    fn modules(&self, modules: &[(&str, &str, &str)], arguments: &[&str]) -> Command {
        let mut command = self.script(LOADER);
        command.arg(serde_json::to_string(modules).unwrap());
        command.args(arguments);
        command
    }
}

/// An interpreter for tests that can do with any: pyenv's newest, else the machine's `python3`.
pub fn python() -> &'static Python {
    static PYTHON: OnceLock<Python> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let machines = || Python::new("python3".as_ref(), None);
        let found = pyenv().pop().or_else(machines);
        found
            .filter(Python::is_supported)
            .expect("a CPython from 3.6 to 3.15: apt-get install python3, or pyenv install 3.12")
    })
}

/// Every interpreter that is here; says which are not.
///
/// # Panics
/// If there is none.
pub fn interpreters() -> Vec<Python> {
    let machines = Python::new("python3".as_ref(), None);
    let mut all = pyenv();
    all.extend(assets().into_iter().filter(|one| one.name != PACKAGES));
    all.extend(machines.filter(|one| !all.iter().any(|other| other.program == one.program)));
    all.retain(Python::is_supported);
    assert!(
        !all.is_empty(),
        "no CPython from 3.6 to 3.15: pyenv install 3.12, or cargo xtask assets"
    );
    all
}

/// Each version and each way in which one is built, but not each version in each way: of pyenv's interpreters from 3.7 on and the same without symbols, whose GIL
/// is found in the same way, the one and the other in turn.
///
/// For what does not depend on how a GIL is found.
pub fn builds() -> Vec<Python> {
    let all = interpreters();
    let has = |way: &str, version: &str| {
        let mut ways = all.iter().filter(|one| one.version == version);
        ways.any(|one| one.name.starts_with(way))
    };
    let is_left_out = |one: &Python| {
        let mut numbers = one.version.split('.').map(str::parse::<u32>);
        let (Some(Ok(3)), Some(Ok(minor @ 7..))) = (numbers.next(), numbers.next()) else {
            return false;
        };
        let (out, kept) = match minor % 2 {
            0 => ("pyenv", "stripped"),
            _ => ("stripped", "pyenv"),
        };
        one.name.starts_with(out) && has(kept, &one.version)
    };
    let kept = all.iter().filter(|one| !is_left_out(one));
    kept.cloned().collect()
}

/// The one that is free-threaded; says so if it has not been made.
pub fn free_threaded() -> Option<Python> {
    let mut all = interpreters().into_iter();
    let found = all.find(|python| python.name.starts_with("freethreaded"));
    if found.is_none() {
        println!("skipped: no free-threaded interpreter: cargo xtask assets freethreaded-3.13");
    }
    found
}

/// A CPython 2.7; says so if there is none.
pub fn python_2_7() -> Option<Python> {
    let mut all = interpreters().into_iter();
    let found = all.find(|python| python.version.starts_with("2."));
    if found.is_none() {
        println!("skipped: no CPython 2.7: pyenv install 2.7.18, or cargo xtask assets debian-2.7");
    }
    found
}

/// The one that has packages from PyPI, for `workloads/healthy`, if it has been made.
pub fn python_with_packages() -> Option<Python> {
    assets().into_iter().find(|one| one.name == PACKAGES)
}

/// pyenv's, from the oldest to the newest.
fn pyenv() -> Vec<Python> {
    let home = || Some(env::home_dir()?.join(".pyenv"));
    let root = env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(home);
    let versions = root.unwrap_or_default().join("versions");
    let Ok(folders) = fs::read_dir(&versions) else {
        println!("skipped: pyenv's interpreters: none in {versions:?}");
        return Vec::new();
    };
    let python = |folder: fs::DirEntry| {
        let name = format!("pyenv {}", folder.file_name().display());
        Python::new(&folder.path().join("bin/python"), Some(&name))
    };
    let mut found: Vec<_> = folders.filter_map(|folder| python(folder.ok()?)).collect();
    found.sort_by_key(|one| {
        let numbers = one.version.split('.').map(|number| number.parse().unwrap());
        numbers.collect::<Vec<u32>>()
    });
    found
}

/// What `cargo xtask assets` has made.
fn assets() -> Vec<Python> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut list = Command::new(cargo);
    list.args(["xtask", "assets", "--list"]);
    let output = list
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    if !output.status.success() {
        println!(
            "skipped: all assets: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(asset).collect()
}

/// One line of the list; pyenv's own are known already.
fn asset(line: &str) -> Option<Python> {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let text = |field: &str| line[field].as_str().map(str::to_owned);
    let name = text("name").unwrap();
    if let Some(reason) = text("absent") {
        println!("skipped: {name}: {reason}");
        return None;
    }
    (!name.starts_with("pyenv-")).then(|| Python {
        name,
        version: text("version").unwrap(),
        is_stripped: line["stripped"] == true,
        program: text("python").unwrap().into(),
        root: text("root").map(PathBuf::from),
    })
}
