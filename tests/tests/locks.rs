//! Waits for locks other than the GIL: as many and as long as the threads themselves find, and never among the GIL's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    thread,
    time::{Duration, Instant},
};

use gilscope_tests::{
    Lock, Process, Python, Report, Running, Thread, Tracer, builds, free_threaded, kernel,
    need_root, until,
};
use serde_json::Value;

const CONTENDED: &str = include_str!("../workloads/locks.py");
const PURPOSEFUL: &str = include_str!("../workloads/purposes.py");

/// A workload that holds still while tracing begins and ends: what it printed last, and the report.
fn trace(python: &Python, workload: &str, gil: &str) -> (u32, Value, Report) {
    let mut command = python.workload(workload, &["--hold", "--seconds", "0.6"]);
    let mut target = Running::start(command.env("PYTHON_GIL", gil));
    target.prints("idle");
    let pid = target.pid();
    kernel::idle_threads(pid);
    let tracer = Tracer::attach(&[pid]);
    target.tell("go");
    let said = target.prints("\"ops\"");
    let traced = tracer.finish();
    assert_eq!(traced.ended.status, 0, "{:?}", traced.ended);
    (pid, serde_json::from_str(&said).unwrap(), traced.report)
}

fn locks<'a>(process: &Process<'a>, address: &Value) -> Vec<Lock<'a>> {
    let all = process.locks().into_iter();
    all.filter(|lock| lock.0["address"] == *address).collect()
}

/// Each thread of the workload times its contended acquisitions itself. They last a little longer than the sleeps in them: by the
/// way there and back, on which they may have to wait for a processor or for the GIL.
#[test]
fn as_many_and_as_long_as_the_threads_find() {
    need_root();
    for python in builds().iter().filter(|python| has_monotonic_ns(python)) {
        println!("{} ({})", python.name, python.version);
        agrees_with_the_threads(python, "1");
    }
}

/// The same where there is no GIL.
#[test]
fn without_a_gil_too() {
    need_root();
    if let Some(python) = free_threaded() {
        agrees_with_the_threads(&python, "0");
    }
}

fn agrees_with_the_threads(python: &Python, gil: &str) {
    let (pid, said, report) = trace(python, CONTENDED, gil);
    assert!(report.is_complete(), "{report:?}");
    let process = report.process(pid);
    assert_eq!(process.0["gils"][0]["enabled"], gil != "0");
    let awake_ns = awake_ns(&process);
    for recorded in said["locks"].as_array().unwrap() {
        check(&process, recorded, awake_ns);
    }
    check_sums(&process);
}

/// 3.7+.
fn has_monotonic_ns(python: &Python) -> bool {
    let mut numbers = python.version.split('.').map(|one| one.parse().unwrap());
    let version: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap());
    version >= (3, 7)
}

/// Time that threads spent on a processor, waiting for one, or waiting for the GIL.
fn awake_ns(process: &Process<'_>) -> u64 {
    let of_all = |field: &str| -> u64 {
        let threads = process.threads();
        threads.iter().map(|thread| thread.number(field)).sum()
    };
    of_all("cpu/on_cpu_ns") + of_all("cpu/runnable_ns") + process.gil_wait().number("sum_ns")
}

fn check(process: &Process<'_>, recorded: &Value, awake_ns: u64) {
    let number = |field: &str| recorded[field].as_u64().unwrap();
    let mut found = locks(process, &recorded["address"]);
    let all = format!("{recorded}: {found:?}");
    // What a thread runs is told by its thread state, which is not known before it was seen to have the GIL: in its first wait it may not be.
    let threads = number("threads");
    found.retain(|lock| lock.0["purpose"] != "unknown" || lock.number("wait/count") > threads);
    assert_eq!(found.len(), 1, "{all}");
    let (lock, wait) = (&found[0], found[0].wait());
    assert_eq!(lock.0["kind"], recorded["kind"], "{recorded}");
    assert_eq!(lock.number("threads"), threads, "{recorded}");
    let (count, contended) = (wait.number("count"), number("count"));
    assert!(contended >= 5, "{recorded}");
    // One that found the lock taken may have it before it sleeps, and then sleep for the GIL. Who finds it taken again when at last it has a processor
    // sleeps again, which may part a wait: there are never more of them than sleeps.
    let gil_waits = process.gil_wait().number("count");
    assert!(
        count <= number("sleeps") && count + gil_waits + threads >= contended,
        "{count} waits, {gil_waits} for the GIL, {recorded}"
    );
    let (slept_ns, lasted_ns) = (wait.number("sum_ns"), number("sum_ns"));
    assert!(slept_ns <= lasted_ns, "slept {slept_ns} ns, {recorded}");
    assert!(
        slept_ns + awake_ns >= lasted_ns,
        "slept {slept_ns} ns, {awake_ns} awake, {recorded}"
    );
    assert!(wait.number("max_ns") <= number("max_ns"), "{recorded}");
}

/// The locks' rows are the sums of the threads', and no thread waits for longer than it is seen, whatever for.
fn check_sums(process: &Process<'_>) {
    for lock in process.locks() {
        let of_threads: Vec<_> = process
            .threads()
            .iter()
            .flat_map(|thread| thread.locks())
            .filter(|waits| waits.number("lock_id") == lock.number("id"))
            .collect();
        assert_eq!(of_threads.len() as u64, lock.number("threads"));
        for field in ["wait/count", "wait/sum_ns", "unfinished/at_start_ns"] {
            let sum: u64 = of_threads.iter().map(|waits| waits.number(field)).sum();
            assert_eq!(sum, lock.number(field), "{field} of {lock:?}");
        }
        assert_eq!(lock.number("wait/count"), lock.number("wait/recorded"));
    }
    for thread in process.threads() {
        let for_gil = TIMES.iter().map(|field| thread.gil_sum(field));
        let waited_ns = for_locks_ns(&thread) + for_gil.sum::<u64>();
        assert!(waited_ns <= thread.number("observed_ns"), "{thread:?}");
    }
}

/// A thread's waits of all kinds.
const TIMES: [&str; 3] = [
    "wait/sum_ns",
    "unfinished/at_start_ns",
    "unfinished/at_end_ns",
];

fn for_locks_ns(thread: &Thread<'_>) -> u64 {
    let all = thread.locks().into_iter();
    all.flat_map(|waits| TIMES.map(|field| waits.number(field)))
        .sum()
}

/// Time that all threads but the first slept for locks; that one waits for the others at the end.
fn slept_ns(process: &Process<'_>, purpose: &str) -> u64 {
    let threads = process.threads().into_iter();
    let others = threads.filter(|thread| thread.number("tid") != u64::from(process.pid()));
    let all = others.flat_map(|thread| thread.locks());
    let is_one = |waits: &Lock<'_>| {
        let id = usize::try_from(waits.number("lock_id")).unwrap();
        let lock = &process.0["locks"][id];
        assert_eq!(lock["id"], waits.0["lock_id"]);
        lock["purpose"] == purpose
    };
    all.filter(is_one)
        .map(|waits| waits.number("wait/sum_ns"))
        .sum()
}

/// A thread that waits for work is not one that is hindered, though it sleeps on a lock just so.
#[test]
fn asleep_on_purpose_is_no_contention() {
    need_root();
    for python in builds().iter().filter(|python| has_monotonic_ns(python)) {
        println!("{} ({})", python.name, python.version);
        let (pid, said, report) = trace(python, PURPOSEFUL, "1");
        assert!(report.is_complete(), "{report:?}");
        let process = report.process(pid);
        let all = &process.0["locks"];
        let awake_ns = awake_ns(&process);
        let slept_ns = |purpose| slept_ns(&process, purpose);
        let lasted_ns = |calls: &str| said[calls].as_u64().unwrap();
        for (purpose, calls) in [("idle", "idle_ns"), ("contention", "contention_ns")] {
            let (slept_ns, lasted_ns) = (slept_ns(purpose), lasted_ns(calls));
            // What of a call is no sleep is spent on a processor, waiting for one, or waiting for the GIL.
            let least_ns = (lasted_ns / 20 * 19).saturating_sub(awake_ns);
            // Mutexes guard what is waited for, and who has one of those sleeps only for the GIL.
            let most_ns = lasted_ns + said["either_ns"].as_u64().unwrap() + awake_ns;
            assert!(lasted_ns > 500_000_000, "{said}");
            assert!(
                (least_ns..=most_ns).contains(&slept_ns),
                "{slept_ns} ns {purpose}, {awake_ns} ns awake, {said}: {all}"
            );
        }
        assert!(slept_ns("unknown") <= slept_ns("idle") / 50, "{all}");
        check_sums(&process);
        // The threads were asleep, waiting for the beginning, when tracing began.
        let began_ns = |purpose: &str| -> u64 {
            let all = process.locks().into_iter();
            let those = all.filter(|lock| lock.0["purpose"] == purpose);
            those
                .map(|lock| lock.number("unfinished/at_start_ns"))
                .sum()
        };
        assert!(began_ns("idle") > 0, "{all}");
        assert_eq!(began_ns("contention") + began_ns("unknown"), 0, "{all}");
    }
}

/// Threads that sort one list: what guards it without a GIL is a `PyMutex` in the object (`Include/object.h`, 3.13t: `ob_mutex`).
const CRITICAL: &str = "
import json, sys, threading
stopping = False
shared = list(range(200000))
def sort():
    while not stopping: shared.sort()
threads = [threading.Thread(target=sort) for _ in range(2)]
for each in threads: each.start()
print(json.dumps({'ready': True, 'address': hex(id(shared) + 10)}), flush=True)
sys.stdin.readline()
stopping = True
for each in threads: each.join()
sys.stdin.read()";

/// A critical section is told by the mutex of its object. Both threads wait at one time while the one that has been given the mutex, as it waited for
/// long, has no processor yet (`Python/lock.c`, 3.13: `TIME_TO_BE_FAIR_NS`), for as long as that takes. But whenever a thread does not wait, it has a
/// processor or wants one.
#[test]
fn critical_sections_are_told_by_their_object() {
    need_root();
    let Some(python) = free_threaded() else {
        return;
    };
    let target = Running::start(python.script(CRITICAL).env("PYTHON_GIL", "0"));
    let said: Value = serde_json::from_str(&target.prints("ready")).unwrap();
    let pid = target.pid();
    let tracer = Tracer::attach(&[pid]);
    let (before, began) = (sleeps(pid), Instant::now());
    // Threads that share one processor meet seldom.
    until("threads that meet", || {
        (sleeps(pid) >= before + 40).then_some(())
    });
    thread::sleep(Duration::from_millis(300));
    let took_ns = u64::try_from(began.elapsed().as_nanos()).unwrap();
    let traced = tracer.finish();
    let process = traced.report.process(pid);
    let mut found = locks(&process, &said["address"]);
    // A wait that was under way at the start, and what it is for, was told by the thread's memory.
    found.retain(|lock| lock.number("wait/count") > 0);
    assert_eq!(found.len(), 1, "{said}: {}", process.0["locks"]);
    let (lock, wait) = (&found[0], found[0].wait());
    assert_eq!(
        (&lock.0["kind"], lock.number("threads")),
        (&"py-mutex".into(), 2)
    );
    // One that has waited for a millisecond is given the mutex, so that few waits have more than two sleeps.
    assert!(wait.number("count") >= 10, "{lock:?}");
    check_sums(&process);
    let both = process.threads().into_iter();
    for thread in both.filter(|thread| thread.number("tid") != u64::from(pid)) {
        let awake_ns = thread.number("cpu/on_cpu_ns") + thread.number("cpu/runnable_ns");
        let known_ns = for_locks_ns(&thread) + awake_ns;
        assert!(known_ns >= took_ns / 100 * 95, "{took_ns}: {thread:?}");
    }
}

/// How often a process's threads have gone to sleep by themselves.
fn sleeps(pid: u32) -> u64 {
    let threads = kernel::threads(pid).into_iter();
    threads
        .map(|tid| kernel::Scheduled::of(pid, tid).voluntary)
        .sum()
}

/// Threads that allocate, and one that collects garbage thirty times; how long that took in all.
const PAUSES: &str = "
import gc, json, sys, threading, time
def busy():
    while True: [[i] for i in range(1000)]
def collect():
    sys.stdin.readline()
    took_ns = 0
    for _ in range(30):
        began = time.monotonic_ns()
        gc.collect()
        took_ns += time.monotonic_ns() - began
        time.sleep(0.005)
    print(json.dumps({'took_ns': took_ns, 'tid': threading.get_native_id()}), flush=True)
junk = [[i] for i in range(100000)]
for each in busy, busy, collect: threading.Thread(target=each, daemon=True).start()
print('ready', flush=True)
time.sleep(60)";

/// Without the GIL a collection stops all threads: they wait for its end, no longer than it takes, and it is known who asked.
#[test]
fn pauses_of_the_world_are_told_from_locks() {
    need_root();
    let Some(python) = free_threaded() else {
        return;
    };
    let mut target = Running::ready(python.script(PAUSES).env("PYTHON_GIL", "0"));
    let pid = target.pid();
    let tracer = Tracer::attach(&[pid]);
    target.tell("collect");
    let said: Value = serde_json::from_str(&target.prints("took_ns")).unwrap();
    let took_ns = said["took_ns"].as_u64().unwrap();
    let traced = tracer.finish();
    let process = traced.report.process(pid);
    let mut pauses = process.locks();
    pauses.retain(|lock| lock.0["requested_by"] == said["tid"]);
    assert_eq!(pauses.len(), 1, "{said}: {}", process.0["locks"]);
    let pause = &pauses[0];
    assert_eq!(pause.0["kind"], "stop-the-world");
    assert_eq!(pause.number("threads"), 2);
    assert!(pause.number("wait/count") >= 10, "{pause:?}");
    let paused_ns = pause.number("wait/sum_ns");
    // One may have to wait for a processor afterwards.
    let threads = process.threads().into_iter();
    let runnable_ns: u64 = threads.map(|it| it.number("cpu/runnable_ns")).sum();
    let most_ns = pause.number("threads") * took_ns + runnable_ns;
    assert!(paused_ns <= most_ns, "{paused_ns}, {most_ns}: {pause:?}");
}
