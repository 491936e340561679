//! However gilscope ends, nothing of it stays behind, and its target does not notice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
};

use gilscope_tests::{Running, Tracer, gilscope, kernel, need_root, python, until};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// Works for a while, then prints a checksum that depends on every step.
const WORK: &str = "
import sys, threading, zlib
sums = []
def work():
    value = 0
    for number in range(300000): value = (value * 31 + number) % 1000003
    sums.append(value)
print('ready', flush=True); sys.stdin.readline()
threads = [threading.Thread(target=work) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()
print('sum', sums, flush=True)
sys.stdin.read()";

/// A report of it is longer than a page.
const ROWS: &str = "
import sys, threading
never = threading.Event()
for _ in range(30): threading.Thread(target=never.wait, daemon=True).start()
print('ready', flush=True)
sys.stdin.read()";

fn worker() -> Running {
    Running::ready(&mut python().script(WORK))
}

fn gone(objects: &BTreeSet<kernel::Object>) {
    until("programs, maps and links to go", || {
        kernel::objects().is_disjoint(objects).then_some(())
    });
}

/// Names that any uprobes have in the kernel.
fn named_uprobes() -> BTreeSet<String> {
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let read = |place| fs::read_to_string(format!("{place}/uprobe_events")).unwrap_or_default();
    let all = places.into_iter().map(read).collect::<String>();
    all.lines().map(str::to_owned).collect()
}

#[test]
fn nothing_stays_after_a_kill() {
    let mut target = worker();
    let uprobes = named_uprobes();
    let mut tracer = Tracer::attach(&[target.pid()]);
    let objects = kernel::objects_of(tracer.running().pid());
    for kind in ["prog", "map", "link"] {
        assert!(
            objects.iter().any(|one| one.kind == kind),
            "no {kind} in {objects:?}"
        );
    }
    assert!(objects.is_subset(&kernel::objects()), "{objects:?}");
    tracer.running().signal(Signal::SIGKILL);
    assert_eq!(tracer.fail().status, 128 + 9);
    gone(&objects);
    assert_eq!(named_uprobes(), uprobes);
    target.tell("go");
    target.prints("sum [");
    target.hang_up();
    assert_eq!(target.end().status, 0);
}

#[test]
fn nothing_stays_after_a_report() {
    let target = worker();
    let mut tracer = Tracer::attach(&[target.pid()]);
    let objects = kernel::objects_of(tracer.running().pid());
    assert_eq!(tracer.finish().ended.status, 0);
    gone(&objects);
}

/// Ctrl-C once is enough, and so is what a service manager sends.
#[test]
fn a_signal_asks_for_the_report() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let target = worker();
        let mut tracer = Tracer::attach(&[target.pid()]);
        tracer.running().signal(signal);
        let traced = tracer.end();
        assert_eq!(traced.ended.status, 0, "{signal}: {:?}", traced.ended);
        assert_eq!(traced.report.only_process().pid(), target.pid());
        assert!(traced.ended.stdout.contains("No thread waited for the GIL"));
    }
}

/// Tracing is over by itself, and the report on its way to a slow reader: an interrupt asks for what is being done, and takes nothing from it.
#[test]
fn an_interrupt_takes_nothing_from_the_report() {
    need_root();
    let target = Running::ready(&mut python().script(ROWS));
    let mut command = Command::new(gilscope());
    command.args(["--duration", "0.3", "--json", "-", "--pid"]);
    command.arg(target.pid().to_string()).stdout(Stdio::piped());
    let mut tracer = command.spawn().unwrap();
    let output = tracer.stdout.take().unwrap();
    fcntl(&output, FcntlArg::F_SETPIPE_SZ(0)).unwrap();
    let system_call = format!("/proc/{}/syscall", tracer.id());
    until("gilscope to write to a full pipe", || {
        // `write` to its standard output (proc_pid_syscall(5)).
        let call = fs::read_to_string(&system_call).unwrap();
        call.starts_with("1 0x1 ").then_some(())
    });
    let pid = Pid::from_raw(tracer.id().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let report: Value = serde_json::from_reader(output).unwrap();
    assert_eq!(report["processes"][0]["pid"], target.pid());
    assert_eq!(tracer.wait().unwrap().code(), Some(0));
}

/// A reader that has seen enough, as `head` has, is no failure.
#[test]
fn a_closed_pipe_is_no_failure() {
    need_root();
    let target = worker();
    let pipe = "\"$0\" --pid \"$1\" --duration 0.3 | true; echo ${PIPESTATUS[0]}";
    let mut command = Command::new("bash");
    command
        .args(["-c", pipe])
        .arg(gilscope())
        .arg(target.pid().to_string());
    let ended = Running::start(&mut command).end();
    assert_eq!(ended.stdout, "0\n", "{ended:?}");
}

#[test]
fn the_target_computes_the_same() {
    let result = |traced: bool| {
        let mut target = worker();
        let tracer = traced.then(|| Tracer::attach(&[target.pid()]));
        target.tell("go");
        let sum = target.prints("sum [");
        if let Some(tracer) = tracer {
            let traced = tracer.finish();
            assert!(traced.report.only_process().gil_wait().number("count") > 0);
        }
        target.hang_up();
        (sum, target.end().status)
    };
    assert_eq!(result(true), result(false));
}

/// The target is not stopped, by ptrace or a signal, and nobody becomes its parent.
#[test]
fn the_target_is_not_touched() {
    let target = worker();
    let pid = target.pid();
    let status = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let wanted = [
            "State:",
            "PPid:",
            "TracerPid:",
            "SigPnd:",
            "ShdPnd:",
            "SigCgt:",
            "Seccomp:",
        ];
        let lines = status
            .lines()
            .filter(|line| wanted.iter().any(|one| line.starts_with(one)));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let maps = || fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    kernel::idle_threads(pid);
    let before = (status(), maps());
    let tracer = Tracer::attach(&[pid]);
    assert_eq!((status(), maps()), before);
    tracer.finish();
    assert_eq!((status(), maps()), before);
}
