//! Both sources say the same of the same run: the futex calls, and the uprobes on the C library's
//! condition variables, in whichever library those are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use gilscope_tests::{Process, Python, Running, Tracer, interpreters, kernel, need_root};

const HELD: &str = include_str!("../workloads/held.py");

/// A figure of all threads' waits, and by how much the two may differ: a function takes a little longer
/// than the sleep in it.
const BOUNDS: [(&str, f64); 3] = [("count", 0.03), ("sum_ns", 0.02), ("max_ns", 0.05)];

fn measured_by(process: &Process<'_>) -> String {
    let source = process.0.pointer("/gils/0/source").unwrap();
    source.as_str().unwrap().to_owned()
}

fn compare(python: &Python) {
    let mut target = Running::start(&mut python.workload(HELD, &["--seconds", "1"]));
    target.prints("idle");
    let pid = target.pid();
    kernel::idle_threads(pid);
    let uprobe = Tracer::attach_with(&[pid], &["--source", "uprobe"]);
    let futex = Tracer::attach_with(&[pid], &["--source", "futex"]);
    target.tell("go");
    target.prints("done");
    let (futex, uprobe) = (futex.finish(), uprobe.finish());
    let (futex, uprobe) = (futex.report.process(pid), uprobe.report.process(pid));
    assert_eq!(measured_by(&futex), "futex");
    // 2.7's semaphore is a futex word on every C library.
    let is_semaphore = python.version.starts_with("2.");
    let by_uprobes = if is_semaphore { "futex" } else { "uprobe" };
    assert_eq!(measured_by(&uprobe), by_uprobes);
    let waits = futex.number("gil_wait/count");
    assert!(waits >= 20, "{}: only {waits} waits", python.name);
    for (figure, bound) in BOUNDS {
        let path = format!("gil_wait/{figure}");
        let (one, other) = (futex.number(&path) as f64, uprobe.number(&path) as f64);
        assert!(
            (one - other).abs() <= bound * one,
            "{}: {figure} is {one} by futex calls and {other} by uprobes",
            python.name
        );
    }
    println!("{}: {waits} waits by both", python.name);
}

#[test]
fn both_sources_agree() {
    need_root();
    // On musl there is but one.
    let all = interpreters();
    let of_both = all.iter().filter(|python| !python.name.starts_with("musl"));
    of_both.for_each(compare);
}
