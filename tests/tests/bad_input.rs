//! What cannot be traced, or asked for, gets a sentence and a status, and nothing is harmed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    process::Command,
};

use gilscope_tests::{Ended, Running, gilscope, kernel, need_root, python, run, until};
use nix::{
    sys::{signal::Signal, stat::Mode},
    unistd::{User, mkfifo},
};

const IDLE: &str = "print('ready', flush=True); input()";

fn idle_python() -> Running {
    Running::ready(&mut python().script(IDLE))
}

fn sleep() -> Running {
    let running = Running::start(Command::new("sleep").arg("100"));
    until("sleep", || {
        let comm = fs::read_to_string(format!("/proc/{}/comm", running.pid())).ok()?;
        (comm == "sleep\n").then_some(())
    });
    running
}

fn trace(pid: u32) -> Ended {
    need_root();
    run(&["--pid", &pid.to_string(), "--duration", "0.2"])
}

/// It says all of this, and prints nothing else.
fn fails(ended: &Ended, status: i32, parts: &[&str]) {
    assert_eq!(
        (ended.status, ended.stdout.as_str()),
        (status, ""),
        "{ended:?}"
    );
    assert!(
        parts.iter().all(|part| ended.stderr.contains(part)),
        "{parts:?}: {ended:?}"
    );
    assert!(!ended.stderr.contains("tracing process"), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
}

#[test]
fn not_python() {
    fails(&trace(sleep().pid()), 1, &["sleep", "is not Python"]);
}

/// Programs of other kinds: the C library in the program or not, many symbols of its own, another language's runtime.
#[test]
fn programs_of_other_languages() {
    let folder = tempfile::tempdir().unwrap();
    let waits = folder.path().join("waits.c");
    let source =
        "#include <stdio.h>\nint main(void) { puts(\"ready\"); fflush(stdout); return getchar(); }";
    fs::write(&waits, source).unwrap();
    for linked in ["-pie", "-no-pie", "-static", "-static-pie"] {
        let program = folder.path().join(linked);
        let mut compile = Command::new("cc");
        let status = compile
            .arg(linked)
            .arg(&waits)
            .arg("-o")
            .arg(&program)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cc: `apt-get install gcc libc6-dev` has it"
        );
        is_not_python(&mut Command::new(&program), linked);
    }
    let mut bash = Command::new("bash");
    is_not_python(bash.args(["-c", "echo ready; read; true"]), "bash");
    let mut node = Command::new("node");
    if node.arg("--version").output().is_err() {
        println!("skipped: no node: apt-get install nodejs");
        return;
    }
    let script = "console.log('ready'); process.stdin.resume()";
    is_not_python(Command::new("node").args(["-e", script]), "node");
}

fn is_not_python(command: &mut Command, name: &str) {
    let target = Running::ready(command);
    let ended = trace(target.pid());
    fails(&ended, 1, &[name, "is not Python", "_PyRuntime"]);
}

#[test]
fn pypy() {
    let mut command = Command::new("pypy3");
    command.args(["-c", "print('ready', flush=True); input()"]);
    if Command::new("pypy3").arg("--version").output().is_err() {
        println!("skipped: no pypy3: apt-get install pypy3");
        return;
    }
    fails(
        &trace(Running::ready(&mut command).pid()),
        1,
        &["PyPy", "CPython"],
    );
}

#[test]
fn a_zombie() {
    let script = "
import os, sys
pid = os.fork() or os._exit(0)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
print('zombie', pid, flush=True); sys.stdin.read()";
    let target = Running::start(&mut python().script(script));
    let pid = target.prints("zombie ")["zombie ".len()..].parse().unwrap();
    let parent = target.pid().to_string();
    fails(&trace(pid), 1, &["zombie", &parent]);
}

#[test]
fn a_thread_of_the_kernel() {
    need_root();
    let Ok(comm) = fs::read_to_string("/proc/2/comm") else {
        println!("skipped: no process 2 here (another PID namespace)");
        return;
    };
    fails(&trace(2), 1, &["thread of the kernel", comm.trim_end()]);
}

#[test]
fn the_id_of_a_thread() {
    let script =
        "import threading; threading.Thread(target=input).start(); print('ready', flush=True)";
    let target = Running::ready(&mut python().script(script));
    let threads = kernel::threads(target.pid());
    let tid = threads
        .into_iter()
        .find(|tid| *tid != target.pid())
        .unwrap();
    let advice = format!("pass {}", target.pid());
    fails(&trace(tid), 1, &["is a thread of process", &advice]);
}

#[test]
fn wrong_usage() {
    let pid = std::process::id().to_string();
    let with = |option, value| run(&["--pid", &pid, option, value]);
    for time in [
        "0",
        "0s",
        "-1",
        "-5s",
        "1e30",
        "nan",
        "inf",
        "soon",
        "",
        "99999999h",
        "10 parsecs",
    ] {
        fails(&with("--duration", time), 2, &["--duration"]);
    }
    for pid in ["0", "-1", "4194305", "99999999999999999999", "self", ""] {
        fails(&run(&["--pid", pid]), 2, &["--pid"]);
    }
    for rows in ["0", "-1", "1000001", "many"] {
        fails(&with("--max-threads", rows), 2, &["--max-threads"]);
    }
    fails(&with("--source", "guess"), 2, &["futex"]);
    fails(
        &run(&["--pid", &pid, "--", "true"]),
        2,
        &["cannot be used with"],
    );
    fails(&run(&["--frobnicate"]), 2, &["--frobnicate"]);
}

/// Said before anything is traced: the figures of an hour must not be lost for it.
#[test]
fn a_report_that_cannot_be_written() {
    let target = idle_python();
    let pid = target.pid().to_string();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    symlink("/etc/passwd", at("link")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    let cases = [
        (at("missing/report.json"), "No such file"),
        (at("fifo"), "FIFO"),
        (at("link"), "symbolic link"),
        (at("folder"), "directory"),
        ("/proc/report.json".into(), "/proc"),
        ("/sys/report.json".into(), "/sys"),
        ("/dev/full".into(), "device"),
    ];
    for (path, reason) in cases {
        let arguments = [
            "--pid".as_ref(),
            pid.as_ref(),
            "--json".as_ref(),
            path.as_os_str(),
        ];
        fails(&run(&arguments), 1, &[reason]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

/// A user lays a link where root is going to write.
#[test]
fn a_report_through_the_link_of_another_user() {
    let target = idle_python();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let (theirs, aim) = (folder.path().join("theirs"), tempfile::tempdir().unwrap());
    symlink(aim.path(), &theirs).unwrap();
    let nobody = User::from_name("nobody").unwrap().unwrap();
    nix::unistd::fchownat(
        nix::fcntl::AT_FDCWD,
        &theirs,
        Some(nobody.uid),
        Some(nobody.gid),
        nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .unwrap();
    let path = theirs.join("report.json");
    let pid = target.pid().to_string();
    let arguments = [
        "--pid".as_ref(),
        pid.as_ref(),
        "--json".as_ref(),
        path.as_os_str(),
    ];
    // The kernel may refuse first (fs.protected_symlinks).
    fails(&run(&arguments), 1, &["theirs"]);
    assert_eq!(fs::read_dir(aim.path()).unwrap().count(), 0);
}

/// The file belongs to whoever typed sudo.
#[test]
fn a_report_under_sudo() {
    let target = idle_python();
    let folder = tempfile::tempdir().unwrap();
    let nobody = User::from_name("nobody").unwrap().unwrap();
    chown(
        folder.path(),
        Some(nobody.uid.into()),
        Some(nobody.gid.into()),
    )
    .unwrap();
    let path = folder.path().join("report.json");
    let mut command = Command::new(gilscope());
    command
        .env("SUDO_UID", nobody.uid.to_string())
        .env("SUDO_GID", nobody.gid.to_string());
    command
        .args([
            "--pid",
            &target.pid().to_string(),
            "--duration",
            "0.1",
            "--json",
        ])
        .arg(&path);
    let ended = Running::start(&mut command).end();
    assert_eq!(ended.status, 0, "{ended:?}");
    let found = fs::metadata(&path).unwrap();
    assert_eq!(
        (found.uid(), found.mode() & 0o777),
        (nobody.uid.into(), 0o644)
    );
}

/// What a target calls itself cannot write on the terminal.
#[test]
fn names_with_control_characters() {
    let name = "\x1b[31m\r\n\x07é\x1b]0";
    let script = "
import ctypes, sys, threading, time
def busy():
    ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
    while True: sum(range(1000))
for _ in range(3): threading.Thread(target=busy, daemon=True).start()
print('ready', flush=True); sys.stdin.read()";
    let mut command = python().script(script);
    let target = Running::ready(command.arg(name));
    let pid = target.pid().to_string();
    let text = run(&["--pid", &pid, "--duration", "0.5", "--all-threads"]);
    assert_eq!(text.status, 0, "{text:?}");
    assert!(text.stdout.contains("waits"), "{text:?}");
    let harmless = |c: char| c == '\n' || !c.is_control();
    assert!(text.stdout.chars().all(harmless), "{text:?}");
    assert!(text.stderr.chars().all(harmless), "{text:?}");
    let json = run(&["--pid", &pid, "--duration", "0.3", "--json", "-"]);
    let report = gilscope_tests::Report::read(&json.stdout);
    let threads = report.only_process().threads();
    // The kernel keeps 15 bytes.
    let named = threads
        .iter()
        .filter(|thread| thread.0["os_name"] == name[..name.len().min(15)]);
    assert_eq!(named.count(), 3, "{report:?}");
}

/// Nor can what its program is called, in a sentence about it.
#[test]
fn a_path_with_control_characters() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("\x1b[31m\r\u{202e}sleep");
    fs::copy("/bin/sleep", &program).unwrap();
    let target = Running::start(Command::new(&program).arg("100"));
    until("the program", || {
        let exe = fs::read_link(format!("/proc/{}/exe", target.pid())).ok()?;
        (exe == program).then_some(())
    });
    let ended = trace(target.pid());
    fails(&ended, 1, &["sleep", "is not Python"]);
    let harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
    assert!(ended.stderr.chars().all(harmless), "{ended:?}");
}

/// Python's stop in the debugger, or by a user.
#[test]
fn a_stopped_target() {
    let target = idle_python();
    target.signal(Signal::SIGSTOP);
    let ended = trace(target.pid());
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(ended.stdout.contains("No thread waited"), "{ended:?}");
}

#[test]
fn arguments_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let ended = run(&[OsStr::new("--pid"), OsStr::from_bytes(b"\xff\xfe")]);
    fails(&ended, 2, &["--pid"]);
}
