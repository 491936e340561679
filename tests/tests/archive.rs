//! Programs that CPython's archive is linked into, and that export nothing of it: only the symbols that `strip` removes
//! tell where the GIL is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use gilscope_tests::{Ended, Process, Python, Running, Tracer, interpreters, need_root, run};

/// An interpreter that has its archive, a home, and a program that holds it.
struct Linked {
    python: Python,
    home: PathBuf,
    program: PathBuf,
}

/// Links a program with each archive that pyenv's interpreters have.
fn linked(folder: &Path) -> Vec<Linked> {
    need_root();
    let of = |python: Python| {
        let home = python.program().parent()?.parent()?.to_owned();
        let archive = archive(&home.join("lib"), 3)?;
        let program = folder.join(&python.version);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/hosts/archive.c");
        let mut link = Command::new("cc");
        link.arg(source).arg(archive).arg("-o").arg(&program);
        succeeds(link.args(["-ldl", "-lpthread", "-lutil", "-lm"]));
        Some(Linked {
            python,
            home,
            program,
        })
    };
    let pyenvs = interpreters().into_iter();
    let pyenvs = pyenvs.filter(|python| python.name.starts_with("pyenv"));
    let found: Vec<_> = pyenvs.filter_map(of).collect();
    if found.is_empty() {
        println!("skipped: no interpreter with an archive: pyenv install 3.12");
    }
    found
}

/// `libpython*.a`, so deep below a folder.
fn archive(folder: &Path, depth: u32) -> Option<PathBuf> {
    let entries = folder.read_dir().ok()?.filter_map(Result::ok);
    let mut paths = entries.map(|entry| entry.path());
    paths.find_map(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        let is_it = name.starts_with("libpython") && name.ends_with(".a");
        let on_the_way = name.starts_with("python") || name.starts_with("config");
        match depth {
            _ if is_it => Some(path),
            2.. if on_the_way => archive(&path, depth - 1),
            _ => None,
        }
    })
}

/// Of a compiler or one of its kind.
fn succeeds(command: &mut Command) {
    let output = command.output();
    assert!(
        output.as_ref().is_ok_and(|output| output.status.success()),
        "`apt-get install gcc libc6-dev binutils` has it: {command:?}: {output:?}"
    );
}

impl Linked {
    fn start(&self) -> Running {
        Running::ready(Command::new(&self.program).arg(&self.home))
    }

    /// Runs `strip` on the program.
    fn strip(&self, options: &[&str]) {
        succeeds(Command::new("strip").args(options).arg(&self.program));
    }

    /// Traces it; it ought to be refused.
    fn refused(&self) -> Ended {
        let target = self.start();
        let ended = run(&["--pid", &target.pid().to_string(), "--duration", "0.2"]);
        assert_eq!(ended.status, 1, "{ended:?}");
        ended
    }
}

/// Its busy threads waited for its GIL.
fn check(one: &Linked, process: Process) {
    assert_eq!(process.0["gils"][0]["python"], one.python.version);
    let waiting = process.threads().into_iter();
    let waiting = waiting.filter(|thread| thread.gil_sum("wait/count") > 0);
    assert!(waiting.count() >= 3, "{process:?}");
}

#[test]
fn found_by_the_symbols_that_strip_removes() {
    let folder = tempfile::tempdir().unwrap();
    for one in linked(folder.path()) {
        println!("{}", one.python.name);
        let target = one.start();
        let report = Tracer::trace(target.pid(), Duration::from_secs(1)).report;
        check(&one, report.process(target.pid()));
    }
}

/// A command is looked at while it starts, before it has a GIL.
#[test]
fn from_its_start() {
    let folder = tempfile::tempdir().unwrap();
    for one in linked(folder.path()) {
        println!("{}", one.python.name);
        let command = [one.program.as_os_str(), one.home.as_os_str()];
        let mut tracer = Tracer::launch(&[], &command);
        tracer.running().prints("ready");
        thread::sleep(Duration::from_secs(1));
        tracer.running().hang_up();
        check(&one, tracer.end().report.only_process());
    }
}

#[test]
fn a_stripped_one_says_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    for one in linked(folder.path()) {
        one.strip(&[]);
        let ended = one.refused();
        let parts = ["is not Python", "no such symbol"];
        assert!(
            parts.iter().all(|part| ended.stderr.contains(part)),
            "{ended:?}"
        );
    }
}

/// Without the names that are new in 3.10 it looks like 3.9, but for its text.
#[test]
fn the_name_of_a_version_alone_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let is_it = |one: &Linked| one.python.version.starts_with("3.10.");
    let Some(one) = linked(folder.path()).into_iter().find(is_it) else {
        println!("skipped: no CPython 3.10 with an archive: pyenv install 3.10");
        return;
    };
    one.strip(&["--strip-symbol=PyModule_AddObjectRef"]);
    let ended = one.refused();
    assert!(
        ended.stderr.contains("does not tell its version"),
        "{ended:?}"
    );
}
