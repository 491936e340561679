//! Who had the GIL while others waited for it is the thread that has it in the program.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{process::Command, time::Duration};

use gilscope_tests::{Process, Running, Tracer, interpreters, need_root, python};

const HOLDER: &str = include_str!("../workloads/holder.py");

fn trace(pid: u32) -> gilscope_tests::Traced {
    Tracer::trace(pid, Duration::from_secs(1))
}

/// The sum of a field over all threads' waits.
fn sum(process: &Process<'_>, field: &str) -> u64 {
    let threads = process.threads().into_iter();
    threads.map(|thread| thread.gil_sum(field)).sum()
}

/// Nearly all of the time that the others waited is the first thread's, and all of it is somebody's, nobody's or unknown.
fn check(process: &Process<'_>) {
    let rows = process.0["blocked_by"].as_array().unwrap();
    let ns = |row: &serde_json::Value| row["sum_ns"].as_u64().unwrap();
    let of_first = rows.iter().filter(|row| row["holder"] == process.pid());
    let of_first: u64 = of_first.map(ns).sum();
    let waited_ns = [
        "wait/sum_ns",
        "unfinished/at_start_ns",
        "unfinished/at_end_ns",
    ]
    .map(|field| sum(process, field))
    .iter()
    .sum::<u64>();
    assert!(waited_ns > 100_000_000, "{process:?}");
    // What was under way at the start is known from its first look on only.
    let known_from_ns = waited_ns - sum(process, "unfinished/at_start_ns");
    assert!(
        of_first >= known_from_ns / 100 * 90,
        "{of_first}: {process:?}"
    );
    let all_ns = rows.iter().map(ns).sum::<u64>()
        + process.number("blocked_by_nobody_ns")
        + process.number("blocked_by_unknown_ns");
    assert_eq!(all_ns, waited_ns, "{process:?}");
    for row in rows {
        assert_ne!(row["waiter"], row["holder"]);
        assert!(row["max_ns"].as_u64().unwrap() <= ns(row));
    }
}

#[test]
fn the_thread_that_has_it_is_named() {
    need_root();
    // 2.7's GIL does not count its changes.
    let interpreters = interpreters().into_iter();
    for python in interpreters.filter(|python| !python.version.starts_with("2.")) {
        println!("{} ({})", python.name, python.version);
        let target = Running::ready(&mut python.workload(HOLDER, &[]));
        let traced = trace(target.pid());
        check(&traced.report.process(target.pid()));
        let text = &traced.ended.stdout;
        let named = format!("while others waited for it:\n  {} ", target.pid());
        assert!(text.contains(&named), "{text}");
    }
}

/// 2.7 does not say who has it, so all of it is unknown.
#[test]
fn nobody_is_named_where_it_is_not_known() {
    need_root();
    let interpreters = interpreters().into_iter();
    for python in interpreters.filter(|python| python.version.starts_with("2.")) {
        println!("{} ({})", python.name, python.version);
        let target = Running::ready(&mut python.workload(HOLDER, &[]));
        let traced = trace(target.pid());
        let process = traced.report.process(target.pid());
        assert_eq!(process.0["blocked_by"], serde_json::json!([]));
        assert_eq!(process.number("blocked_by_nobody_ns"), 0);
        let unknown_ns = process.number("blocked_by_unknown_ns");
        assert!(unknown_ns >= sum(&process, "wait/sum_ns"), "{process:?}");
    }
}

/// A container's threads have other ids inside.
#[test]
fn in_a_pid_namespace() {
    need_root();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(python().program()).args(["-c", HOLDER]);
    let target = Running::ready(&mut command);
    let children = format!("/proc/{0}/task/{0}/children", target.pid());
    let child = std::fs::read_to_string(children).unwrap();
    let child = child.trim().parse().unwrap();
    check(&trace(child).report.process(child));
}
