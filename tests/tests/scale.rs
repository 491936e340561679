//! Many threads at one time, and very many one after the other: gilscope stays small, and counts
//! every one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use gilscope_tests::{Running, Tracer, gilscope, kernel, python};

/// What the project promises, in KiB.
const MOST_MEMORY: u64 = 30 << 10;

#[test]
fn two_hundred_busy_threads() {
    let spin = include_str!("../workloads/spin.py");
    let arguments = ["--threads", "200", "--seconds", "3", "--hold"];
    let mut target = Running::start(&mut python().workload(spin, &arguments));
    target.prints("idle");
    let mut tracer = Tracer::attach(&[target.pid()]);
    target.tell("go");
    target.prints("ops");
    let memory = kernel::memory_of(tracer.running().pid());
    let traced = tracer.finish();
    assert_eq!(traced.ended.status, 0, "{:?}", traced.ended);
    assert!(traced.report.is_complete());
    let process = traced.report.only_process();
    assert_eq!(process.threads().len(), 201);
    let waiting = process.threads().into_iter();
    let waiting = waiting.filter(|thread| thread.gil_sum("wait/count") > 0);
    assert!(waiting.count() >= 150, "{process:?}");
    println!("{memory:?}");
    assert!(memory.resident_kib < MOST_MEMORY, "{memory:?}");
    // What a build without optimisation takes is nobody's concern.
    if gilscope().iter().any(|part| part == "release") {
        assert!(memory.peak_kib < MOST_MEMORY, "{memory:?}");
    }
}

/// Each thread has an id that many others had before.
#[test]
fn a_hundred_thousand_short_threads() {
    let script = "
import _thread, sys
print('ready', flush=True); sys.stdin.readline()
lock = _thread.allocate_lock()
for _ in range(100000):
    lock.acquire()
    _thread.start_new_thread(lock.release, ())
lock.acquire()
print('done', flush=True); sys.stdin.read()";
    let mut target = Running::ready(&mut python().script(script));
    let mut tracer = Tracer::attach_with(&[target.pid()], &["--max-threads", "100"]);
    target.tell("go");
    target.prints("done");
    kernel::idle_threads(target.pid());
    let memory = kernel::memory_of(tracer.running().pid());
    let traced = tracer.finish();
    assert_eq!(traced.ended.status, 0, "{:?}", traced.ended);
    let process = traced.report.only_process();
    let lost = traced.report.number("loss/events_lost");
    println!("{memory:?}, {lost} lost");
    assert_eq!(process.threads().len(), 100);
    assert!(
        process.thread_count().abs_diff(100_001) <= lost,
        "{}",
        process.thread_count()
    );
    assert!(memory.resident_kib < MOST_MEMORY, "{memory:?}");
}
