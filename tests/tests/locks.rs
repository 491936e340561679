//! Waits for locks other than the GIL: as many and as long as the threads themselves find, and never among the GIL's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use gilscope_tests::{
    Lock, Process, Python, Report, Running, Tracer, free_threaded, interpreters, kernel, need_root,
};
use serde_json::Value;

const CONTENDED: &str = include_str!("../workloads/locks.py");
const PURPOSEFUL: &str = include_str!("../workloads/purposes.py");

/// A workload that holds still while tracing begins and ends: what it printed last, and the report.
fn trace(python: &Python, workload: &str, gil: &str) -> (u32, Value, Report) {
    let mut command = python.workload(workload, &["--hold", "--seconds", "1"]);
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
    for python in interpreters()
        .iter()
        .filter(|python| has_monotonic_ns(python))
    {
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
    // What a thread runs is told by its thread state, which is not known before it was seen to have the GIL.
    found.retain(|lock| lock.0["purpose"] != "unknown" || lock.number("wait/count") > 3);
    assert_eq!(found.len(), 1, "{all}");
    let (lock, wait) = (&found[0], found[0].wait());
    assert_eq!(lock.0["kind"], recorded["kind"], "{recorded}");
    assert_eq!(lock.number("threads"), number("threads"), "{recorded}");
    let (count, contended) = (wait.number("count"), number("count"));
    assert!(contended >= 5, "{recorded}");
    // One that found the lock taken may have it before it sleeps, and then sleep for the GIL; a preemption in a retry may part a
    // wait.
    let gil_waits = process.gil_wait().number("count");
    assert!(
        count <= contended + 5 + contended / 20 && count + gil_waits >= contended,
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

/// The locks' rows are the sums of the threads'.
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
}

/// A thread that waits for work is not one that is hindered, though it sleeps on a lock just so.
#[test]
fn asleep_on_purpose_is_no_contention() {
    need_root();
    for python in interpreters()
        .iter()
        .filter(|python| has_monotonic_ns(python))
    {
        println!("{} ({})", python.name, python.version);
        let (pid, said, report) = trace(python, PURPOSEFUL, "1");
        assert!(report.is_complete(), "{report:?}");
        let process = report.process(pid);
        let slept_ns = |purpose: &str| -> u64 {
            let all = process.locks().into_iter();
            let those = all.filter(|lock| lock.0["purpose"] == purpose);
            those.map(|lock| lock.number("wait/sum_ns")).sum()
        };
        let all = &process.0["locks"];
        let awake_ns = awake_ns(&process);
        for purpose in ["idle", "contention"] {
            let waited_ns = said[format!("{purpose}_ns")].as_u64().unwrap();
            let slept_ns = slept_ns(purpose);
            // What of a call is no sleep is spent on a processor, waiting for one, or waiting for the GIL. Machinery around
            // the calls waits too.
            let asleep_ns = (waited_ns / 20 * 19).saturating_sub(awake_ns);
            let (least, most) = (asleep_ns, waited_ns + waited_ns / 3);
            assert!(waited_ns > 1_000_000_000, "{said}");
            assert!(
                (least..=most).contains(&slept_ns),
                "{slept_ns} ns {purpose}, {awake_ns} ns awake, {said}: {all}"
            );
        }
        assert!(slept_ns("unknown") <= slept_ns("idle") / 50, "{all}");
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

/// A critical section is told by the mutex of its object. Both threads wait at one time only while the one that has been given the mutex, as it waited for
/// long, has no processor yet (`Python/lock.c`, 3.13: `TIME_TO_BE_FAIR_NS`).
#[test]
fn critical_sections_are_told_by_their_object() {
    need_root();
    let Some(python) = free_threaded() else {
        return;
    };
    let target = Running::start(python.script(CRITICAL).env("PYTHON_GIL", "0"));
    let said: Value = serde_json::from_str(&target.prints("ready")).unwrap();
    let pid = target.pid();
    let traced = Tracer::attach_with(&[pid], &["--duration", "1s"]).end();
    let process = traced.report.process(pid);
    let found = locks(&process, &said["address"]);
    assert_eq!(found.len(), 1, "{said}: {}", process.0["locks"]);
    let (lock, wait) = (&found[0], found[0].wait());
    assert_eq!(
        (&lock.0["kind"], lock.number("threads")),
        (&"py-mutex".into(), 2)
    );
    assert!(wait.number("count") >= 10, "{lock:?}");
    let observed_ns = process.number("observed_ns");
    let threads = process.threads().into_iter();
    let runnable_ns: u64 = threads.map(|it| it.number("cpu/runnable_ns")).sum();
    assert!(
        wait.number("sum_ns") <= observed_ns + runnable_ns,
        "{observed_ns} ns, {runnable_ns} ns, {lock:?}"
    );
}

/// Threads that allocate, and one that collects garbage; how long that took in all.
const PAUSES: &str = "
import gc, json, sys, threading, time
stopping = False
def busy():
    while not stopping: [[i] for i in range(1000)]
def collect():
    took_ns = 0
    while not stopping:
        began = time.monotonic_ns()
        gc.collect()
        took_ns += time.monotonic_ns() - began
        time.sleep(0.005)
    print(json.dumps({'took_ns': took_ns, 'tid': threading.get_native_id()}), flush=True)
junk = [[i] for i in range(100000)]
threads = [threading.Thread(target=each) for each in (busy, busy, collect)]
for each in threads: each.start()
print('ready', flush=True)
sys.stdin.readline()
stopping = True
for each in threads: each.join()
sys.stdin.read()";

/// Without the GIL a collection stops all threads: they wait for its end, no longer than it takes, and it is known who asked.
#[test]
fn pauses_of_the_world_are_told_from_locks() {
    need_root();
    let Some(python) = free_threaded() else {
        return;
    };
    let mut target = Running::ready(python.script(PAUSES).env("PYTHON_GIL", "0"));
    let pid = target.pid();
    let traced = Tracer::attach_with(&[pid], &["--duration", "1.5s"]).end();
    target.tell("stop");
    let said: Value = serde_json::from_str(&target.prints("took_ns")).unwrap();
    let took_ns = said["took_ns"].as_u64().unwrap();
    let process = traced.report.process(pid);
    let mut pauses = process.locks();
    pauses.retain(|lock| lock.0["requested_by"] == said["tid"]);
    assert_eq!(pauses.len(), 1, "{said}: {}", process.0["locks"]);
    let pause = &pauses[0];
    assert_eq!(pause.0["kind"], "stop-the-world");
    assert_eq!(pause.number("threads"), 2);
    assert!(pause.number("wait/count") >= 20, "{pause:?}");
    let (paused_ns, busy_threads) = (pause.number("wait/sum_ns"), 2);
    // One may have to wait for a processor afterwards.
    assert!(
        paused_ns <= 2 * busy_threads * took_ns,
        "{paused_ns} of {took_ns}: {pause:?}"
    );
}
