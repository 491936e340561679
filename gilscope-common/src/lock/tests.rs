//! Sequences as they were seen in the kernel.

extern crate std;

use super::*;
use std::vec::Vec;

/// A thread with its wait, a clock, and the lengths of what has finished.
#[derive(Default)]
struct Thread {
    lock: Lock,
    now_ns: u64,
    cpu_ns: u64,
    call: u64,
    had_gil: bool,
    finished: Vec<u64>,
}

impl Thread {
    fn take(&mut self, finished: bool) {
        if finished {
            self.finished.push(self.lock.slept_ns);
        }
    }

    fn falls_asleep(&mut self, address: u64, kind: u32) {
        let place = LockPlace {
            address,
            kind,
            ..LockPlace::default()
        };
        let sleep = Sleep {
            place,
            call: self.call,
            had_gil: self.had_gil,
            now_ns: self.now_ns,
            cpu_ns: self.cpu_ns,
        };
        if !self.lock.sleeps_again(&sleep) {
            let finished = self.lock.ends();
            self.take(finished);
            self.lock.begins(&sleep);
        }
    }

    fn wakes_up(&mut self, after_ns: u64, result: i64) {
        self.now_ns += after_ns;
        self.lock.wakes_up(self.now_ns, self.cpu_ns, result);
    }

    fn sleeps(&mut self, address: u64, ns: u64) {
        self.falls_asleep(address, kind::SEMAPHORE);
        self.wakes_up(ns, 0);
    }

    fn parks(&mut self, address: u64, ns: u64) {
        self.falls_asleep(address, kind::PARKED);
        self.wakes_up(ns, 0);
    }

    fn runs(&mut self, ns: u64) {
        self.now_ns += ns;
        self.cpu_ns += ns;
    }

    fn calls_another_futex(&mut self) {
        let finished = self.lock.ends();
        self.take(finished);
    }

    /// Another sleep of its, for the GIL.
    fn waits_for_gil(&mut self, ns: u64) {
        let finished = self.lock.uses_gil();
        self.take(finished);
        self.now_ns += ns;
        let finished = self.lock.leaves_cpu(true, true);
        self.take(finished);
        self.runs(1_000);
    }
}

const A: u64 = 0x1000;
const B: u64 = 0x2000;

#[test]
fn sleeps_of_one_acquisition_are_one_wait() {
    let mut thread = Thread::default();
    thread.sleeps(A, 5_000);
    thread.runs(retry_cpu_ns(kind::SEMAPHORE));
    thread.sleeps(A, 7_000);
    assert_eq!(thread.finished, []);
    thread.calls_another_futex();
    assert_eq!(thread.finished, [12_000]);
    thread.calls_another_futex();
    assert_eq!(thread.finished, [12_000]);
    let totals = LockTotals {
        waits: 1,
        sum_ns: 12_000,
        max_ns: 12_000,
    };
    assert_eq!(thread.lock.totals, totals);
}

#[test]
fn what_it_did_in_between_makes_two() {
    let between: [fn(&mut Thread); 5] = [
        |thread| thread.had_gil = true,
        |thread| thread.runs(retry_cpu_ns(kind::SEMAPHORE) + 1),
        Thread::calls_another_futex,
        |thread| {
            let finished = thread.lock.leaves_cpu(true, false);
            thread.take(finished);
        },
        |thread| thread.waits_for_gil(3_000),
    ];
    for (case, between) in between.into_iter().enumerate() {
        let mut thread = Thread::default();
        thread.sleeps(A, 5_000);
        between(&mut thread);
        thread.sleeps(A, 7_000);
        thread.calls_another_futex();
        assert_eq!(thread.finished, [5_000, 7_000], "case {case}");
    }
}

#[test]
fn another_lock_is_another_wait() {
    let mut thread = Thread::default();
    thread.sleeps(A, 5_000);
    thread.sleeps(B, 7_000);
    assert_eq!(thread.finished, [5_000]);
    assert_eq!(thread.lock.place.address, B);
}

/// `_PySemaphore_Wait` takes the GIL before `_PyMutex_LockTimed` sees that the lock is taken again.
#[test]
fn a_wait_for_a_pymutex_goes_on_after_one_for_the_gil_without_its_time() {
    let mut thread = Thread {
        call: 1,
        had_gil: true,
        ..Thread::default()
    };
    thread.parks(A, 5_000);
    thread.waits_for_gil(4_000_000);
    thread.parks(A, 7_000);
    // A new lock in the place of the old, as each `Condition.wait` makes one.
    thread.call = 2;
    thread.parks(A, 1_000);
    assert_eq!(thread.finished, [12_000]);
    // Of a wait that has no such mark each sleep is one.
    thread.call = 0;
    thread.parks(A, 2_000);
    thread.parks(A, 3_000);
    thread.calls_another_futex();
    assert_eq!(thread.finished, [12_000, 1_000, 2_000, 3_000]);
}

#[test]
fn a_preemption_is_no_sign() {
    let mut thread = Thread::default();
    thread.sleeps(A, 5_000);
    assert!(!thread.lock.leaves_cpu(false, false));
    thread.sleeps(A, 7_000);
    thread.calls_another_futex();
    assert_eq!(thread.finished, [12_000]);
}

#[test]
fn refused_alone_is_no_wait() {
    let mut thread = Thread::default();
    thread.falls_asleep(A, kind::SEMAPHORE);
    thread.wakes_up(300, EAGAIN);
    thread.calls_another_futex();
    assert_eq!(thread.finished, []);
    thread.sleeps(A, 5_000);
    thread.falls_asleep(A, kind::SEMAPHORE);
    thread.wakes_up(300, EAGAIN);
    thread.calls_another_futex();
    assert_eq!(thread.finished, [5_000]);
}

/// The kernel leaves programs out now and then.
#[test]
fn an_unseen_end_of_a_sleep_is_when_it_got_a_processor() {
    let mut thread = Thread::default();
    thread.falls_asleep(A, kind::MUTEX);
    thread.now_ns += 5_000;
    thread.lock.enters_cpu(thread.now_ns);
    thread.runs(3_000);
    thread.calls_another_futex();
    assert_eq!(thread.finished, [5_000]);
}

/// Nor is a wait for the GIL part of a wait for a `PyMutex` then.
#[test]
fn an_unseen_end_is_before_a_wait_for_the_gil() {
    let mut thread = Thread::default();
    thread.falls_asleep(A, kind::PARKED);
    thread.now_ns += 5_000;
    thread.lock.enters_cpu(thread.now_ns);
    thread.waits_for_gil(4_000_000);
    thread.lock.enters_cpu(thread.now_ns);
    thread.calls_another_futex();
    assert_eq!(thread.finished, [5_000]);
}

#[test]
fn under_way_at_either_end_it_is_counted_apart() {
    let place = LockPlace {
        address: A,
        ..LockPlace::default()
    };
    let mut thread = Thread {
        lock: Lock::cut_at_start(place, 0),
        ..Thread::default()
    };
    assert_eq!(thread.lock.open_ns(500), 500);
    thread.wakes_up(5_000, 0);
    assert!(thread.lock.ends());
    assert_eq!((thread.lock.cut_at_start, thread.lock.slept_ns), (1, 5_000));
    assert_eq!(thread.lock.totals, LockTotals::default());

    thread.falls_asleep(A, kind::MUTEX);
    assert_eq!(thread.lock.cut_at_start, 0);
    assert!(!thread.lock.is_no_longer_seen());
    assert_eq!(thread.lock.open_ns(thread.now_ns + 70), 70);
}
