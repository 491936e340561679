//! A free-threaded CPython: its GIL is off, or on, or is switched on while it runs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, process::Command, thread, time::Duration};

use gilscope_tests::{Python, Running, Tracer, free_threaded, need_root};
use tempfile::TempDir;

/// Busy threads, and a module that needs the GIL, imported after a line.
const SCRIPT: &str = "
import sys, threading
def busy():
    while True: sum(range(100))
for _ in range(3): threading.Thread(target=busy, daemon=True).start()
print('ready', flush=True)
sys.stdin.readline()
sys.path.insert(0, sys.argv[1])
import needs_gil
print('imported', sys._is_gil_enabled(), flush=True)
sys.stdin.read()";

const NEEDS_GIL: &str = "
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, \"needs_gil\", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_needs_gil(void) { return PyModule_Create(&module); }
";

/// The module, built for this interpreter, in a folder.
fn needs_gil(python: &Python) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("needs_gil.c");
    std::fs::write(&source, NEEDS_GIL).unwrap();
    let home = python.program().parent().and_then(Path::parent).unwrap();
    let mut compile = Command::new("cc");
    compile
        .args(["-shared", "-fPIC", "-I"])
        .arg(home.join("include"));
    compile
        .arg(&source)
        .arg("-o")
        .arg(folder.path().join("needs_gil.so"));
    let status = compile.status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "cc: `apt-get install gcc libc6-dev` has it"
    );
    folder
}

fn start(python: &Python, folder: &TempDir) -> Running {
    let mut command = python.command();
    command.args(["-c", SCRIPT]);
    // What an extension asks for counts only where the user has asked for nothing.
    command.env_remove("PYTHON_GIL").arg(folder.path());
    Running::ready(&mut command)
}

#[test]
fn a_gil_that_is_off() {
    need_root();
    let Some(python) = free_threaded() else {
        return;
    };
    let target = start(&python, &tempfile::tempdir().unwrap());
    let traced = Tracer::trace(target.pid(), Duration::from_millis(500));
    assert_eq!(traced.ended.status, 0, "{:?}", traced.ended);
    let process = traced.report.process(target.pid());
    let gil = &process.0["gils"][0];
    assert_eq!(
        (&gil["free_threaded"], &gil["enabled"]),
        (&true.into(), &false.into())
    );
    assert_eq!(process.gil_wait().number("count"), 0);
    let told = "Its GIL is switched off (free-threaded), so no thread waited for it.";
    assert!(
        traced.ended.stdout.contains(told),
        "{}",
        traced.ended.stdout
    );
}

#[test]
fn a_gil_that_is_switched_on() {
    need_root();
    let Some(python) = free_threaded() else {
        return;
    };
    let folder = needs_gil(&python);
    let mut target = start(&python, &folder);
    let tracer = Tracer::attach(&[target.pid()]);
    thread::sleep(Duration::from_millis(200));
    target.tell("import");
    target.prints("imported True");
    // gilscope looks once a second.
    thread::sleep(Duration::from_millis(1_800));
    let traced = tracer.finish();
    let process = traced.report.process(target.pid());
    let gil = &process.0["gils"][0];
    assert_eq!(
        (&gil["free_threaded"], &gil["enabled"]),
        (&true.into(), &true.into())
    );
    let from_ns = gil["measured_from_ns"].as_u64().unwrap();
    assert!(from_ns >= 200_000_000, "{gil}");
    let waited_ns = process.gil_wait().number("sum_ns");
    assert!(waited_ns > 100_000_000, "{process:?}");
}
