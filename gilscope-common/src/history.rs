//! Who had a semaphore longer ago than its last turns are remembered.
//!
//! A semaphore (CPython 2.7) may change hands 400,000 times a second, and a thread that waits for it for 30 ms: far more often than
//! [`crate::holder::REMEMBERED`]. So what each thread has had of it is summed up, turn by turn, and the sums are kept as they were after each
//! [`STRETCH`] of turns. Who has waited for longer takes the difference between two of them ([`crate::holder::Division::skips`]).

use crate::{
    holder::{Division, NOBODY, REMEMBERED, Turns, UNKNOWN},
    parts::Parts,
    sched::{load, store},
};

/// Threads that may have a semaphore in turn: two that share a place push each other out.
pub const HOLDERS: usize = 64;

/// Turns between two checkpoints.
pub const STRETCH: u64 = 32;

/// Checkpoints that are kept.
pub const CHECKPOINTS: u64 = 64;

/// So many turns later nobody changes a turn any more. With a stretch it has to be less than [`crate::holder::REMEMBERED`].
const SETTLED: u64 = 16;

/// The place of what was nobody's.
const NOBODYS: usize = HOLDERS;

/// Key of `HISTORY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CheckpointKey {
    /// The process.
    pub tgid: u32,
    /// The GIL's index in its process.
    pub gil_id: u32,
    /// Below [`CHECKPOINTS`]; that itself is one that stays empty.
    pub index: u32,
}

/// What a thread has had of a semaphore.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Had {
    /// The number of the turn since which it is counted, which is the thread's own.
    pub since: u64,
    /// For so long.
    pub ns: u64,
    /// Of that, on the CPU,
    pub on_cpu_ns: u64,
    /// runnable,
    pub runnable_ns: u64,
    /// asleep. What is missing to the sum is not known.
    pub asleep_ns: u64,
    /// The longest turn.
    pub longest_ns: u64,
    /// The thread, by its id in its PID namespace.
    pub holder: u32,
    /// Turns; wraps.
    pub turns: u32,
}

impl Had {
    /// Nothing.
    pub const NONE: Self = Self {
        since: 0,
        ns: 0,
        on_cpu_ns: 0,
        runnable_ns: 0,
        asleep_ns: 0,
        longest_ns: 0,
        holder: UNKNOWN,
        turns: 0,
    };

    /// Another thread is counted here from now on. Field by field: the compiler would make a call of it, which takes stack.
    #[inline(always)]
    fn begins(&mut self, holder: u32, number: u64) {
        store(number, &mut self.since);
        store(0, &mut self.ns);
        store(0, &mut self.on_cpu_ns);
        store(0, &mut self.runnable_ns);
        store(0, &mut self.asleep_ns);
        store(0, &mut self.longest_ns);
        store(holder, &mut self.holder);
        store(0, &mut self.turns);
    }

    #[inline(always)]
    fn add(&mut self, ns: u64, parts: &Parts) {
        self.turns = self.turns.wrapping_add(1);
        self.ns += ns;
        self.on_cpu_ns += parts.on_cpu_ns;
        self.runnable_ns += parts.runnable_ns;
        self.asleep_ns += parts.asleep_ns;
        if ns > self.longest_ns {
            self.longest_ns = ns;
        }
    }

    /// What has come to it since an earlier one, which has all turns before this number: nothing, if another thread had its place in between.
    #[inline(always)]
    fn since(&self, earlier: &Self, number: u64, more: &mut HadMore) {
        let is_new = self.since >= number;
        more.holder = match is_new || self.since == earlier.since {
            true => self.holder,
            false => UNKNOWN,
        };
        let earlier = if is_new { &Self::NONE } else { earlier };
        more.turns = self.turns.wrapping_sub(earlier.turns);
        more.ns = self.ns.wrapping_sub(earlier.ns);
        more.on_cpu_ns = self.on_cpu_ns.wrapping_sub(earlier.on_cpu_ns);
        more.runnable_ns = self.runnable_ns.wrapping_sub(earlier.runnable_ns);
        more.asleep_ns = self.asleep_ns.wrapping_sub(earlier.asleep_ns);
        more.most_ns = self.longest_ns.min(more.ns);
        more.max_ns = match more.turns == 1 || self.longest_ns > earlier.longest_ns {
            true => more.most_ns,
            false => 0,
        };
    }
}

/// What a thread had of a semaphore in a stretch of turns.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HadMore {
    /// As in [`Had`].
    pub ns: u64,
    /// As in [`Had`].
    pub on_cpu_ns: u64,
    /// As in [`Had`].
    pub runnable_ns: u64,
    /// As in [`Had`].
    pub asleep_ns: u64,
    /// The longest turn; 0: not known.
    pub max_ns: u64,
    /// What that is at most.
    pub most_ns: u64,
    /// The thread; [`UNKNOWN`]: not known.
    pub holder: u32,
    /// Turns.
    pub turns: u32,
}

impl HadMore {
    /// It is something, and no more than can have been: what two processors have written at a time may be anything.
    #[inline(always)]
    fn fits(&self, ns: u64, turns: u64) -> bool {
        self.ns > 0
            && self.ns <= ns
            && u64::from(self.turns) <= turns
            && self.on_cpu_ns <= self.ns
            && self.runnable_ns <= self.ns
            && self.asleep_ns <= self.ns
    }

    /// Nothing.
    pub const NONE: Self = Self {
        ns: 0,
        on_cpu_ns: 0,
        runnable_ns: 0,
        asleep_ns: 0,
        max_ns: 0,
        most_ns: 0,
        holder: UNKNOWN,
        turns: 0,
    };
}

/// Value of `HISTORY`: what each thread had had by a turn.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The number of the first turn that is not in it.
    pub number: u64,
    /// When the last one in it was over, as far as is known, or the next one began.
    pub until_ns: u64,
    /// By thread; the last is nobody's.
    pub had: [Had; HOLDERS + 1],
}

impl Checkpoint {
    /// Nobody has had anything.
    pub const NONE: Self = {
        let mut had = [Had::NONE; HOLDERS + 1];
        had[NOBODYS].holder = NOBODY;
        Self {
            number: 0,
            until_ns: 0,
            had,
        }
    };

    /// It begins with this turn, as what was before is not known.
    #[inline(always)]
    pub fn begins(&mut self, number: u64) {
        self.had[NOBODYS].since = number;
        store(number, &mut self.number);
    }

    /// Adds the next turn, which has this number. The stretches that it adds follow on each other, so no time is counted twice. (Answers whether it was the
    /// next: of a function that answers nothing the verifier may refuse what it leaves on the stack.)
    #[inline(never)]
    pub fn add(&mut self, turns: &Turns, number: u64) -> bool {
        // Two processors may be at the same checkpoint: what one has added the other does not, unless both are at the same turn at the same instant.
        if load(&self.number) != number {
            return false;
        }
        let since_ns = load(&self.until_ns);
        let turn = turns.at(number);
        let (held_ns, dropped_ns) = (load(&turn.held_ns), load(&turn.dropped_ns));
        let from_ns = held_ns.max(since_ns);
        let free_ns = self.free_ns(turns, number, from_ns);
        let ns = match held_ns {
            0 => 0,
            _ => dropped_ns.saturating_sub(from_ns),
        };
        let parts = Parts::between(&turn.held, &turn.dropped, ns);
        let holder = load(&turn.holder);
        // Whoever overwrites it meanwhile changes the number first.
        if load(&turn.number) == number && holder != UNKNOWN {
            if free_ns > 0 {
                self.had[NOBODYS].add(free_ns, &Parts::default());
            }
            if ns > 0 {
                let had = &mut self.had[holder as usize % HOLDERS];
                if had.holder != holder {
                    had.begins(holder, number);
                }
                had.add(ns, &parts);
            }
            store(from_ns.max(dropped_ns), &mut self.until_ns);
        }
        store(number + 1, &mut self.number);
        true
    }

    /// For how long nobody had it between the last turn and this one, which is known unless this one was seen late.
    #[inline(always)]
    fn free_ns(&self, turns: &Turns, number: u64, held_ns: u64) -> u64 {
        let (turn, last_number) = (turns.at(number), number.wrapping_sub(1));
        let (last, since_ns) = (turns.at(last_number), load(&self.until_ns));
        let dropped_ns = load(&turn.dropped_ns);
        let is_known = since_ns != 0
            && held_ns > since_ns
            && load(&last.dropped_ns) == since_ns
            && load(&turn.seen_late) == 0
            && (dropped_ns == 0 || dropped_ns >= held_ns);
        if !is_known {
            return 0;
        }
        let free_ns = last.free_ns(since_ns, held_ns);
        match load(&last.number) == last_number {
            true => free_ns,
            false => 0,
        }
    }
}

impl Turns {
    /// Where the next checkpoint begins, if its turns are there and settled: it is made now.
    #[inline(always)]
    pub fn settles(&mut self) -> Option<u64> {
        let number = self.settled;
        if self.changes < number + STRETCH + SETTLED {
            return None;
        }
        self.settled = number + STRETCH;
        Some(number)
    }
}

/// Between which checkpoints the turns lie that are no longer remembered, of those since a look that saw number `from` until one that saw `to`.
#[inline(always)]
pub fn between(from: u64, to: u64) -> Option<(u64, u64)> {
    // Half a stretch more than settled: the last one is made by now.
    let last = to.saturating_sub(SETTLED + SETTLED / 2) / STRETCH * STRETCH;
    // The oldest is overwritten next.
    let oldest = last.saturating_sub((CHECKPOINTS - 4) * STRETCH);
    let first = (from / STRETCH + 1) * STRETCH;
    let first = if first > oldest { first } else { oldest };
    (first < last).then_some((first, last))
}

impl Division {
    /// Many turns of the wait are no longer remembered: tells what each thread had of those between two checkpoints, and goes on from there. What lies
    /// before the first is not known.
    #[inline(always)]
    pub fn skips(
        &mut self,
        (first, from): (u64, &Checkpoint),
        (last, to): (u64, &Checkpoint),
        tell: &mut impl FnMut(&HadMore),
    ) {
        let (from_ns, to_ns) = (load(&from.until_ns), load(&to.until_ns));
        if load(&from.number) != first
            || load(&to.number) != last
            || from_ns < self.since_ns
            || to_ns < from_ns
            || to_ns > self.look.now_ns
        {
            return;
        }
        for (had, earlier) in to.had.iter().zip(&from.had) {
            had.since(earlier, first, &mut self.more);
            // Whoever overwrites one meanwhile changes its number first.
            if load(&from.number) != first || load(&to.number) != last {
                break;
            }
            if load(&self.more.holder) != UNKNOWN
                && self.more.holder != self.waiter
                && self.more.fits(to_ns - from_ns, last - first)
            {
                tell(&self.more);
            }
        }
        (self.number, self.since_ns) = (last, to_ns);
        self.part_ns = 0;
        store(UNKNOWN, &mut self.holder);
    }
}

const _: () = {
    assert!(size_of::<CheckpointKey>() == 12);
    assert!(size_of::<Had>() == 56);
    assert!(size_of::<HadMore>() == 56);
    assert!(size_of::<Checkpoint>() == 3656);
    assert!(SETTLED + SETTLED / 2 + STRETCH < REMEMBERED as u64);
};

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::{
        holder::{Blocked, Look},
        parts::{Snapshot, known},
    };
    use std::{cell::Cell, collections::BTreeMap, vec, vec::Vec};

    /// A semaphore that threads hand on, and the checkpoints that are made meanwhile.
    struct Handed {
        turns: Turns,
        checkpoints: Vec<Checkpoint>,
        now_ns: u64,
    }

    impl Handed {
        fn new() -> Self {
            Self {
                turns: Turns::NONE,
                checkpoints: vec![Checkpoint::NONE; CHECKPOINTS as usize + 1],
                now_ns: 1_000,
            }
        }

        fn look(&self, holder: u32) -> Look {
            Look {
                number: self.turns.changes,
                holder,
                now_ns: self.now_ns,
                holders: Snapshot {
                    on_cpu_ns: self.now_ns,
                    known: known::AWAKE,
                    ..Snapshot::NONE
                },
                ..Look::NONE
            }
        }

        /// It is nobody's for some time, and then this thread's for some time.
        fn passes(&mut self, holder: u32, free_ns: u64, held_ns: u64) {
            self.now_ns += free_ns;
            self.settles();
            self.turns.turn_of(holder);
            self.turns.gets(&self.look(holder));
            self.now_ns += held_ns;
            self.turns.dropped(&self.look(holder), true);
        }

        fn take_turns(&mut self, times: u32, holders: &[u32]) {
            for _ in 0..times {
                for holder in holders {
                    self.passes(*holder, 0, 100);
                }
            }
        }

        fn at(&mut self, number: u64) -> &mut Checkpoint {
            &mut self.checkpoints[(number / STRETCH % CHECKPOINTS) as usize]
        }

        fn settles(&mut self) {
            let Some(number) = self.turns.settles() else {
                return;
            };
            let is_whole = self.at(number).number == number;
            let mut next = match is_whole {
                true => *self.at(number),
                false => Checkpoint::NONE,
            };
            if !is_whole {
                next.begins(number);
            }
            for turn in 0..STRETCH {
                next.add(&self.turns, number + turn);
            }
            *self.at(number + STRETCH) = next;
        }

        /// Thread 99 waits from now on.
        fn begins(&self) -> Division {
            let mut division = Division {
                waiter: 99,
                look: self.look(NOBODY),
                ..Division::NONE
            };
            division.begins();
            division
        }

        /// What it is told of each, now.
        fn ends(&mut self, division: &mut Division) -> BTreeMap<u32, Blocked> {
            let mut told = BTreeMap::<u32, Blocked>::new();
            division.look = self.look(NOBODY);
            if division.has_missed_turns()
                && let Some((first, last)) = between(division.number, division.look.number)
            {
                let (from, to) = (*self.at(first), *self.at(last));
                division.skips((first, &from), (last, &to), &mut |more| {
                    told.entry(more.holder).or_default().add_all(more);
                });
            }
            division.goes_on(&self.turns, &mut |piece| {
                told.entry(piece.holder).or_default().add(piece);
            });
            told
        }
    }

    fn sum_ns(told: &BTreeMap<u32, Blocked>) -> u64 {
        told.values().map(|blocked| blocked.sum_ns).sum()
    }

    #[test]
    fn of_a_thousand_turns_all_is_known_but_the_first_few() {
        let mut handed = Handed::new();
        handed.passes(1, 0, 100);
        let (mut division, begin_ns) = (handed.begins(), handed.now_ns);
        for turn in 0..1_000 {
            handed.passes(1 + turn % 3, 10, 100 * (1 + u64::from(turn % 3)));
        }
        let told = handed.ends(&mut division);
        let waited_ns = handed.now_ns - begin_ns;
        assert!(sum_ns(&told) <= waited_ns);
        assert!(
            sum_ns(&told) > waited_ns / 100 * 96,
            "{} of {waited_ns}",
            sum_ns(&told)
        );
        for (holder, share) in [(1, 100), (2, 200), (3, 300), (NOBODY, 30)] {
            let blocked = told[&holder];
            let exact_ns = waited_ns * share / 630;
            assert!(
                blocked.sum_ns.abs_diff(exact_ns) < waited_ns / 20,
                "{holder}: {blocked:?}"
            );
            if holder != NOBODY {
                assert_eq!(blocked.sum_ns / share, blocked.parts);
                assert_eq!(blocked.longest_ns(), Some(share));
                assert_eq!(blocked.on_cpu_ns, blocked.sum_ns);
            }
        }
    }

    #[test]
    fn of_ten_thousand_the_last_are_known() {
        let mut handed = Handed::new();
        let mut division = handed.begins();
        for turn in 0..10_000 {
            handed.passes(1 + turn % 2, 0, 100);
        }
        let told = handed.ends(&mut division);
        let turns = sum_ns(&told) / 100;
        assert!((1_800..2_048).contains(&turns), "{turns}");
    }

    #[test]
    fn who_has_another_ones_place_is_not_known_to_have_had_it_all_the_time() {
        let mut handed = Handed::new();
        handed.take_turns(100, &[1, 2]);
        let mut division = handed.begins();
        handed.take_turns(200, &[1, 2, 1 + HOLDERS as u32]);
        let told = handed.ends(&mut division);
        assert!(told[&2].sum_ns > 180 * 100);
        for one in [1, 1 + HOLDERS as u32] {
            assert!(told[&one].sum_ns < 40 * 100, "{one}: {:?}", told[&one]);
        }
    }

    #[test]
    fn who_came_after_a_wait_began_is_told_whole() {
        let mut handed = Handed::new();
        handed.take_turns(100, &[1, 2]);
        let mut division = handed.begins();
        handed.take_turns(100, &[1, 2]);
        handed.take_turns(100, &[3, 4]);
        let told = handed.ends(&mut division);
        assert_eq!(told[&3].sum_ns, 100 * 100);
    }

    #[test]
    fn the_longest_turn_is_told_where_it_is_known() {
        let mut handed = Handed::new();
        for turn in 0..200 {
            handed.passes(1 + turn % 2, 0, if turn == 50 { 5_000 } else { 100 });
        }
        let mut division = handed.begins();
        for turn in 0..400 {
            handed.passes(1 + turn % 2, 0, if turn == 201 { 700 } else { 100 });
        }
        let told = handed.ends(&mut division);
        // Longer than any before; and not as long as one before.
        assert_eq!(told[&2].longest_ns(), Some(700));
        assert_eq!(told[&1].longest_ns(), None);
        assert_eq!(told[&1].most_ns, 5_000);
    }

    #[test]
    fn what_was_seen_late_or_not_at_all_is_not_known() {
        let mut handed = Handed::new();
        let mut division = handed.begins();
        let mut known_ns = 0;
        for turn in 0..400_u64 {
            handed.passes(1, 0, 100);
            handed.now_ns += 100;
            handed.settles();
            handed.turns.turn_of(2);
            if turn % 2 == 0 {
                // Since when it has had it is not known.
                let look = handed.look(2);
                handed.turns.has(&look);
                handed.now_ns += 50;
                known_ns += 50;
            }
            let look = handed.look(2);
            handed.turns.dropped(&look, true);
            known_ns += 100;
        }
        let told = handed.ends(&mut division);
        assert!(!told.contains_key(&NOBODY), "{told:?}");
        assert!(
            (known_ns / 100 * 90..=known_ns).contains(&sum_ns(&told)),
            "{told:?}"
        );
        assert!(told[&1].sum_ns > told[&2].sum_ns * 3);
    }

    #[test]
    fn one_that_was_not_finished_is_not_used() {
        let mut handed = Handed::new();
        let mut division = handed.begins();
        for turn in 0..300 {
            handed.passes(1 + turn % 2, 0, 100);
            if turn == 200 {
                // As if another processor were still at it.
                let last = handed.turns.settled;
                handed.at(last).number -= 3;
            }
        }
        let begin_ns = handed.now_ns;
        assert!(sum_ns(&handed.ends(&mut division)) < 64 * 100 + 200 * 100);
        // What comes after is known again.
        let mut division = handed.begins();
        for turn in 0..400 {
            handed.passes(1 + turn % 2, 0, 100);
        }
        let told = handed.ends(&mut division);
        let waited_ns = handed.now_ns - begin_ns;
        assert!((waited_ns / 100 * 90..=waited_ns).contains(&sum_ns(&told)));
    }

    #[test]
    fn one_that_is_overwritten_meanwhile_is_not_told() {
        let mut handed = Handed::new();
        for turn in 0..400 {
            handed.passes(1 + turn % 3, 0, 100);
        }
        let from = Cell::new(*handed.at(128));
        let to = *handed.at(320);
        let mut division = Division {
            look: handed.look(NOBODY),
            ..Division::NONE
        };
        let mut told = Vec::new();
        // SAFETY: as in the kernel it changes while it is read; what decides is read by `read_volatile`, and `Cell` keeps the writer to one thread.
        let reader = unsafe { &*from.as_ptr() };
        division.skips((128, reader), (320, &to), &mut |more| {
            told.push(more.ns);
            from.set(*handed.at(352));
        });
        assert_eq!(told, [6_400]);
        assert_eq!(division.number, 320);
    }

    #[test]
    fn what_cannot_have_been_is_not_told() {
        let mut handed = Handed::new();
        for turn in 0..400 {
            handed.passes(1 + turn % 3, 0, 100);
        }
        let (mut from, to) = (*handed.at(128), *handed.at(320));
        from.had[1].ns += 1_000_000;
        from.had[2].on_cpu_ns += 1_000_000;
        let mut division = Division {
            look: handed.look(NOBODY),
            ..Division::NONE
        };
        let mut told = Vec::new();
        division.skips((128, &from), (320, &to), &mut |more| told.push(more.holder));
        assert_eq!(told, [3]);
    }

    /// The writer was held up, and another thread's turn lies in the place by now.
    #[test]
    fn a_turn_that_is_overwritten_meanwhile_is_not_counted() {
        let mut handed = Handed::new();
        for turn in 0..20 {
            handed.passes(1 + turn % 2, 0, 100);
        }
        let mut checkpoint = Checkpoint::NONE;
        let place = &mut handed.turns.last[3];
        (place.number, place.dropped_ns) = (67, place.dropped_ns + 50_000);
        for number in 0..10 {
            checkpoint.add(&handed.turns, number);
        }
        let sum_ns: u64 = checkpoint.had.iter().map(|had| had.ns).sum();
        assert!(sum_ns <= 900, "{sum_ns}");
    }

    #[test]
    fn who_adds_turns_that_another_has_added_counts_them_once() {
        let mut handed = Handed::new();
        for turn in 0..60 {
            handed.passes(1 + turn % 2, 0, 100);
        }
        let mut once = Checkpoint::NONE;
        let mut twice = Checkpoint::NONE;
        for number in 0..STRETCH {
            once.add(&handed.turns, number);
            twice.add(&handed.turns, number);
            twice.add(&handed.turns, number);
            // Who is ahead after the other has begun anew.
            twice.add(&handed.turns, number + 5);
        }
        assert_eq!(once, twice);
    }
}
