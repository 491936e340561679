//! `gilscope -- COMMAND`: the command does not notice, and is traced from its first instruction.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{ffi::OsStr, fs, process::Command};

use gilscope_tests::{Running, Tracer, for_anybody, gilscope, need_root, python, run, until};
use nix::sys::signal::Signal;

fn python_script(source: &str) -> [&OsStr; 3] {
    [
        python().program().as_os_str(),
        "-c".as_ref(),
        source.as_ref(),
    ]
}

#[test]
fn its_exit_status_is_the_commands() {
    need_root();
    for (script, status) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
    ] {
        let traced = Tracer::launch(&[], &["sh", "-c", script]).end();
        assert_eq!(traced.ended.status, status, "{script}: {:?}", traced.ended);
        let process = traced.report.only_process();
        assert_eq!(process.exit_status(), Some(status.into()), "{script}");
        assert_eq!(
            process.0["cmdline"],
            serde_json::json!(["sh", "-c", script])
        );
    }
}

#[test]
fn its_output_is_the_commands() {
    // It lives for a second more: what ends at once has no GIL in the report where the machine is
    // too busy to look at it in those 20 ms.
    let script = "import sys, time; print('out', sys.stdin.read()); print('err', file=sys.stderr); \
                  time.sleep(1)";
    let mut tracer = Tracer::launch(&[], &python_script(script));
    tracer.running().tell("in");
    tracer.running().hang_up();
    let traced = tracer.end();
    assert_eq!(
        (traced.ended.status, traced.ended.stdout.as_str()),
        (0, "out in\n\n")
    );
    assert!(
        traced.ended.stderr.starts_with("err\n"),
        "{:?}",
        traced.ended
    );
    let none = "No thread waited for the GIL";
    assert!(traced.ended.stderr.contains(none), "{:?}", traced.ended);
}

/// It has lived while gilscope did not run.
#[test]
fn a_command_that_ends_before_it_can_be_looked_at() {
    need_root();
    let stopped = "kill -STOP $PPID; (sleep 1; kill -CONT $PPID) & exec \"$0\" -c pass";
    let python = python().program().as_os_str();
    let command = ["sh".as_ref(), "-c".as_ref(), stopped.as_ref(), python];
    let traced = Tracer::launch(&[], &command).end();
    assert_eq!(traced.ended.status, 0, "{:?}", traced.ended);
    let why = "it ended before it could be looked at";
    assert!(traced.ended.stderr.contains(why), "{:?}", traced.ended);
}

/// Nor does it grow with every child that there has been.
#[test]
fn what_has_ended_keeps_no_file_open() {
    need_root();
    let each = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do \
                \"$0\" -c 'import time; time.sleep(0.1)'; ls /proc/$PPID/fd | wc -l; done";
    let python = python().program().as_os_str();
    let command = ["sh".as_ref(), "-c".as_ref(), each.as_ref(), python];
    let traced = Tracer::launch(&["--quiet"], &command).end();
    let all = traced.ended.stdout.lines().map(str::trim);
    let open: Vec<u32> = all.map(|number| number.parse().unwrap()).collect();
    let [first, last] = [&open[..4], &open[12..]].map(|some| some.iter().max().unwrap());
    assert!(*last < first + 4, "{open:?}");
    let children = traced.report.processes().len() - 1;
    assert!((1..=16).contains(&children), "{children} of interest");
}

#[test]
fn the_command_has_its_own_limit_of_files() {
    need_root();
    let script = "ulimit -S -n 512; exec \"$0\" --quiet -- sh -c 'ulimit -S -n'";
    let mut command = Command::new("sh");
    let ended = Running::start(command.args(["-c", script]).arg(gilscope())).end();
    assert_eq!((ended.status, ended.stdout.trim()), (0, "512"), "{ended:?}");
}

#[test]
fn a_command_that_cannot_be_run() {
    need_root();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::write(&data, "no program").unwrap();
    let missing = folder.path().join("missing");
    for (command, reason) in [(&missing, "No such file"), (&data, "Permission denied")] {
        let ended = run(&[OsStr::new("--"), command.as_os_str()]);
        assert_eq!((ended.status, ended.stdout.as_str()), (125, ""));
        assert!(ended.stderr.contains("cannot run"), "{ended:?}");
        assert!(
            ended.stderr.contains(&*command.to_string_lossy()),
            "{ended:?}"
        );
        assert!(ended.stderr.contains(reason), "{ended:?}");
    }
}

/// sudo has a PATH of its own, which does not know a user's pyenv.
#[test]
fn a_command_that_sudo_hides() {
    need_root();
    let mut command = Command::new(gilscope());
    command
        .env("SUDO_UID", "0")
        .env("SUDO_GID", "0")
        .env("PATH", "/usr/bin:/bin");
    let ended = Running::start(command.args(["--", "no-such-python", "x.py"])).end();
    assert_eq!(ended.status, 125, "{ended:?}");
    assert!(
        ended.stderr.contains("$(command -v no-such-python)"),
        "{ended:?}"
    );
}

#[test]
fn standard_output_is_not_for_reports() {
    let ended = run(&["--json", "-", "--", "echo", "ran"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{ended:?}");
    assert!(
        ended.stderr.contains("COMMAND owns standard output"),
        "{ended:?}"
    );
}

/// What fails does so before the command runs.
#[test]
fn an_unwritable_report_stops_the_command() {
    let ended = run(&["--json", "/nonexistent/report.json", "--", "echo", "ran"]);
    assert_eq!(
        (ended.status, ended.stdout.as_str()),
        (125, ""),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("/nonexistent"), "{ended:?}");
}

#[test]
fn signals_are_the_commands() {
    let script = "
import signal, sys, time
asked = []
def handler(number, frame): asked.append(number)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, handler)
print('ready', flush=True)
while not asked: time.sleep(0.01)
print('got', asked[0], flush=True); sys.exit(40)";
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut tracer = Tracer::launch(&[], &python_script(script));
        tracer.running().prints("ready");
        tracer.running().signal(signal);
        let traced = tracer.end();
        assert_eq!(traced.ended.status, 40, "{signal}: {:?}", traced.ended);
        assert!(
            traced
                .ended
                .stdout
                .contains(&format!("got {}", signal as i32))
        );
        assert_eq!(traced.report.only_process().exit_status(), Some(40));
    }
}

/// Those that gilscope catches or blocks for itself are as they were for the command.
#[test]
fn the_command_begins_with_its_own_signals() {
    let script = "
import signal
print([int(s) for s in signal.Signals if signal.getsignal(s) == signal.SIG_IGN])
print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))";
    let alone = Running::start(&mut python().script(script)).end();
    let traced = Tracer::launch(&[], &python_script(script)).end();
    assert_eq!(traced.ended.stdout, alone.stdout);
}

/// The first milliseconds are traced, before any interpreter could be found.
#[test]
fn the_first_waits_are_seen() {
    let script = "
import threading
def busy(): sum(range(600000))
threads = [threading.Thread(target=busy) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()";
    let traced = Tracer::launch(&[], &python_script(script)).end();
    assert_eq!(traced.ended.status, 0);
    let process = traced.report.only_process();
    assert_eq!(process.thread_count(), 5);
    assert_eq!(process.exit_status(), Some(0));
    let begun = process
        .threads()
        .into_iter()
        .map(|thread| thread.number("started_at_ns"));
    assert!(begun.max().unwrap() < traced.report.number("duration_ns"));
    assert!(process.gil_wait().number("count") >= 4, "{process:?}");
}

/// Uprobes can only be put where the C library is, once the command has it; all that takes long is done before.
#[test]
fn a_short_command_is_seen_by_uprobes() {
    let script = "
import threading, time
def busy():
    end = time.monotonic() + 0.3
    while time.monotonic() < end: pass
threads = [threading.Thread(target=busy) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()";
    let traced = Tracer::launch(&["--source", "uprobe"], &python_script(script)).end();
    assert_eq!(traced.ended.status, 0);
    let process = traced.report.only_process();
    assert!(process.gil_wait().number("count") >= 4, "{process:?}");
}

#[test]
fn children_are_followed() {
    let script = "
import os, subprocess, sys, threading
busy = 'import threading; all = [threading.Thread(target=lambda: sum(range(10**6))) for _ in range(3)];'
busy += '[one.start() for one in all]; [one.join() for one in all]'
if os.fork() == 0:
    exec(busy); os._exit(0)
os.wait()
subprocess.run([sys.executable, '-c', busy], check=True)
subprocess.run(['true'], check=True)";
    let traced = Tracer::launch(&[], &python_script(script)).end();
    assert_eq!(traced.ended.status, 0, "{:?}", traced.ended);
    // `true` has nothing to do with a GIL.
    let processes = traced.report.processes();
    assert_eq!(processes.len(), 3, "{:?}", traced.report);
    let waiting = processes
        .iter()
        .filter(|process| process.gil_wait().number("count") > 0);
    assert_eq!(waiting.count(), 2, "{:?}", traced.report);
    assert!(
        processes
            .iter()
            .all(|process| process.exit_status() == Some(0)),
        "{:?}",
        traced.report
    );
}

/// Those that end make room in the kernel for those that come.
#[test]
fn more_children_than_fit_at_one_time() {
    let busy = "import threading; busy = lambda: sum(range(10**6)); \
                [threading.Thread(target=busy).start() for _ in range(3)]";
    let script = "i=0; while [ $i -lt 1500 ]; do /bin/true; i=$((i+1)); done; \"$0\" -c \"$1\"";
    let command = ["sh".as_ref(), "-c".as_ref(), script.as_ref()];
    let [python, _, _] = python_script("");
    let traced = Tracer::launch(&[], &[&command[..], &[python, busy.as_ref()]].concat()).end();
    assert_eq!(traced.ended.status, 0, "{:?}", traced.ended);
    assert_eq!(traced.report.number("loss/events_lost"), 0);
    let processes = traced.report.processes();
    assert_eq!(processes.len(), 2, "{:?}", traced.report);
    let waits = processes
        .iter()
        .map(|process| process.gil_wait().number("count"));
    assert!(waits.max() > Some(0), "{:?}", traced.report);
}

#[test]
fn a_command_that_outlives_the_duration() {
    let script = "
import sys, threading
print('ready', flush=True)
for line in sys.stdin: pass
sys.exit(6)";
    let mut tracer = Tracer::launch(&["--duration", "0.3"], &python_script(script));
    tracer.running().prints("ready");
    tracer.running().complains("No thread waited");
    tracer.running().hang_up();
    let traced = tracer.end();
    assert_eq!(traced.ended.status, 6);
    assert!(traced.report.only_process().0["ended"].is_null());
}

/// Under sudo the command is run by whoever typed it.
#[test]
fn the_command_runs_as_the_invoking_user() {
    need_root();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let mut command = Command::new(for_anybody());
    command.env("SUDO_UID", nobody.uid.to_string());
    command.env("SUDO_GID", nobody.gid.to_string());
    let ended = Running::start(command.args(["--", "id", "-u"])).end();
    assert_eq!(
        (ended.status, ended.stdout),
        (0, format!("{}\n", nobody.uid))
    );
}

/// The command ends with gilscope only if it has not begun.
#[test]
fn the_command_survives_gilscope() {
    let script = "print('ready', flush=True); input(); print('done', flush=True)";
    let mut tracer = Tracer::launch(&[], &python_script(script));
    let running = tracer.running();
    running.prints("ready");
    running.signal(Signal::SIGKILL);
    until("gilscope's end", || (!running.is_alive()).then_some(()));
    running.tell("go");
    running.prints("done");
}
