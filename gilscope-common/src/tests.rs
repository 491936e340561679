//! The state machines on event sequences as they were seen in the kernel.

extern crate std;

use crate::{
    maps::Totals,
    sched::{Sched, state},
    wait::{
        EAGAIN, ETIMEDOUT, Finished, GilAddresses, GilView, PREEMPTION_CPU_NS, RESUMPTION_NS,
        RETRY_CPU_NS, SEMAPHORE_REFUSED_CPU_NS, SEMAPHORE_RETRY_CPU_NS, Sleep, Wait, kind, phase,
        position, word,
    },
};
use std::vec::Vec;

const ME: u64 = 0x1000;
const OTHER: u64 = 0x2000;

/// A thread with its wait, a clock, and what came out.
#[derive(Default)]
struct Thread {
    wait: Wait,
    now_ns: u64,
    cpu_ns: u64,
    position: u64,
    returns_to: u64,
    on_cpu_for_ns: u64,
    view: GilView,
    finished: Vec<Finished>,
}

impl Thread {
    /// One that waits for a GIL that another holds.
    fn behind_another() -> Self {
        let mut thread = Self {
            now_ns: 1_000_000,
            ..Self::default()
        };
        thread.view.locked = 1;
        thread.view.last_holder = OTHER;
        thread.view.switch_number = 100;
        thread
    }

    fn take(&mut self, finished: bool) {
        self.finished.extend(finished.then_some(self.wait.finished));
    }

    fn sleep(&self, word: u32, bitset: bool) -> Sleep {
        Sleep {
            gil_id: 0,
            word,
            bitset,
            takes_back: false,
            locks: false,
            now_ns: self.now_ns,
            cpu_ns: self.cpu_ns,
            position: self.position,
            returns_to: self.returns_to,
            on_cpu_for_ns: self.on_cpu_for_ns,
            view: self.view,
        }
    }

    fn sleeps(&mut self, word: u32, bitset: bool) {
        let sleep = self.sleep(word, bitset);
        let finished = self.wait.sleeps(&sleep);
        self.take(finished);
    }

    fn wakes_up(&mut self, after_ns: u64, result: i64) {
        self.now_ns += after_ns;
        self.wait
            .wakes_up(self.now_ns, self.cpu_ns, result, self.view.switch_number);
    }

    /// A sleep on the condition variable.
    fn sleeps_on_cond(&mut self, ns: u64, result: i64) {
        self.sleeps(word::COND, true);
        self.wakes_up(ns, result);
    }

    fn sleeps_on_mutex(&mut self, ns: u64, result: i64) {
        self.sleeps(word::MUTEX, false);
        self.wakes_up(ns, result);
    }

    fn runs(&mut self, ns: u64) {
        self.now_ns += ns;
        self.cpu_ns += ns;
        self.on_cpu_for_ns += ns;
    }

    /// Another has the processor for a moment.
    fn is_preempted(&mut self, at: u64) {
        let finished = self.wait.leaves_cpu(false, || at);
        self.take(finished);
        self.now_ns += 3_000_000;
        self.on_cpu_for_ns = 0;
        // A semaphore's view counts these.
        self.view.switch_number += 1;
    }

    /// The GIL changes hands; the last to take it is `holder`.
    fn switches(&mut self, times: u64, holder: u64) {
        self.view.switch_number += times;
        self.view.last_holder = holder;
    }

    /// `drop_gil` that finds a waiter to signal.
    fn drops(&mut self) {
        self.view.last_holder = ME;
        self.view.locked = 0;
        let finished = self.wait.wakes_others(word::COND, true, &self.view);
        self.take(finished);
        self.view.locked = 1;
        self.view.last_holder = OTHER;
    }

    fn lengths(&self) -> Vec<(u32, u64)> {
        let length = |one: &Finished| (one.kind, one.end_ns - one.start_ns);
        self.finished.iter().map(length).collect()
    }
}

/// A thread that waits for 2.7's GIL.
struct Old(Thread);

impl Old {
    fn new() -> Self {
        Self(Thread {
            now_ns: 1_000_000,
            ..Thread::default()
        })
    }

    fn sleeps(&mut self, ns: u64, result: i64) {
        self.0.sleeps(word::SEMAPHORE, true);
        self.0.wakes_up(ns, result);
    }

    fn releases(&mut self) {
        let thread = &mut self.0;
        let finished = thread
            .wait
            .wakes_others(word::SEMAPHORE, false, &thread.view);
        thread.take(finished);
    }

    fn lengths(&self) -> Vec<u64> {
        self.0
            .lengths()
            .into_iter()
            .map(|(_, length)| length)
            .collect()
    }
}

#[test]
fn futile_wake_ups_of_a_semaphore_are_one_wait() {
    let mut old = Old::new();
    for _ in 0..3 {
        old.sleeps(10_000, 0);
        old.0.runs(SEMAPHORE_RETRY_CPU_NS);
    }
    old.sleeps(10_000, 0);
    old.0.runs(50_000);
    old.releases();
    assert_eq!(
        old.lengths(),
        [3 * (10_000 + SEMAPHORE_RETRY_CPU_NS) + 10_000]
    );
    assert_eq!(old.0.finished[0].futile_wakeups, 3);
    assert_eq!(old.0.finished[0].timeouts, 0);
}

#[test]
fn a_release_of_a_semaphore_that_wakes_nobody() {
    let mut old = Old::new();
    old.sleeps(10_000, 0);
    old.0.runs(SEMAPHORE_RETRY_CPU_NS + 1);
    old.sleeps(20_000, EAGAIN);
    old.0.runs(SEMAPHORE_REFUSED_CPU_NS + 1);
    old.sleeps(30_000, 0);
    old.releases();
    assert_eq!(old.lengths(), [10_000, 20_000, 30_000]);
    assert_eq!(old.0.finished[0].futile_wakeups, 0);
}

/// They would have been woken if it had been had and given back.
#[test]
fn who_still_waits_for_a_semaphore_proves_a_retry() {
    let mut old = Old::new();
    old.sleeps(10_000, 0);
    old.0.wait.other_waiters = 1;
    old.0.runs(1_000_000);
    old.sleeps(20_000, 0);
    old.0.wait.other_waiters = 1;
    old.0.runs(SEMAPHORE_RETRY_CPU_NS + PREEMPTION_CPU_NS + 1);
    // While it was off the processor the other may have had it, and left.
    old.0.view.switch_number += 1;
    old.sleeps(30_000, 0);
    old.0.wait.other_waiters = 1;
    old.0.runs(1_000_000);
    // Or it still waits.
    old.0.view.switch_number += 1;
    old.0.view.other_waiters = 1;
    old.sleeps(40_000, 0);
    old.releases();
    assert_eq!(old.lengths(), [1_030_000, 1_070_000]);
}

/// A preempted retry: the program stands where it stood, however long that took.
#[test]
fn where_the_program_stands_tells_a_retry() {
    let mut old = Old::new();
    old.0.position = position(0x55_0000, 12, 7);
    for _ in 0..2 {
        old.sleeps(10_000, 0);
        old.0.runs(20_000_000);
        old.0.view.switch_number += 1;
    }
    old.sleeps(10_000, 0);
    // It has gone on, in no time.
    old.0.position = position(0x55_0000, 15, 7);
    old.sleeps(40_000, 0);
    old.releases();
    assert_eq!(old.lengths(), [40_030_000, 40_000]);
}

/// Others waited as it woke up, and a virtual machine stood still before it had the semaphore: they had it, and left.
#[test]
fn where_the_program_stands_outweighs_who_waited() {
    let mut old = Old::new();
    old.0.position = position(0x55_0000, 12, 7);
    old.sleeps(10_000, 0);
    old.0.wait.other_waiters = 1;
    old.0.runs(4_000_000);
    old.0.position = position(0x55_0000, 12, 8);
    old.sleeps(20_000, 0);
    old.releases();
    assert_eq!(old.lengths(), [10_000, 20_000]);
}

/// A thread that never waits twice at one place: another that interrupts its retry does not part its wait.
#[test]
fn where_a_counting_thread_stands_tells_a_retry() {
    let mut old = Old::new();
    old.0.position = position(0x55_0000, 12, 7);
    old.sleeps(10_000, 0);
    old.0.runs(SEMAPHORE_RETRY_CPU_NS + 50_000);
    old.sleeps(10_000, 0);
    old.releases();
    assert_eq!(old.lengths().len(), 1);
}

/// One that calls the same function again and again does.
#[test]
fn a_thread_that_waits_at_one_place_is_told_by_time() {
    let mut old = Old::new();
    old.0.position = position(0x55_0000, 12, 7);
    for _ in 0..2 {
        old.sleeps(10_000, 0);
        old.releases();
    }
    for _ in 0..2 {
        old.0.runs(SEMAPHORE_RETRY_CPU_NS + 1);
        old.sleeps(20_000, 0);
    }
    old.releases();
    assert_eq!(old.lengths(), [10_000, 10_000, 20_000, 20_000]);
}

#[test]
fn a_holder_is_past_its_wait() {
    let mut old = Old::new();
    old.sleeps(10_000, 0);
    let finished = old.0.wait.is_holder(0x1000);
    old.0.take(finished);
    old.sleeps(20_000, 0);
    old.releases();
    assert_eq!(old.lengths(), [10_000, 20_000]);
}

#[test]
fn every_part_of_a_position_counts() {
    let here = position(0x7f12_3456_7890, 12, 7);
    for there in [
        position(0x7f12_3456_7a90, 12, 7),
        position(0x7f12_3456_7890, 13, 7),
        position(0x7f12_3456_7890, 12, 8),
    ] {
        assert_ne!(here, there);
    }
}

/// Being taken off the processor takes processor time too.
#[test]
fn a_preempted_retry_is_a_retry() {
    let mut old = Old::new();
    old.sleeps(10_000, 0);
    old.0.runs(SEMAPHORE_RETRY_CPU_NS + PREEMPTION_CPU_NS);
    // A semaphore's view counts these.
    old.0.view.switch_number += 1;
    old.sleeps(20_000, 0);
    old.releases();
    assert_eq!(old.lengths().len(), 1);
    assert_eq!(old.0.finished[0].futile_wakeups, 1);
}

/// The address to which a sleep on a semaphore comes back.
const IN_SEM_WAIT: u64 = 0x7f00_0000_1234;
const IN_PYTHON: u64 = 0x7f00_0100_0000;

/// Two waits at one place in the program, as those of a loop, and one more that such a preemption and so much work part from the last.
fn waits_parted_by(places: &[u64], ran_ns: u64) -> usize {
    let mut old = Old::new();
    old.0.position = position(0x55_0000, 12, 7);
    for _ in 0..2 {
        old.sleeps(10_000, 0);
        old.releases();
    }
    old.sleeps(10_000, 0);
    for &place in places {
        old.0.is_preempted(place);
    }
    old.0.runs(ran_ns);
    old.0.returns_to = IN_SEM_WAIT;
    old.sleeps(20_000, 0);
    old.releases();
    old.lengths().len() - 2
}

#[test]
fn a_thread_preempted_in_its_program_was_past_its_wait() {
    assert_eq!(waits_parted_by(&[IN_PYTHON], 0), 2);
    assert_eq!(waits_parted_by(&[IN_SEM_WAIT, IN_PYTHON], 0), 2);
    assert_eq!(waits_parted_by(&[IN_PYTHON, IN_SEM_WAIT], 0), 2);
    // Where nobody knows the place, standing still is taken for a retry.
    assert_eq!(waits_parted_by(&[0], 0), 1);
}

#[test]
fn a_thread_preempted_on_the_way_out_of_its_sleep_is_told_by_time() {
    let longest_ns = SEMAPHORE_RETRY_CPU_NS + RESUMPTION_NS;
    assert_eq!(waits_parted_by(&[IN_SEM_WAIT], longest_ns), 1);
    assert_eq!(waits_parted_by(&[IN_SEM_WAIT; 3], longest_ns), 1);
    assert_eq!(waits_parted_by(&[IN_SEM_WAIT], longest_ns + 1), 2);
}

#[test]
fn many_timeouts_are_one_wait() {
    let mut thread = Thread::behind_another();
    for _ in 0..14 {
        thread.sleeps_on_cond(5_000_000, ETIMEDOUT);
        thread.runs(1_200);
    }
    thread.sleeps_on_cond(2_000_000, 0);
    thread.runs(4_000_000);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 14 * 5_001_200 + 2_000_000)]);
    assert_eq!(thread.finished[0].timeouts, 14);
    assert_eq!(thread.finished[0].futile_wakeups, 0);
}

#[test]
fn a_wait_is_reported_once() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(100, 0);
    thread.drops();
    thread.drops();
    let finished = thread.wait.is_elsewhere();
    thread.take(finished);
    assert_eq!(thread.finished.len(), 1);
}

#[test]
fn its_own_release_parts_two_waits() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(1_000, 0);
    thread.runs(500);
    thread.drops();
    thread.sleeps_on_cond(3_000, 0);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 1_000), (kind::WAIT, 3_000)]);
}

#[test]
fn passing_a_signal_on_parts_nothing() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(5_000_000, ETIMEDOUT);
    // A waiter that timed out though it was signalled: it does not own the mutex.
    let finished = thread.wait.wakes_others(word::COND, false, &thread.view);
    thread.take(finished);
    thread.runs(1_000);
    thread.sleeps_on_cond(1_000_000, 0);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 6_001_000)]);
}

#[test]
fn woken_and_refused_is_a_futile_wake_up_of_the_same_wait() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(1_000, 0);
    thread.switches(1, OTHER);
    thread.runs(900);
    thread.sleeps_on_cond(1_000, 0);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 2_900)]);
    assert_eq!(thread.finished[0].futile_wakeups, 1);
}

#[test]
fn waking_the_thread_that_gave_way_proves_the_taking() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(1_000, 0);
    let finished = thread
        .wait
        .wakes_others(word::SWITCH_COND, false, &thread.view);
    thread.take(finished);
    thread.sleeps_on_cond(2_000, 0);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 1_000), (kind::WAIT, 2_000)]);
}

#[test]
fn unlocking_the_mutex_as_the_last_holder_proves_the_taking() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(1_000, 0);
    thread.drops();
    thread.sleeps_on_cond(1_000, 0);
    // Takes it, and releases it without a wake-up: all waiters are signalled already.
    thread.switches(1, ME);
    let finished = thread.wait.wakes_others(word::MUTEX, true, &thread.view);
    thread.take(finished);
    thread.switches(1, OTHER);
    thread.sleeps_on_cond(2_000, 0);
    // A waiter unlocks it too, before it sleeps again.
    let finished = thread.wait.wakes_others(word::MUTEX, true, &thread.view);
    thread.take(finished);
    thread.sleeps_on_cond(2_000, 0);
    thread.drops();
    assert_eq!(
        thread.lengths(),
        [
            (kind::WAIT, 1_000),
            (kind::WAIT, 1_000),
            (kind::WAIT, 4_000)
        ]
    );
}

#[test]
fn a_forced_switch_is_apart() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(1_000, 0);
    thread.runs(100);
    thread.sleeps(word::SWITCH_COND, true);
    thread.wakes_up(700, 0);
    thread.sleeps_on_cond(2_000, 0);
    thread.drops();
    assert_eq!(
        thread.lengths(),
        [(kind::WAIT, 1_000), (kind::YIELD, 700), (kind::WAIT, 2_000)]
    );
}

#[test]
fn a_forced_switch_that_is_over_before_it_sleeps_is_one() {
    let mut thread = Thread::behind_another();
    thread.sleeps(word::SWITCH_COND, true);
    thread.wakes_up(700, EAGAIN);
    thread.sleeps_on_cond(2_000, 0);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::YIELD, 700), (kind::WAIT, 2_000)]);
}

#[test]
fn taking_the_switch_mutex_back_proves_a_forced_switch_that_never_slept() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(2_000, 0);
    thread.runs(100);
    let sleep = Sleep {
        word: word::SWITCH_MUTEX,
        takes_back: true,
        ..thread.sleep(word::MUTEX, false)
    };
    let finished = thread.wait.sleeps(&sleep);
    thread.take(finished);
    thread.wakes_up(900, EAGAIN);
    thread.sleeps_on_cond(3_000, 0);
    thread.drops();
    let (wait, forced) = (kind::WAIT, kind::YIELD);
    assert_eq!(
        thread.lengths(),
        [(wait, 2_000), (forced, 900), (wait, 3_000)]
    );
}

/// `take_gil` locks it too, after a timed wait, to tell the thread that gave way.
#[test]
fn locking_the_switch_mutex_ends_no_wait_that_has_slept() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(2_000, 0);
    let sleep = Sleep {
        locks: true,
        ..thread.sleep(word::SWITCH_MUTEX, false)
    };
    let finished = thread.wait.sleeps(&sleep);
    thread.take(finished);
    thread.wakes_up(500, 0);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 2_500)]);
}

#[test]
fn the_mutex_belongs_to_the_wait_of_a_taker() {
    let mut thread = Thread::behind_another();
    thread.view.locked = 0;
    thread.sleeps_on_mutex(300, 0);
    thread.view.locked = 1;
    thread.sleeps_on_cond(1_000, 0);
    thread.sleeps_on_mutex(200, 0);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 1_500)]);
}

#[test]
fn the_mutex_sleep_of_a_holder_is_no_wait_and_ends_one() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(1_000, 0);
    thread.drops();
    thread.sleeps_on_cond(1_000, 0);
    thread.switches(1, ME);
    thread.sleeps_on_mutex(50_000, 0);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 1_000), (kind::WAIT, 1_000)]);
}

#[test]
fn a_refused_sleep_counts_on_the_condition_variable_only() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(700, EAGAIN);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 700)]);

    let mut thread = Thread::behind_another();
    thread.view.locked = 0;
    thread.sleeps_on_mutex(700, EAGAIN);
    thread.drops();
    assert_eq!(thread.lengths(), []);

    let mut thread = Thread::behind_another();
    thread.view.locked = 0;
    thread.sleeps_on_mutex(700, EAGAIN);
    thread.view.locked = 1;
    thread.sleeps_on_cond(1_000, 0);
    thread.sleeps_on_mutex(200, EAGAIN);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 1_900)]);
}

#[test]
fn taking_the_mutex_back_proves_a_timed_wait_that_never_slept() {
    let mut thread = Thread::behind_another();
    let sleep = Sleep {
        gil_id: 0,
        word: word::MUTEX,
        bitset: false,
        takes_back: true,
        locks: false,
        now_ns: thread.now_ns,
        cpu_ns: 0,
        position: 0,
        returns_to: 0,
        on_cpu_for_ns: 0,
        view: GilView::default(),
    };
    let finished = thread.wait.sleeps(&sleep);
    thread.take(finished);
    thread.wakes_up(900, EAGAIN);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 900)]);
}

#[test]
fn a_release_without_a_wake_up_shows_by_the_time_it_ran_and_the_holders_that_changed() {
    let waits_after = |ran_ns: u64, switches: u64| {
        let mut thread = Thread::behind_another();
        thread.sleeps_on_cond(1_000, 0);
        thread.runs(ran_ns);
        thread.switches(switches, OTHER);
        thread.sleeps_on_cond(1_000, 0);
        thread.drops();
        thread.finished.len()
    };
    assert_eq!(waits_after(RETRY_CPU_NS + 1, 2), 2);
    assert_eq!(waits_after(RETRY_CPU_NS + 1, 1), 1);
    assert_eq!(waits_after(RETRY_CPU_NS, 2), 1);
}

#[test]
fn preemption_between_two_sleeps_does_not_part_them() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(1_000, 0);
    // Off the processor for 20 ms: no processor time.
    let finished = thread.wait.leaves_cpu(false, || 0);
    thread.take(finished);
    thread.now_ns += 20_000_000;
    thread.switches(7, OTHER);
    thread.sleeps_on_cond(1_000, 0);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 20_002_000)]);
}

#[test]
fn sleeping_elsewhere_ends_a_wait_and_sleeping_for_it_is_counted() {
    let mut thread = Thread::behind_another();
    thread.sleeps(word::COND, true);
    let finished = thread.wait.leaves_cpu(true, || 0);
    thread.take(finished);
    thread.wakes_up(1_000, 0);
    assert_eq!(thread.lengths(), []);
    let finished = thread.wait.leaves_cpu(true, || 0);
    thread.take(finished);
    assert_eq!(thread.lengths(), [(kind::WAIT, 1_000)]);
    assert_eq!(thread.finished[0].switches, 1);
}

#[test]
fn a_wait_without_a_beginning_is_cut_off() {
    let mut thread = Thread::behind_another();
    thread.wait = Wait::cut_at_start(0, word::COND, GilAddresses::default(), thread.now_ns);
    thread.wakes_up(3_000, ETIMEDOUT);
    thread.runs(1_000);
    thread.sleeps_on_cond(2_000, 0);
    thread.drops();
    assert_eq!(thread.finished[0].cut_at_start, 1);
    let mut totals = Totals::default();
    totals.add(&thread.finished[0]);
    assert_eq!((totals.waits, totals.cut_at_start_ns), (0, 6_000));
}

#[test]
fn a_sleep_whose_end_was_missed_ends_where_the_thread_got_a_processor() {
    let asleep = || {
        let mut thread = Thread::behind_another();
        thread.sleeps(word::COND, true);
        thread.now_ns += 99_000_000;
        thread.wait.enters_cpu(thread.now_ns, 0);
        thread.runs(2_000_000);
        thread
    };
    let mut releases = asleep();
    releases.drops();
    assert_eq!(releases.lengths(), [(kind::WAIT, 99_000_000)]);

    let mut calls = asleep();
    let finished = calls.wait.is_elsewhere();
    calls.take(finished);
    assert_eq!(calls.lengths(), [(kind::WAIT, 99_000_000)]);

    let mut waits_again = asleep();
    waits_again.switches(2, OTHER);
    waits_again.sleeps_on_cond(1_000, 0);
    waits_again.drops();
    assert_eq!(
        waits_again.lengths(),
        [(kind::WAIT, 99_000_000), (kind::WAIT, 1_000)]
    );
}

#[test]
fn a_thread_that_is_killed_in_its_sleep_has_finished_no_wait() {
    let mut thread = Thread::behind_another();
    thread.sleeps(word::COND, true);
    thread.wait.enters_cpu(thread.now_ns + 1_000, 0);
    let finished = thread.wait.is_no_longer_seen();
    thread.take(finished);
    assert_eq!(thread.lengths(), []);
}

#[test]
fn two_gils_are_two_waits() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(1_000, 0);
    let sleep = Sleep {
        gil_id: 1,
        word: word::COND,
        bitset: true,
        takes_back: false,
        locks: false,
        now_ns: thread.now_ns,
        cpu_ns: thread.cpu_ns,
        position: 0,
        returns_to: 0,
        on_cpu_for_ns: 0,
        view: thread.view,
    };
    let finished = thread.wait.sleeps(&sleep);
    thread.take(finished);
    thread.wakes_up(2_000, 0);
    thread.drops();
    let ids: Vec<u32> = thread.finished.iter().map(|one| one.gil_id).collect();
    assert_eq!(ids, [0, 1]);
}

#[test]
fn the_internal_lock_is_never_the_beginning_of_a_wait() {
    let mut thread = Thread::behind_another();
    thread.sleeps(word::COND, false);
    assert_eq!(thread.wait.phase, phase::IDLE);
    thread.sleeps_on_cond(1_000, 0);
    thread.sleeps(word::COND, false);
    thread.wakes_up(500, 0);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 1_500)]);
}

#[test]
fn the_condvars_own_words_part_nothing() {
    let mut thread = Thread::behind_another();
    thread.sleeps_on_cond(1_000, 0);
    // The last waiter of a group tells the signaller so, on the group's reference count.
    let finished = thread.wait.wakes_others(word::INNER, false, &thread.view);
    thread.take(finished);
    thread.sleeps(word::INNER, false);
    thread.wakes_up(100, 0);
    thread.sleeps_on_cond(1_000, 0);
    thread.drops();
    assert_eq!(thread.lengths(), [(kind::WAIT, 2_100)]);
}

#[test]
fn totals_add_up() {
    let mut totals = Totals::default();
    for (kind, length_ns) in [(kind::WAIT, 5), (kind::WAIT, 9), (kind::YIELD, 4)] {
        totals.add(&Finished {
            kind,
            start_ns: 10,
            end_ns: 10 + length_ns,
            timeouts: 1,
            ..Finished::default()
        });
    }
    assert_eq!(
        (totals.waits, totals.wait_sum_ns, totals.wait_max_ns),
        (2, 14, 9)
    );
    assert_eq!(
        (totals.yields, totals.yield_sum_ns, totals.yield_max_ns),
        (1, 4, 4)
    );
    assert_eq!(totals.timeouts, 3);
}

#[test]
fn time_is_conserved() {
    let mut sched = Sched::seen(0, state::ASLEEP);
    sched.woken(10);
    sched.enters_cpu(15);
    sched.leaves_cpu(40, false, 0, true);
    sched.enters_cpu(47);
    sched.leaves_cpu(50, true, 0, true);
    sched.woken(90);
    sched.enters_cpu(91);
    assert_eq!(sched.cpu_time_ns(100), 25 + 3 + 9);
    assert_eq!(sched.runnable_ns, 5 + 7 + 1);
    assert_eq!(
        (sched.voluntary_switches, sched.involuntary_switches),
        (1, 1)
    );
    // The rest of the 100 is sleep: 10 at first, 40 later.
    assert_eq!(100 - sched.cpu_time_ns(100) - sched.runnable_ns, 50);
}

#[test]
fn a_wake_up_that_races_with_going_to_sleep_is_no_wait_for_a_processor() {
    let mut sched = Sched::seen(0, state::ON_CPU);
    sched.woken(5);
    sched.leaves_cpu(10, false, 0, true);
    sched.enters_cpu(12);
    assert_eq!((sched.on_cpu_ns, sched.runnable_ns), (10, 2));
}

/// Told only of a thread that is on the processor now, and was seen to leave it.
#[test]
fn when_a_thread_had_no_processor_is_told_once_it_has_one() {
    let told = |sched: &Sched| {
        let off_cpu = sched.was_off_cpu();
        (off_cpu.from_ns, off_cpu.until_ns)
    };
    let mut sched = Sched::seen(5, state::ON_CPU);
    assert_eq!(told(&sched), (0, 0));
    sched.leaves_cpu(10, true, 0, false);
    assert_eq!(told(&sched), (0, 0));
    sched.woken(30);
    assert_eq!(told(&sched), (0, 0));
    sched.enters_cpu(37);
    assert_eq!(told(&sched), (10, 37));
    // While it is being written.
    sched.version += 1;
    assert_eq!(told(&sched), (0, 0));
}

/// By preemption or by itself, and with the processor time by then.
#[test]
fn when_a_thread_had_no_processor_last() {
    let told = |sched: &Sched, now_ns| {
        let told = sched.had_no_cpu(now_ns);
        told.map(|(off_cpu, cpu_ns)| (off_cpu.from_ns, off_cpu.until_ns, cpu_ns))
    };
    let mut sched = Sched::seen(5, state::ON_CPU);
    assert_eq!(told(&sched, 9), None);
    sched.leaves_cpu(10, false, 0, false);
    assert_eq!(told(&sched, 15), Some((10, 15, 5)));
    sched.enters_cpu(20);
    assert_eq!(told(&sched, 23), Some((10, 20, 5)));
    sched.leaves_cpu(30, true, 0, false);
    assert_eq!(told(&sched, 35), Some((30, 35, 15)));
    sched.woken(40);
    assert_eq!(told(&sched, 45), Some((30, 45, 15)));
    // While it is being written.
    sched.version += 1;
    assert_eq!(told(&sched, 45), None);
    // Nothing was seen of these.
    for state in [state::UNKNOWN, state::RUNNABLE, state::ASLEEP] {
        assert_eq!(told(&Sched::seen(5, state), 9), None);
    }
}

#[test]
fn a_thread_found_running_has_run_since() {
    let mut running = Sched::seen(100, state::UNKNOWN);
    running.leaves_cpu(150, true, 0, true);
    assert_eq!((running.on_cpu_ns, running.runnable_ns), (50, 0));
    let mut ready = Sched::seen(100, state::UNKNOWN);
    ready.enters_cpu(150);
    assert_eq!((ready.on_cpu_ns, ready.runnable_ns), (0, 50));
}

/// The holder changes between two reads. The fields of 3.6 lie apart.
#[test]
fn fields_are_read_at_one_instant() {
    use std::cell::Cell;

    let view = |number| GilView {
        last_holder: number,
        locked: 1,
        other_waiters: 0,
        switch_number: number,
    };
    let read = |changes_until: u64| {
        let reads = Cell::new(0);
        let holder = || reads.get().min(changes_until);
        let next = || {
            let now = holder();
            reads.set(reads.get() + 1);
            now
        };
        GilView::at_one_instant(
            || Some(next()),
            || {
                let last_holder = next();
                Some(GilView {
                    last_holder,
                    ..view(next())
                })
            },
        )
    };
    assert_eq!(read(0), Some(view(0)));
    for changes in 1..7 {
        assert_eq!(read(changes), Some(view(changes)), "{changes} changes");
    }
    assert_eq!(read(u64::MAX), None);
    assert_eq!(GilView::at_one_instant(|| None, || Some(view(0))), None);
    assert_eq!(GilView::at_one_instant(|| Some(0), || None), None);
}
