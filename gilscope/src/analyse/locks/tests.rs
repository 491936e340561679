#![allow(clippy::unwrap_used, reason = "a test")]

use super::super::Process;
use super::*;
use crate::model::{Event, LockKind, ThreadEnd, ThreadReport};

const MS: u64 = 1_000_000;

fn id(address: u64, purpose: Purpose) -> LockId {
    LockId {
        address,
        kind: LockKind::Semaphore,
        purpose,
    }
}

fn waits_for(tid: u32, lock: LockId, slept_ms: u64) -> Event {
    Event::Lock(LockWait {
        tid,
        lock,
        slept_ns: slept_ms * MS,
        cut_at_start: false,
    })
}

fn waits(tid: u32, address: u64, slept_ms: u64) -> Event {
    waits_for(tid, id(address, Purpose::Contention), slept_ms)
}

fn counted(tid: u32, waits: u64, sum_ms: u64, open: Option<(LockId, u64, bool)>) -> Event {
    let totals = LockTotals {
        waits,
        sum_ns: sum_ms * MS,
        open,
    };
    Event::LockTotals(tid, totals)
}

fn after(max_threads: usize, max_locks: usize, events: Vec<Event>) -> super::super::Findings {
    let mut process = Process::new(0, 0, max_threads).with_max_locks(max_locks);
    events.into_iter().for_each(|event| process.apply(event));
    process.finish(10_000 * MS)
}

fn thread(threads: &[ThreadReport], tid: u32) -> &ThreadReport {
    threads.iter().find(|thread| thread.tid == tid).unwrap()
}

#[test]
fn a_row_for_each_lock_and_one_for_each_thread_and_lock() {
    let found = after(
        10,
        10,
        vec![
            waits(1, 0xa, 3),
            waits(1, 0xb, 50),
            waits(2, 0xa, 4),
            waits(2, 0xa, 9),
        ],
    );
    let rows: Vec<_> = found
        .locks
        .iter()
        .map(|lock| {
            (
                lock.address.as_deref().unwrap(),
                lock.threads,
                lock.wait.count,
                lock.wait.max_ns / MS,
            )
        })
        .collect();
    assert_eq!(rows, [("0xb", 1, 1, 50), ("0xa", 2, 3, 9)]);
    let of_two = &thread(&found.threads, 2).locks;
    assert_eq!(of_two.len(), 1);
    assert_eq!((of_two[0].lock_id, of_two[0].wait.sum_ns), (1, 13 * MS));
    assert!(found.other_locks.is_none());
    assert!(
        found.gil_wait.count == 0 && found.contended_ns == 0,
        "no wait for a GIL"
    );
}

#[test]
fn memory_that_becomes_another_lock_is_another_row() {
    let mutex = LockId {
        kind: LockKind::Mutex,
        ..id(0xa, Purpose::Contention)
    };
    let idle = id(0xa, Purpose::Idle);
    let found = after(
        10,
        10,
        vec![
            waits(1, 0xa, 3),
            waits_for(1, mutex, 3),
            waits_for(1, idle, 3),
        ],
    );
    assert_eq!(found.locks.len(), 3);
}

#[test]
fn what_was_under_way_at_either_end_is_in_no_histogram() {
    let lock = id(0xa, Purpose::Unknown);
    let cut = Event::Lock(LockWait {
        tid: 1,
        lock,
        slept_ns: 7 * MS,
        cut_at_start: true,
    });
    let found = after(
        10,
        10,
        vec![
            cut,
            counted(1, 0, 0, Some((lock, 2 * MS, false))),
            counted(2, 0, 0, Some((lock, 5 * MS, true))),
        ],
    );
    let unfinished = found.locks[0].unfinished;
    assert_eq!(
        (unfinished.at_start_ns, unfinished.at_end_ns),
        (12 * MS, 2 * MS)
    );
    assert_eq!((found.locks[0].wait.count, found.locks[0].threads), (0, 2));
}

/// Whatever has no row is in the sum of the others.
#[test]
fn rows_beyond_the_limit_are_merged_and_nothing_is_lost() {
    let many = || (0..1_000).map(|n| waits(1 + n % 3, u64::from(n), 1 + u64::from(n)));
    let found = after(10, 20, many().collect());
    let rows: u64 = found.locks.iter().map(|lock| lock.threads).sum();
    assert_eq!(rows, 20);
    assert_eq!(found.locks[0].wait.max_ns, 1_000 * MS);
    let others = found.other_locks.unwrap();
    assert_eq!(others.rows, 980);
    let sum_ns: u64 = found.locks.iter().map(|lock| lock.wait.sum_ns).sum();
    assert_eq!(sum_ns + others.wait.sum_ns, 500_500 * MS);
    assert_eq!(others.wait.recorded, 980);
}

/// Its address is who asked for it.
#[test]
fn a_pause_says_who_asked_for_it() {
    let pause = |address| LockId {
        address,
        kind: LockKind::StopTheWorld,
        purpose: Purpose::Contention,
    };
    let found = after(
        10,
        10,
        vec![waits_for(1, pause(7), 1), waits_for(2, pause(7), 2)],
    );
    let lock = &found.locks[0];
    assert_eq!((&lock.address, lock.requested_by), (&None, Some(7)));
    assert_eq!((lock.threads, lock.wait.max_ns), (2, 2 * MS));
    let unknown = after(10, 10, vec![waits_for(1, pause(0), 1)]);
    assert_eq!(unknown.locks[0].requested_by, None);
}

#[test]
fn who_is_asleep_on_purpose_makes_room_first() {
    let idle = waits_for(1, id(0xa, Purpose::Idle), 5_000);
    let found = after(10, 1, vec![idle, waits(1, 0xb, 1)]);
    assert_eq!(found.locks[0].address.as_deref(), Some("0xb"));
    assert_eq!(found.other_locks.unwrap().wait.sum_ns, 5_000 * MS);
}

#[test]
fn threads_without_a_row_leave_their_waits() {
    let mut events = Vec::new();
    for tid in 1..=3 {
        events.extend([waits(tid, 0xa, 1), counted(tid, 2, 5, None)]);
        events.push(Event::ThreadEnd(ThreadEnd {
            pid: 1,
            tid,
            at_ns: MS,
            os_name: None,
        }));
    }
    let found = after(1, 10, events);
    assert_eq!(found.threads.len(), 1);
    assert_eq!(found.other_locks.unwrap().rows, 2);
    // Each lost one of 4 ms.
    assert_eq!(
        (found.lock_loss.waits_lost, found.lock_loss.wait_lost_ns),
        (3, 12 * MS)
    );
    assert_eq!(found.threads[0].lock_loss.waits_lost, 1);
}

#[test]
fn what_turned_out_to_be_a_gil_is_left_out() {
    let mut process = Process::new(0, 0, 10);
    let lock = id(0x110, Purpose::Unknown);
    process.apply(waits(1, 0x10f, 3));
    process.apply(waits_for(1, lock, 3));
    process.apply(counted(1, 2, 6, Some((lock, MS, false))));
    process.forget_locks(&(0x110..0x120));
    let found = process.finish(10 * MS);
    assert_eq!(found.locks.len(), 1);
    assert_eq!(found.locks[0].address.as_deref(), Some("0x10f"));
    assert_eq!(found.locks[0].unfinished, Unfinished::default());
}
