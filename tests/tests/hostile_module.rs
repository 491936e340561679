//! What a target has mapped is not believed: files that are gone, replaced, or made to deceive.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use gilscope_tests::{Ended, Running, for_anybody, need_root, python, run, until};
use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

const SPIN: &str = "
import sys, threading
def busy():
    while True: pass
for _ in range(3): threading.Thread(target=busy, daemon=True).start()
print('ready', flush=True); sys.stdin.read()";

/// A target whose interpreter is a file of its own, in a folder that anybody can reach.
struct Private {
    target: Running,
    module: PathBuf,
    _folder: TempDir,
}

impl Private {
    fn start() -> Self {
        let original = interpreter_file();
        let folder = tempfile::tempdir().unwrap();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), everybody).unwrap();
        let module = folder.path().join(original.file_name().unwrap());
        fs::copy(&original, &module).unwrap();
        let mut command = if module.to_string_lossy().contains(".so") {
            let mut command = python().script(SPIN);
            command.env("LD_PRELOAD", &module);
            command
        } else {
            let mut command = Command::new(&module);
            command.args(["-c", SPIN]).env("PYTHONHOME", prefix());
            command
        };
        let target = Running::ready(&mut command);
        let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid())).unwrap();
        assert!(maps.contains(&*module.to_string_lossy()), "{maps}");
        Self {
            target,
            module,
            _folder: folder,
        }
    }
}

fn ask(question: &str) -> String {
    let ended = Running::start(&mut python().script(question)).end();
    assert_eq!(ended.status, 0, "{ended:?}");
    ended.stdout.trim().to_owned()
}

fn prefix() -> String {
    ask("import sys; print(sys.base_prefix)")
}

/// The shared library with the interpreter, or the program itself.
fn interpreter_file() -> PathBuf {
    let question = "
import os
files = [line.split()[-1] for line in open('/proc/self/maps')]
print(next((f for f in files if 'libpython' in f), os.path.realpath('/proc/self/exe')))";
    ask(question).into()
}

fn trace(pid: u32) -> Ended {
    run(&["--pid", &pid.to_string(), "--duration", "0.3"])
}

/// As a user who may not use `/proc/P/map_files`: by the path alone.
fn trace_by_path(pid: u32) -> Ended {
    let capabilities = "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search";
    let script = "mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing; \
                  exec setpriv --reuid=nobody --regid=nogroup --clear-groups \
                  --inh-caps=$1 --ambient-caps=$1 $2 --pid $3 --duration 0.3";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", capabilities]);
    command.arg(for_anybody()).arg(pid.to_string());
    Running::start(&mut command).end()
}

fn traced(ended: &Ended) {
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(
        ended.stdout.contains("At least one thread waited"),
        "{ended:?}"
    );
}

fn refused(ended: &Ended, parts: &[&str]) {
    assert_eq!((ended.status, ended.stdout.as_str()), (1, ""), "{ended:?}");
    assert!(
        parts.iter().all(|part| ended.stderr.contains(part)),
        "{parts:?}: {ended:?}"
    );
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
}

#[test]
fn a_module_that_was_deleted() {
    need_root();
    let private = Private::start();
    traced(&trace_by_path(private.target.pid()));
    fs::remove_file(&private.module).unwrap();
    traced(&trace(private.target.pid()));
    let by_path = trace_by_path(private.target.pid());
    refused(&by_path, &["(deleted)", "CAP_CHECKPOINT_RESTORE"]);
}

/// By an upgrade, say.
#[test]
fn a_module_that_was_replaced() {
    need_root();
    let private = Private::start();
    fs::remove_file(&private.module).unwrap();
    fs::write(&private.module, "another version").unwrap();
    traced(&trace(private.target.pid()));
    refused(
        &trace_by_path(private.target.pid()),
        &["CAP_CHECKPOINT_RESTORE"],
    );
}

/// Opening it for reading would block for ever.
#[test]
fn a_fifo_where_the_module_was() {
    need_root();
    let private = Private::start();
    fs::remove_file(&private.module).unwrap();
    mkfifo(&private.module, Mode::S_IRWXU).unwrap();
    traced(&trace(private.target.pid()));
    refused(
        &trace_by_path(private.target.pid()),
        &["CAP_CHECKPOINT_RESTORE"],
    );
}

/// Opening some devices has an effect.
#[test]
fn a_device_where_the_module_was() {
    need_root();
    let private = Private::start();
    let over = format!("{0} (deleted)", private.module.display());
    fs::remove_file(&private.module).unwrap();
    for path in [private.module.as_path(), Path::new(&over)] {
        let kind = nix::sys::stat::SFlag::S_IFCHR;
        let zero = nix::sys::stat::makedev(1, 5);
        nix::sys::stat::mknod(path, kind, Mode::S_IRWXU, zero).unwrap();
    }
    traced(&trace(private.target.pid()));
    refused(
        &trace_by_path(private.target.pid()),
        &["CAP_CHECKPOINT_RESTORE"],
    );
}

/// A program that says it is a CPython: `_PyRuntime` with these bytes, in a file that `sleep` loads.
fn deceiver(source: &str) -> Option<(Running, TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let (text, library) = (folder.path().join("it.c"), folder.path().join("it.so"));
    fs::write(&text, source).unwrap();
    let mut compile = Command::new("cc");
    compile
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&text);
    let Ok(output) = compile.output() else {
        println!("skipped: no C compiler: apt-get install gcc");
        return None;
    };
    assert!(output.status.success(), "{output:?}");
    let target = Running::start(Command::new("sleep").arg("100").env("LD_PRELOAD", &library));
    until("the deceiver", || {
        let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid())).ok()?;
        let syscall = fs::read_to_string(format!("/proc/{}/syscall", target.pid())).ok()?;
        // clock_nanosleep: it has been loaded and started.
        (maps.contains("it.so") && syscall.starts_with("230 ")).then_some(())
    });
    Some((target, folder))
}

#[test]
fn a_runtime_that_is_garbage() {
    need_root();
    let version = |hex| format!("const unsigned long Py_Version = {hex};");
    let (v37_to_310, v311, v312, v313) = (
        "",
        version("0x030b02f0"),
        version("0x030c01f0"),
        version("0x030d00f0"),
    );
    let zeros = "char _PyRuntime[1 << 18] = {1};";
    let ones = "#include <string.h>\nchar _PyRuntime[1 << 18];
        __attribute__((constructor)) void fill(void) { memset(_PyRuntime, 0xff, sizeof _PyRuntime); }";
    // Each pointer leads to itself: lists without an end.
    let loops = "void *_PyRuntime[1 << 15];
        __attribute__((constructor)) void fill(void) {
            for (int i = 0; i < 1 << 15; i++) _PyRuntime[i] = &_PyRuntime[i]; }";
    let all_one = "void *_PyRuntime[1 << 15];
        __attribute__((constructor)) void fill(void) {
            for (int i = 0; i < 1 << 15; i++) _PyRuntime[i] = _PyRuntime; }";
    // The right cookie, and offsets that lead anywhere.
    let offsets = "unsigned long _PyRuntime[1 << 15];
        __attribute__((constructor)) void fill(void) {
            for (int i = 0; i < 1 << 15; i++) _PyRuntime[i] = i * 0x123456789abcdefUL;
            __builtin_memcpy(_PyRuntime, \"xdebugpy\", 8); _PyRuntime[1] = 0x030d00f0; }";
    let small = "char _PyRuntime[8];";
    for version in [v37_to_310, &v311, &v312, &v313] {
        for runtime in [zeros, ones, loops, all_one, offsets, small] {
            let Some((target, _folder)) = deceiver(&format!("{version}\n{runtime}\n")) else {
                return;
            };
            let ended = trace(target.pid());
            refused(&ended, &["gilscope: "]);
            let said = [
                "does not look like CPython",
                "has no GIL",
                "not supported yet",
                "Py_Version",
            ];
            assert!(
                said.iter().any(|part| ended.stderr.contains(part)),
                "{runtime}: {ended:?}"
            );
        }
    }
}

#[test]
fn a_version_that_nobody_knows() {
    need_root();
    for (hex, shown) in [
        ("0x036300f0", "3.99.0"),
        ("0x040000f0", "4.0.0"),
        ("0x030600f0", "3.6.0"),
    ] {
        let source =
            format!("const unsigned long Py_Version = {hex}; char _PyRuntime[4096] = {{1}};");
        let Some((target, _folder)) = deceiver(&source) else {
            return;
        };
        refused(&trace(target.pid()), &["not supported yet", shown]);
    }
}
