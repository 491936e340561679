#![allow(clippy::expect_used, reason = "a test")]

use super::*;
use crate::model::{
    Call, CpuTime, Frame, PythonStack, ThreadFacts, ThreadTotals, Unfinished, WaitedAt,
};

const MS: u64 = 1_000_000;
/// When the trace begins.
const ORIGIN: u64 = 1_000_000 * MS;

fn process(max_threads: usize) -> Process {
    Process::new(ORIGIN, ORIGIN, max_threads)
}

fn start(tid: u32, at_ms: u64) -> Event {
    Event::ThreadStart(ThreadStart {
        pid: 1,
        tid,
        at_ns: ORIGIN + at_ms * MS,
    })
}

fn end(tid: u32, at_ms: u64) -> Event {
    Event::ThreadEnd(ThreadEnd {
        pid: 1,
        tid,
        at_ns: ORIGIN + at_ms * MS,
        os_name: None,
    })
}

fn interval(tid: u32, kind: IntervalKind, from_ms: u64, to_ms: u64) -> Event {
    let (start_ns, end_ns) = (ORIGIN + from_ms * MS, ORIGIN + to_ms * MS);
    Event::Interval(Interval {
        pid: 1,
        tid,
        gil_id: 0,
        kind,
        start_ns,
        end_ns,
        after: Call::EvalLoop,
    })
}

fn wait(tid: u32, from_ms: u64, to_ms: u64) -> Event {
    interval(tid, IntervalKind::Wait, from_ms, to_ms)
}

fn waits(waits: u64, sum_ms: u64, max_ms: u64) -> GilTotals {
    GilTotals {
        waits,
        wait_sum_ns: sum_ms * MS,
        wait_max_ns: max_ms * MS,
        ..GilTotals::default()
    }
}

fn findings(max_threads: usize, events: impl IntoIterator<Item = Event>) -> Findings {
    let mut process = process(max_threads);
    events.into_iter().for_each(|event| process.apply(event));
    process.finish(ORIGIN + 10_000 * MS)
}

#[test]
fn threads_come_most_waited_first() {
    let found = findings(
        10,
        [
            start(1, 0),
            start(2, 0),
            start(3, 20),
            wait(1, 0, 5),
            wait(2, 3, 10),
            wait(2, 20, 21),
            end(3, 30),
        ],
    );
    let rows: Vec<_> = found
        .threads
        .iter()
        .map(|t| (t.tid, t.waited_ns() / MS))
        .collect();
    assert_eq!(rows, [(2, 8), (1, 5), (3, 0)]);
    assert_eq!(found.contended_ns, 11 * MS);
    assert_eq!((found.gil_wait.count, found.gil_wait.sum_ns), (3, 13 * MS));
    assert_eq!(
        (found.gil_wait.max_ns, found.gil_wait.recorded),
        (7 * MS, 3)
    );
    let third = &found.threads[2];
    assert_eq!(
        (third.started_at_ns, third.ended_at_ns),
        (20 * MS, Some(30 * MS))
    );
    assert_eq!(third.observed_ns, 10 * MS);
    assert!(third.gil.is_empty());
    assert!(found.other_threads.is_none());
    assert_eq!(found.loss, WaitLoss::default());
}

#[test]
fn forced_switches_are_kept_apart() {
    let found = findings(10, [interval(1, IntervalKind::Yield, 0, 5), wait(1, 6, 8)]);
    let gil = &found.threads[0].gil[0];
    assert_eq!(
        (gil.forced_switch.count, gil.forced_switch.sum_ns),
        (1, 5 * MS)
    );
    assert_eq!((gil.wait.count, found.contended_ns), (1, 2 * MS));
}

#[test]
fn what_the_kernel_counted_and_nobody_recorded_is_lost() {
    let totals = |waits_so_far, sum, max| Event::GilTotals(1, 0, waits(waits_so_far, sum, max));
    let found = findings(10, [totals(1, 9, 9), wait(1, 0, 5), totals(3, 25, 12)]);
    let expected = WaitLoss {
        waits_lost: 2,
        wait_lost_ns: 20 * MS,
    };
    assert_eq!((found.loss, found.threads[0].loss), (expected, expected));
    let all = &found.gil_wait;
    assert_eq!(
        (all.count, all.sum_ns, all.max_ns, all.recorded),
        (3, 25 * MS, 12 * MS, 1)
    );
    assert_eq!(all.p99_ns, found.threads[0].gil[0].wait.p99_ns);
    assert_eq!(all.mean_ns, Some(5 * MS));
}

#[test]
fn each_gil_has_its_entry() {
    let second = Event::GilTotals(
        1,
        1,
        GilTotals {
            timeouts: 3,
            ..GilTotals::default()
        },
    );
    let unused = Event::GilTotals(1, 2, GilTotals::default());
    let found = findings(10, [wait(1, 0, 5), second, unused]);
    let ids: Vec<_> = found.threads[0]
        .gil
        .iter()
        .map(|gil| (gil.gil_id, gil.timeouts))
        .collect();
    assert_eq!(ids, [(0, 0), (1, 3)]);
}

#[test]
fn a_tid_used_again_is_another_thread() {
    let found = findings(
        10,
        [
            start(1, 0),
            wait(1, 0, 5),
            end(1, 6),
            start(1, 8),
            wait(1, 9, 10),
            end(1, 11),
        ],
    );
    let rows: Vec<_> = found
        .threads
        .iter()
        .map(|t| (t.started_at_ns / MS, t.waited_ns() / MS))
        .collect();
    assert_eq!(rows, [(0, 5), (8, 1)]);
}

#[test]
fn what_comes_after_the_end_belongs_to_the_ended() {
    let found = findings(
        10,
        [
            start(1, 0),
            end(1, 6),
            wait(1, 0, 5),
            end(1, 9),
            start(1, 7),
            start(1, 8),
        ],
    );
    let rows: Vec<_> = found
        .threads
        .iter()
        .map(|t| (t.started_at_ns / MS, t.ended_at_ns))
        .collect();
    assert_eq!(rows, [(0, Some(6 * MS)), (7, None)]);
}

#[test]
fn rows_are_bounded_and_those_that_waited_least_are_merged() {
    let mut events = Vec::new();
    for tid in 1..=100 {
        events.extend([
            start(tid, 0),
            wait(tid, 0, u64::from(tid)),
            wait(tid, 200, 201),
        ]);
        let cpu = ThreadTotals {
            on_cpu_ns: 2,
            ..ThreadTotals::default()
        };
        events.extend([
            Event::ThreadTotals(tid, cpu),
            Event::GilTotals(tid, 0, waits(3, 300, 150)),
        ]);
    }
    // Thread 50 stays, and waits least.
    events.push(Event::GilTotals(50, 0, waits(2, 51, 50)));
    events.extend((1..=100).filter(|&tid| tid != 50).map(|tid| end(tid, 300)));
    let found = findings(10, events);
    assert_eq!(found.threads.len(), 10);
    assert_eq!(found.threads[9].tid, 50);
    let others = found.other_threads.expect("90 threads are merged");
    assert_eq!(
        (others.threads, others.wait.count, others.wait.recorded),
        (90, 270, 180)
    );
    assert_eq!((others.cpu.on_cpu_ns, others.loss.waits_lost), (180, 90));
    assert_eq!((found.gil_wait.count, found.gil_wait.recorded), (299, 200));
    assert_eq!(found.loss.waits_lost, 99);
    assert_eq!(found.gil_wait.p99_9_ns.map(|ns| ns / MS), Some(100));
}

#[test]
fn without_rows_all_ended_threads_are_one() {
    let facts = |tid, user_ns| {
        Event::ThreadFacts(
            tid,
            ThreadFacts {
                user_ns,
                system_ns: Some(1),
                ..ThreadFacts::default()
            },
        )
    };
    let events = [
        start(1, 0),
        facts(1, Some(4)),
        end(1, 1),
        start(2, 0),
        facts(2, None),
        wait(2, 0, 1),
        end(2, 1),
    ];
    let found = findings(0, events);
    assert!(found.threads.is_empty());
    let others = found.other_threads.expect("both are merged");
    let cpu = CpuTime {
        system_ns: Some(2),
        ..CpuTime::default()
    };
    assert_eq!((others.threads, others.wait.count, others.cpu), (2, 1, cpu));
}

#[test]
fn unfinished_waits_are_contention_but_in_no_histogram() {
    let totals = GilTotals {
        unfinished_at_start_ns: 3 * MS,
        unfinished_at_end_ns: 4 * MS,
        ..GilTotals::default()
    };
    let found = findings(
        10,
        [
            Event::GilTotals(1, 0, totals),
            Event::GilTotals(1, 0, totals),
            wait(2, 2, 5),
        ],
    );
    assert_eq!(found.contended_ns, 9 * MS);
    assert_eq!(found.gil_wait.count, 1);
    let gil = &found.threads[0].gil[0];
    assert_eq!(
        gil.unfinished,
        Unfinished {
            at_start_ns: 3 * MS,
            at_end_ns: 4 * MS
        }
    );
    assert_eq!(
        (found.threads[0].tid, gil.wait.count, gil.wait.hdr.is_none()),
        (1, 0, true)
    );
}

#[test]
fn what_proc_said_stays_until_it_says_more() {
    let name = |name: &str| Some(name.to_owned());
    let first = ThreadFacts {
        ns_tid: Some(7),
        os_name: name("python3"),
        ..ThreadFacts::default()
    };
    let then = ThreadFacts {
        name: name("worker"),
        user_ns: Some(5),
        ..ThreadFacts::default()
    };
    let mut process = process(10);
    process.apply(Event::ThreadFacts(1, first));
    process.apply(Event::ThreadFacts(1, then));
    let ended = ThreadEnd {
        pid: 1,
        tid: 1,
        at_ns: ORIGIN,
        os_name: name("renamed"),
    };
    process.apply(Event::ThreadEnd(ended));
    let row = &process.finish(ORIGIN).threads[0];
    assert_eq!((row.ns_tid, row.cpu.user_ns), (Some(7), Some(5)));
    assert_eq!(
        (&row.name, &row.os_name),
        (&name("worker"), &name("renamed"))
    );
}

/// Nothing that a record may say makes it panic.
#[test]
fn any_numbers_are_taken() {
    let most = u64::MAX;
    let totals = GilTotals {
        waits: most,
        wait_sum_ns: most,
        wait_max_ns: most,
        yields: most,
        unfinished_at_start_ns: most,
        unfinished_at_end_ns: most,
        timeouts: most,
        futile_wakeups: most,
        ..GilTotals::default()
    };
    let cpu = ThreadTotals {
        on_cpu_ns: most,
        voluntary_switches: most,
        ..ThreadTotals::default()
    };
    let mut process = Process::new(most, 0, 1);
    let stack = PythonStack {
        frames: vec![Frame {
            name: String::new(),
            qualified_name: None,
            file: String::new(),
            line: Some(u32::MAX),
        }],
        truncated: true,
        unreadable: most,
    };
    process.apply(Event::Stack(1, stack));
    for tid in [0, 1, u32::MAX] {
        for (start_ns, end_ns) in [(most, 0), (0, most), (0, 0), (most, most)] {
            for kind in [IntervalKind::Wait, IntervalKind::Yield] {
                let gil_id = u32::MAX;
                process.apply(Event::Interval(Interval {
                    pid: 0,
                    tid,
                    gil_id,
                    kind,
                    start_ns,
                    end_ns,
                    after: Call::EvalLoop,
                }));
            }
        }
        process.apply(Event::ThreadStart(ThreadStart {
            pid: 0,
            tid,
            at_ns: 0,
        }));
        process.apply(Event::GilTotals(tid, u32::MAX, totals));
        process.apply(Event::GilTotals(tid, 0, totals));
        process.apply(Event::ThreadTotals(tid, cpu));
        for holder in [None, Some(tid)] {
            process.apply(Event::Blocking(Blocking {
                waiter: tid,
                started_ns: most,
                gil_id: 0,
                holder,
                parts: most,
                sum_ns: most,
                max_ns: Some(most),
                on_cpu_ns: most,
                runnable_ns: most,
                asleep_ns: most,
            }));
        }
        for at_ns in [1, most / 2, most] {
            process.apply(Event::WaitedAt(WaitedAt {
                gil_id: 0,
                holder: Some(tid),
                waiter_stack: 1,
                holder_stack: 1,
                count: most,
                sum_ns: most,
            }));
            process.apply(Event::Look(Look {
                at_ns,
                system_ns: Some(most),
                events_lost: most,
            }));
        }
        process.apply(Event::ThreadEnd(ThreadEnd {
            pid: 0,
            tid,
            at_ns: 0,
            os_name: None,
        }));
    }
    let found = process.finish(0);
    assert_eq!((found.gil_wait.count, found.gil_wait.recorded), (most, 12));
    assert_eq!(found.other_threads.map(|others| others.threads), Some(2));
}

#[test]
fn a_holder_is_a_thread_of_the_process() {
    let said = |holder: Option<u32>, sum_ms: u64| {
        Event::Blocking(Blocking {
            waiter: 1,
            started_ns: 0,
            gil_id: 0,
            holder,
            parts: 1,
            sum_ns: sum_ms * MS,
            max_ns: Some(sum_ms * MS),
            on_cpu_ns: 0,
            runnable_ns: 0,
            asleep_ns: 0,
        })
    };
    let events = [start(1, 0), start(2, 0), start(3, 0), end(3, 5)];
    let said = [
        said(Some(2), 4),
        said(Some(3), 2),
        said(Some(4_000), 3),
        said(None, 1),
    ];
    let waited = [wait(1, 0, 10)];
    let found = findings(10, events.into_iter().chain(waited).chain(said));
    let holders: Vec<_> = found.blocked_by.iter().map(|row| row.holder).collect();
    assert_eq!(holders, [2, 3]);
    assert_eq!(found.blocked_by_nobody_ns, MS);
    assert_eq!(found.blocked_by_unknown_ns, 3 * MS);
}
