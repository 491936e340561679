//! The uprobes on the C library's condition variables, on a real process under contention. Needs root.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use gilscope::{
    interpreter::Interpreter,
    model::WaitSource,
    probe::{Limits, Probe, hooks},
    target::{Process, module::modules},
};
use gilscope_common::maps::{Target, source};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Four threads that want the GIL all the time, and ask for it so often that some time out just as they are signalled.
const SPIN: &str = "
import sys, threading
sys.setswitchinterval(0.0005)
def spin():
    while True: pass
for _ in range(4): threading.Thread(target=spin, daemon=True).start()
print('ready', flush=True)
threading.Event().wait()
";
/// Enough of a contended process to tell: glibc's wait itself signals in one of a thousand.
const WAITS: u64 = 20_000;
/// What is awaited comes within a second or two; a loaded machine may take longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Ended with the test.
struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spin() -> Python {
    let mut python = Command::new("python3");
    python.args(["-c", SPIN]).stdout(Stdio::piped());
    let mut child = Python(python.spawn().unwrap());
    let mut line = String::new();
    let stdout = child.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// Each entry of a waiting function has its return, but for the threads that are in one now.
#[test]
fn every_wait_that_is_entered_is_returned_from() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "needs root: run it by `cargo xtask test`"
    );
    let child = spin();
    let process = Process::open(child.0.id()).unwrap();
    let interpreter = Interpreter::find(&process).unwrap();
    let mut probe = Probe::attach(&Limits::default(), None).unwrap();
    let found = hooks(modules(&process).unwrap().filter_map(Result::ok)).unwrap();
    assert!(!found.offsets.returns.is_empty());
    probe.attach_condvars(process.pid, &found).unwrap();
    let target = Target {
        source: source::UPROBE,
        ..Target::default()
    };
    probe.follow(process.pid, &target).unwrap();
    for gil in interpreter.gils(process.memory()).unwrap() {
        probe
            .watch(process.pid, 0, &gil, WaitSource::Uprobe)
            .unwrap();
    }
    let deadline = Instant::now() + DEADLINE;
    while probe.counters().unwrap().condvar_waits < WAITS {
        assert!(
            Instant::now() < deadline,
            "no contention: {:?}",
            probe.counters()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    probe.stop().unwrap();
    let missed = probe.missed();
    probe.detach();
    let counters = probe.counters().unwrap();
    let threads = process.threads().unwrap().len() as u64;
    let in_flight = counters.condvar_waits.abs_diff(counters.condvar_returns);
    assert!(
        in_flight <= threads + missed,
        "{counters:?}, {threads} threads, {missed} missed"
    );
}
