//! Both sources say the same of the same run: the futex calls, and the uprobes on the C library's
//! condition variables, in whichever library those are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use gilscope_tests::{Process, Python, Running, Tracer, builds, kernel, need_root};

const HELD: &str = include_str!("../workloads/held.py");

/// A figure of all threads' waits, and by how much the two may differ: a function takes a little longer
/// than the sleep in it, and if the thread loses its processor on that way, much longer.
const BOUNDS: [(&str, f64); 3] = [("count", 0.03), ("asleep_ns", 0.02), ("max_ns", 0.05)];

fn part(process: &Process<'_>, part: &str) -> f64 {
    let threads = process.threads().into_iter();
    let sum: u64 = threads
        .map(|it| it.gil_sum(&format!("wait_parts/{part}")))
        .sum();
    sum as f64
}

fn figure(process: &Process<'_>, figure: &str) -> f64 {
    match figure {
        "asleep_ns" => part(process, figure),
        _ => process.number(&format!("gil_wait/{figure}")) as f64,
    }
}

/// Time in the waits, but not asleep.
fn awake_ns(process: &Process<'_>) -> f64 {
    part(process, "runnable_ns") + part(process, "on_cpu_ns")
}

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
    let apart_ns = (awake_ns(&uprobe) - awake_ns(&futex)).abs();
    for (name, bound) in BOUNDS {
        let (one, other) = (figure(&futex, name), figure(&uprobe, name));
        let way_ns = match name {
            "max_ns" => apart_ns,
            // At each switch one of the two looks at the clock after the other.
            "asleep_ns" => 5_000.0 * waits as f64,
            _ => 0.0,
        };
        assert!(
            (one - other).abs() <= bound * one + way_ns,
            "{}: {name} is {one} by futex calls and {other} by uprobes",
            python.name
        );
    }
    let sums_ns = [&futex, &uprobe].map(|one| figure(one, "sum_ns"));
    assert!(
        (sums_ns[0] - sums_ns[1]).abs() <= 0.02 * sums_ns[0] + apart_ns,
        "{}: {sums_ns:?}, {apart_ns} awake",
        python.name
    );
    println!("{}: {waits} waits by both", python.name);
}

#[test]
fn both_sources_agree() {
    need_root();
    // On musl there is but one.
    let all = builds();
    let of_both = all.iter().filter(|python| !python.name.starts_with("musl"));
    of_both.for_each(compare);
}
