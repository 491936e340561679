//! Before 3.7 a GIL is made with the second thread, and in 2.7 another one after a fork: it is measured from then on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use gilscope_tests::{Process, Python, Running, Traced, Tracer, interpreters, need_root};

const PRELUDE: &str = "
import os, sys, threading, time
def say(line):
    sys.stdout.write(line + '\\n')
    sys.stdout.flush()
def busy(until):
    while time.time() < until: sum(range(1000))
def spin(seconds):
    until = time.time() + seconds
    threads = [threading.Thread(target=busy, args=(until,)) for _ in range(3)]
    for one in threads: one.start()
    for one in threads: one.join()
";

fn old_interpreters() -> Vec<Python> {
    let mut all = interpreters();
    all.retain(|one| one.version.starts_with("2.") || one.version.starts_with("3.6."));
    if all.is_empty() {
        println!("skipped: no CPython before 3.7: pyenv install 2.7.18");
    }
    all
}

/// Runs the two parts of a script; what the second does is traced.
fn trace(python: &Python, before: &str, traced: &str) -> (u32, Traced) {
    need_root();
    println!("{}", python.name);
    let source = format!(
        "{PRELUDE}{before}\nsay('ready'); sys.stdin.readline()\n{traced}\nsay('done'); sys.stdin.read()"
    );
    let mut target = Running::ready(&mut python.script(&source));
    let tracer = Tracer::attach_with(&[target.pid()], &["--children"]);
    target.tell("go");
    target.prints("done");
    (target.pid(), tracer.finish())
}

fn check_busy(process: &Process<'_>) {
    assert_eq!(process.thread_count(), 4, "{process:?}");
    assert!(process.gil_wait().number("count") > 0, "{process:?}");
    // Three threads, two of which wait most of the time, unless they have no processor: the GIL was found in time to know of most.
    let all = process.threads().into_iter();
    let busy = all.filter(|thread| thread.number("tid") != u64::from(process.pid()));
    let (known_ns, observed_ns) = busy.fold((0, 0), |(known_ns, observed_ns), thread| {
        let awake_ns = thread.number("cpu/on_cpu_ns") + thread.number("cpu/runnable_ns");
        (
            known_ns + awake_ns + thread.gil_sum("wait_parts/asleep_ns"),
            observed_ns + thread.number("observed_ns"),
        )
    });
    println!("known: {known_ns} of {observed_ns} ns");
    assert!(known_ns * 2 > observed_ns, "{process:?}");
}

#[test]
fn with_the_second_thread() {
    for python in old_interpreters() {
        let (pid, traced) = trace(&python, "", "spin(0.8)");
        check_busy(&traced.report.process(pid));
    }
}

#[test]
fn after_a_fork() {
    for python in old_interpreters() {
        let fork = "child = os.fork()\nif child == 0:\n    spin(0.8)\n    os._exit(0)\nos.waitpid(child, 0)";
        let (pid, traced) = trace(&python, "spin(0.1)", fork);
        let processes = traced.report.processes();
        let child = processes.iter().find(|process| process.pid() != pid);
        check_busy(child.unwrap());
        assert_eq!(traced.report.process(pid).gil_wait().number("count"), 0);
    }
}
