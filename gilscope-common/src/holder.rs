//! Who had a GIL while a thread waited for it.
//!
//! A GIL counts the changes of its holder (`switch_number`, `Python/ceval_gil.h` and `.c`: `take_gil`). Whoever has to do with a
//! contended GIL tells what it sees: that it has taken it, that it has dropped it while others wait, who has it as it looks.
//! So a stretch of waiting belongs to one holder if the number was the same at both its ends, and is divided where the changes in it were
//! seen; a stretch that could be two threads' is nobody's that is known. A holder that drops the GIL and takes it again before it is
//! looked for has had it all the time.
//!
//! Who drops it may take it again and drop it again without a trace, while those that it has woken have no processor yet. So nobody is
//! said to have had it only while the thread that has dropped it had no processor, or lost it at once, or was in the futex calls by which it did, or while the waiter was in line, as then it would have been woken
//! (glibc `nptl/pthread_cond_signal.c`, 2.25+: a signal makes a futex call while there is one that has had none; `nptl/sem_post.c`, 2.21+), or for less than
//! [`UNSEEN_TURN_NS`]. Who is first seen with it late has had it for as long as it had a processor at most ([`OffCpu`]).
//!
//! A semaphore (CPython 2.7) counts no changes. But nobody lets go of it unseen while another waits for it, and who looks sees who has it: so they are
//! counted here ([`Turns::changes`]). A thread whose check interval is over lets go of it to take it again at once: if it is found with it then, it has
//! had it all the time.
//!
//! Who looks, or tells of itself, notes what the holder has done so far ([`Snapshot`]). Where that is known at both ends of a stretch, so is what
//! the holder did in it.

use crate::{
    frames::mix,
    history::HadMore,
    parts::{OffCpu, Parts, Snapshot, known},
    sched::{load, store},
};

/// Turns that are remembered: a thread looks every 5 ms, and fifty pollers that meet have one each meanwhile.
pub const REMEMBERED: usize = 64;

/// A holder, when nobody knows whom.
pub const UNKNOWN: u32 = 0;

/// The number of a turn that is just being written; the count of changes begins at 0.
const NO_TURN: u64 = u64::MAX;

/// Nobody: dropped, and not yet taken. No thread has this id (`PID_MAX_LIMIT`, `include/linux/threads.h`).
pub const NOBODY: u32 = u32::MAX;

/// In less nobody looks whether who dropped the GIL has had it again: it may have (10 us from drop to drop were seen), but what is wrong by that is
/// within the bound of the accuracy test.
pub const UNSEEN_TURN_NS: u64 = 20_000;

/// Who loses its processor so soon after the calls by which it has dropped the GIL has not had it again: it is preempted as it comes back from them (1 us), or by a
/// tick's interrupt, which counts as its time.
const HARDLY_RUN_NS: u64 = 5_000;

/// From when a semaphore is free until the call tells that by which it was released: less, unless its thread is interrupted in between.
const TOLD_LATE_NS: u64 = 5_000;

/// Whether who drops a semaphore takes it again at once, as at the end of each check interval. Bits.
pub mod again {
    /// It does not, or nobody knows.
    pub const NO: u8 = 0;
    /// It will.
    pub const EXPECTED: u8 = 1;
    /// It has, since [`super::Turn::held_ns`].
    pub const TAKEN: u8 = 2;
    /// It has dropped it twice, and when it had taken it in between is not known.
    pub const MISSED: u8 = 4;
}

/// What was seen of a holder's turn: when it last got the GIL, and when it last let go of it, whichever came later.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The GIL's `switch_number` in it.
    pub number: u64,
    /// From when on it is known to have had the GIL; 0: not known.
    pub held_ns: u64,
    /// When it has dropped the GIL; 0: not seen.
    pub dropped_ns: u64,
    /// The holder, by its thread id in its PID namespace.
    pub holder: u32,
    /// It was seen to drop the GIL by its signal: the mutex is yet to be unlocked.
    pub signalled: u16,
    /// It got the GIL before `held_ns`, which is when it was seen to have it.
    pub seen_late: u8,
    /// One of [`again`].
    pub again: u8,
    /// What the holder had done by `held_ns`.
    pub held: Snapshot,
    /// By `dropped_ns`.
    pub dropped: Snapshot,
    /// Until then it was in the futex calls by which it dropped the GIL, and could not take it again.
    pub dropping_until_ns: u64,
    /// Its processor time by then.
    pub dropping_until_cpu_ns: u64,
    /// From then on the GIL was nobody's,
    pub free_since_ns: u64,
    /// until then at least.
    pub free_until_ns: u64,
    /// When the holder was off the CPU, before it was seen first in the turn.
    pub off_cpu: OffCpu,
    /// Where it was in Python when that was read last.
    pub stack: StackRead,
}

/// A Python stack that was read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackRead {
    /// Its [`crate::frames::Stack::id`]; 0: none was.
    pub number: u64,
    /// When.
    pub at_ns: u64,
}

impl StackRead {
    /// None was.
    pub const NONE: Self = Self {
        number: 0,
        at_ns: 0,
    };
}

impl Turn {
    /// Nothing has been seen.
    const NONE: Self = Self {
        number: 0,
        held_ns: 0,
        dropped_ns: 0,
        holder: UNKNOWN,
        signalled: 0,
        seen_late: 0,
        again: again::NO,
        held: Snapshot::NONE,
        dropped: Snapshot::NONE,
        dropping_until_ns: 0,
        dropping_until_cpu_ns: 0,
        free_since_ns: 0,
        free_until_ns: 0,
        off_cpu: OffCpu::NONE,
        stack: StackRead::NONE,
    };

    /// The GIL is free, and the thread that has dropped it had no processor then, since its processor time was `cpu_ns`: so it has not had it. Nor before, if
    /// it had hardly run by then since its drop.
    #[inline(always)]
    pub fn is_free(&mut self, off_cpu: &OffCpu, cpu_ns: u64) {
        let had_hardly_run = self.had_hardly_run(cpu_ns);
        // After what it was compared with, as it is written before that.
        let dropped_ns = load(&self.dropped_ns);
        let since_ns = match had_hardly_run {
            true => dropped_ns,
            false => off_cpu.from_ns.max(dropped_ns),
        };
        if dropped_ns == 0 || since_ns >= off_cpu.until_ns {
            return;
        }
        if since_ns != self.free_since_ns {
            // In this order, as others read it meanwhile.
            store(0, &mut self.free_until_ns);
            store(since_ns, &mut self.free_since_ns);
        }
        if off_cpu.until_ns > self.free_until_ns {
            store(off_cpu.until_ns, &mut self.free_until_ns);
        }
    }

    /// Whether the thread that has dropped the GIL had run for hardly any time, when its processor time was `cpu_ns`, since the last call by which it did. (In this
    /// order: who writes makes it the other way round.)
    #[inline(always)]
    fn had_hardly_run(&self, cpu_ns: u64) -> bool {
        let before_ns = match load(&self.dropping_until_ns) > load(&self.dropped_ns) {
            true => load(&self.dropping_until_cpu_ns),
            false => load(&self.dropped.on_cpu_ns),
        };
        self.dropped.known != known::NOTHING
            && before_ns <= cpu_ns
            && cpu_ns - before_ns < HARDLY_RUN_NS
    }

    /// For how long of a stretch after its drop nobody had the GIL, as far as is known.
    #[inline(always)]
    pub(crate) fn free_ns(&self, since_ns: u64, until_ns: u64) -> u64 {
        // In this order: the end of a call is told after its beginning.
        let dropping_until_ns = load(&self.dropping_until_ns).min(until_ns);
        let dropping_since_ns = load(&self.dropped_ns).max(since_ns);
        let free_until_ns = load(&self.free_until_ns).min(until_ns);
        let free_since_ns = load(&self.free_since_ns)
            .max(since_ns)
            .max(dropping_until_ns);
        let free_ns = dropping_until_ns.saturating_sub(dropping_since_ns)
            + free_until_ns.saturating_sub(free_since_ns);
        let ns = until_ns - since_ns;
        if ns - free_ns < UNSEEN_TURN_NS {
            ns
        } else {
            free_ns
        }
    }

    /// Nothing has been seen of it yet.
    #[inline(always)]
    fn is_unseen(&self) -> bool {
        self.held_ns == 0 && self.dropped_ns == 0
    }

    /// It is seen first, and began as [`Look::took_again_ns`] says. Its holder has been on the CPU since.
    #[inline(always)]
    fn took_again(&mut self, look: &Look) {
        self.held = look.holders;
        let ns = look.now_ns - look.took_again_ns;
        self.held.on_cpu_ns = self.held.on_cpu_ns.saturating_sub(ns);
        self.held_ns = look.took_again_ns;
    }

    /// Its holder is seen first, or again after a drop.
    #[inline(always)]
    fn was_off_cpu(&mut self, off_cpu: &OffCpu) {
        // In this order, as others read it meanwhile.
        store(0, &mut self.off_cpu.until_ns);
        store(off_cpu.from_ns, &mut self.off_cpu.from_ns);
        store(off_cpu.until_ns, &mut self.off_cpu.until_ns);
    }

    /// The holder has the GIL, and was to take it again at once: so it has had it since it is known to have got it. Answers whether it was.
    #[inline(always)]
    fn is_taken_again(&mut self) -> bool {
        if self.again & again::EXPECTED == 0 {
            return false;
        }
        let is_missed = self.again & again::MISSED != 0;
        if self.held_ns == 0 || self.held_ns > self.dropped_ns || is_missed {
            // It had it before that drop as well.
            self.held = self.dropped;
            (self.held_ns, self.seen_late) = (self.dropped_ns + 1, 1);
        } else {
            store(0, &mut self.dropped_ns);
        }
        self.again = again::TAKEN;
        true
    }
}

/// A copy of a [`Turn`], which another thread may change meanwhile. Each comparison loads it anew: from what a register held the verifier
/// would learn something else on either side of a branch, and follow both to the end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenTurn {
    /// [`Turn::held_ns`].
    pub held_ns: u64,
    /// [`Turn::dropped_ns`].
    pub dropped_ns: u64,
    /// [`Turn::holder`]; [`UNKNOWN`]: the turn is not remembered.
    pub holder: u32,
    /// [`Turn::seen_late`].
    pub seen_late: u8,
    /// [`Turn::again`].
    pub again: u8,
    /// Explicit padding.
    pub padding: u16,
    /// [`Turn::off_cpu`].
    pub off_cpu: OffCpu,
}

impl SeenTurn {
    /// None.
    const NONE: Self = Self {
        held_ns: 0,
        dropped_ns: 0,
        holder: UNKNOWN,
        seen_late: 0,
        again: again::NO,
        padding: 0,
        off_cpu: OffCpu::NONE,
    };

    /// The turn with this number.
    #[inline(always)]
    fn copy(&mut self, turns: &Turns, number: u64) {
        let turn = turns.at(number);
        let before = load(&turn.number);
        store(load(&turn.held_ns), &mut self.held_ns);
        store(load(&turn.dropped_ns), &mut self.dropped_ns);
        store(load(&turn.seen_late), &mut self.seen_late);
        store(load(&turn.again), &mut self.again);
        store(load(&turn.holder), &mut self.holder);
        store(load(&turn.off_cpu.until_ns), &mut self.off_cpu.until_ns);
        store(load(&turn.off_cpu.from_ns), &mut self.off_cpu.from_ns);
        if load(&turn.off_cpu.until_ns) != load(&self.off_cpu.until_ns) {
            store(0, &mut self.off_cpu.until_ns);
        }
        // Whoever overwrites it meanwhile changes the number first, and last.
        if before != number || load(&turn.number) != number {
            store(UNKNOWN, &mut self.holder);
        }
    }

    /// The holder had it at an instant of which a look did not tell, or tells that it was free: who takes it again at once is not seen to.
    #[inline(always)]
    fn had_it_at(&self, at_ns: u64, looked_free: bool) -> bool {
        let taken_again = load(&self.again) & again::TAKEN != 0;
        let is_sure = load(&self.seen_late) == 0 || taken_again;
        let held = load(&self.held_ns) != 0 && load(&self.held_ns) <= at_ns && is_sure;
        let dropped =
            load(&self.dropped_ns) >= load(&self.held_ns) && load(&self.dropped_ns) <= at_ns;
        held && !dropped && (!looked_free || taken_again)
    }

    /// Nothing of it was missed before the holder had the GIL.
    #[inline(always)]
    fn is_seen_from_its_beginning(&self) -> bool {
        load(&self.held_ns) != 0
            && (load(&self.dropped_ns) == 0 || load(&self.dropped_ns) >= load(&self.held_ns))
    }
}

/// Value of `TURNS`: the last holders of a GIL, each at its number's place.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    /// The turns.
    pub last: [Turn; REMEMBERED],
    /// What may be spent on reading stacks.
    pub stacks: StackBudget,
    /// Of a semaphore, the number of the present turn,
    pub changes: u64,
    /// and of the first one that no checkpoint has.
    pub settled: u64,
}

/// How many frames of stacks may be read for a GIL: so many a second, and what was not used of late, up to a limit. Some of it is kept for
/// those who waited long, so that of the waited time, not of the waits, as much as possible has a stack.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackBudget {
    /// All has been spent that comes until then.
    pub spent_until_ns: u64,
}

impl StackBudget {
    /// So much time has to pass for each frame: 50,000 a second, which take 3 % of a processor (5 us for a stack of six, measured).
    const FRAME_NS: u64 = 20_000;
    /// What a stack takes besides.
    const STACK_FRAMES: u64 = 4;
    /// So much may be spent in advance by who has waited, or had the GIL, for [`StackBudget::LONG_NS`],
    const ADVANCE_NS: u64 = 100_000_000;
    /// so much by who has for [`StackBudget::SHORT_NS`], and a quarter to all of that by anyone.
    const ANYONE_NS: u64 = 50_000_000;
    /// See above.
    const LONG_NS: u64 = 1_000_000;
    /// See above. In less, to read a stack is dear beside what it is about,
    const SHORT_NS: u64 = 100_000;
    /// so it counts for so much more: some 3,000 a second.
    const DEARER_NS: u64 = 100_000;

    /// Whether somebody who has waited, or had the GIL, for so long may read a stack now, in the turn with this number. Where there is not enough for all of
    /// the short ones, both sides look at each 8th, 64th or 512th: of those that each chooses for itself, few would have both. By no pattern, as threads
    /// take turns.
    #[inline(always)]
    pub fn allows(&mut self, now_ns: u64, waited_ns: u64, number: u64) -> bool {
        let is_short = waited_ns < Self::SHORT_NS;
        let number = mix(0, number) >> 32;
        let limit_ns = match number {
            _ if waited_ns >= Self::LONG_NS => Self::ADVANCE_NS,
            _ if !is_short || number.is_multiple_of(512) => Self::ANYONE_NS,
            _ if number.is_multiple_of(64) => Self::ANYONE_NS / 4 * 3,
            _ if number.is_multiple_of(8) => Self::ANYONE_NS / 4 * 2,
            _ => Self::ANYONE_NS / 4,
        };
        let allows = self.spent_until_ns < now_ns + limit_ns;
        if allows && is_short {
            self.spent_until_ns = self.spent_until_ns.max(now_ns) + Self::DEARER_NS;
        }
        allows
    }

    /// One with so many frames has been read.
    #[inline(always)]
    pub fn spend(&mut self, now_ns: u64, frames: u32) {
        let from_ns = self.spent_until_ns.max(now_ns);
        self.spent_until_ns = from_ns + (u64::from(frames) + Self::STACK_FRAMES) * Self::FRAME_NS;
    }
}

impl Turns {
    /// Nothing has been seen.
    pub const NONE: Self = Self {
        last: [Turn::NONE; REMEMBERED],
        stacks: StackBudget { spent_until_ns: 0 },
        changes: 0,
        settled: 0,
    };

    /// The turn with this number, if it is remembered.
    #[inline(always)]
    pub fn get(&self, number: u64) -> Option<&Turn> {
        let turn = &self.last[number as usize % REMEMBERED];
        (turn.number == number && turn.holder != UNKNOWN).then_some(turn)
    }

    /// The thread got the GIL then.
    #[inline(always)]
    pub fn gets(&mut self, look: &Look) {
        let turn = self.of(look);
        let is_new = turn.held_ns <= turn.dropped_ns;
        if look.now_ns > turn.dropped_ns && (is_new || look.now_ns < turn.held_ns) {
            turn.held = look.holders;
            (turn.held_ns, turn.seen_late) = (look.now_ns, 0);
            if is_new {
                turn.again = again::NO;
            }
        }
    }

    /// The thread is seen to have the GIL.
    #[inline(always)]
    pub fn has(&mut self, look: &Look) {
        let took_again = self.took_again(look);
        let turn = self.of(look);
        if took_again && turn.is_unseen() {
            return turn.took_again(look);
        }
        let is_new = turn.held_ns <= turn.dropped_ns && look.now_ns > turn.dropped_ns;
        if is_new && !turn.is_taken_again() {
            turn.was_off_cpu(&look.off_cpu);
            turn.held = look.holders;
            (turn.held_ns, turn.seen_late) = (look.now_ns, 1);
            turn.again = again::NO;
        }
    }

    /// Who has a semaphore took it as soon as it was back from releasing it: it has not slept on it since. Another had it meanwhile. Not if that let go of it
    /// later: then it was elsewhere before.
    #[inline(always)]
    fn took_again(&self, look: &Look) -> bool {
        let last = self.at(look.number.wrapping_sub(1));
        look.took_again_ns != 0
            && look.took_again_ns < look.now_ns
            && last.number == look.number.wrapping_sub(1)
            && last.dropped_ns != 0
            && last.dropped_ns < look.took_again_ns + TOLD_LATE_NS
    }

    /// Of a semaphore, the number of the turn of the thread that is seen to have it.
    #[inline(always)]
    pub fn turn_of(&mut self, holder: u32) -> u64 {
        if self.at(self.changes).holder != holder {
            self.changes += 1;
        }
        self.changes
    }

    /// Of the thread that is seen to release it. Another may have taken it since, and been seen with it.
    #[inline(always)]
    pub fn turn_released_by(&mut self, holder: u32) -> u64 {
        let (present, last) = (self.at(self.changes), self.at(self.changes.wrapping_sub(1)));
        let was_late = present.dropped_ns < present.held_ns && last.dropped_ns < last.held_ns;
        if was_late && present.holder != holder && last.holder == holder {
            return self.changes - 1;
        }
        self.turn_of(holder)
    }

    /// When it was released, which is told at `now_ns`, and not after the next one had it.
    #[inline(always)]
    pub fn released_ns(&self, number: u64, now_ns: u64) -> u64 {
        match self.changes == number {
            true => now_ns,
            false => self.at(self.changes).held_ns.min(now_ns),
        }
    }

    /// The thread that has dropped it will take it again at once.
    #[inline(always)]
    pub fn will_be_taken_again(&mut self, number: u64) {
        self.last[number as usize % REMEMBERED].again |= again::EXPECTED;
    }

    /// The thread sleeps on it: if it has dropped it, it has not taken it again at once.
    #[inline(always)]
    pub fn sleeps(&mut self, thread: u32) {
        let turn = &mut self.last[self.changes as usize % REMEMBERED];
        if turn.holder == thread {
            turn.again &= !again::EXPECTED;
        }
    }

    /// A semaphore is seen to be free.
    #[inline(always)]
    pub fn is_free(&mut self, now_ns: u64) {
        let turn = &mut self.last[self.changes as usize % REMEMBERED];
        if now_ns.saturating_sub(turn.dropped_ns) > UNSEEN_TURN_NS {
            turn.again &= !again::EXPECTED;
        }
    }

    /// Who has a semaphore that nobody is named to have though it is taken: the last one, until it releases it; [`UNKNOWN`] after that.
    #[inline(always)]
    pub fn holder_in_between(&self) -> u32 {
        let turn = self.at(self.changes);
        match turn.dropped_ns < turn.held_ns {
            true => turn.holder,
            false => UNKNOWN,
        }
    }

    #[inline(always)]
    pub(crate) fn at(&self, number: u64) -> &Turn {
        &self.last[number as usize % REMEMBERED]
    }

    /// The turn of the thread that has dropped the GIL, if it has told that.
    #[inline(always)]
    pub fn last_dropped(&mut self, number: u64) -> Option<&mut Turn> {
        let turn = &mut self.last[number as usize % REMEMBERED];
        (turn.number == number && turn.dropped_ns != 0).then_some(turn)
    }

    /// It has dropped the GIL, as is told by the signal if there are waiters, and again by unlocking the mutex.
    #[inline(always)]
    pub fn dropped(&mut self, look: &Look, signals: bool) {
        let took_again = self.took_again(look);
        let turn = self.of(look);
        if turn.is_unseen() {
            match took_again {
                true => turn.took_again(look),
                false => turn.was_off_cpu(&look.off_cpu),
            }
        }
        if signals || turn.signalled == 0 {
            let is_second = turn.dropped_ns != 0 && turn.dropped_ns >= turn.held_ns;
            if !turn.is_taken_again() && is_second {
                turn.again = again::MISSED;
            }
            // In this order, as others read it meanwhile.
            store(look.now_ns, &mut turn.dropped_ns);
            store(look.holders, &mut turn.dropped);
        }
        turn.signalled = signals as u16;
    }

    /// A futex call by which the thread dropped the GIL, which began with this look, is over. By the call that unlocks the mutex it may have dropped it
    /// another time, the signals of which nobody needed any more: unless that began too soon after, or too soon after the end of a time without a processor that
    /// had begun with the end of the last call. `cpu_ns` is its processor time by now.
    #[inline(always)]
    pub fn was_dropping(&mut self, began: &Look, now_ns: u64, cpu_ns: u64) {
        if let Some(turn) = self.last_dropped(began.number) {
            let mut known_until_ns = turn.dropped_ns.max(turn.dropping_until_ns);
            let ran_ns = began.now_ns.saturating_sub(began.off_cpu.until_ns);
            let left_cpu_ns = began.holders.on_cpu_ns.saturating_sub(ran_ns);
            if began.holders.known != known::NOTHING && turn.had_hardly_run(left_cpu_ns) {
                known_until_ns = known_until_ns.max(began.off_cpu.until_ns);
            }
            if began.now_ns < known_until_ns + UNSEEN_TURN_NS {
                // In this order, as others read it meanwhile.
                store(cpu_ns, &mut turn.dropping_until_cpu_ns);
                store(now_ns, &mut turn.dropping_until_ns);
            }
        }
    }

    #[inline(always)]
    fn of(&mut self, look: &Look) -> &mut Turn {
        let turn = &mut self.last[look.number as usize % REMEMBERED];
        if turn.number != look.number || turn.holder != look.holder {
            // In this order: who reads it meanwhile looks at the number before all else, and last.
            store(NO_TURN, &mut turn.number);
            store(0, &mut turn.held_ns);
            store(0, &mut turn.dropped_ns);
            store(0, &mut turn.free_until_ns);
            store(0, &mut turn.dropping_until_ns);
            store(0, &mut turn.off_cpu.until_ns);
            store(0, &mut turn.seen_late);
            store(again::NO, &mut turn.again);
            turn.stack = StackRead::NONE;
            turn.signalled = 0;
            store(look.holder, &mut turn.holder);
            store(look.number, &mut turn.number);
        }
        turn
    }
}

/// What a look at a GIL says.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// `switch_number`.
    pub number: u64,
    /// When.
    pub now_ns: u64,
    /// Its holder, [`NOBODY`] or [`UNKNOWN`].
    pub holder: u32,
    /// Explicit padding.
    pub padding: u32,
    /// What the holder had done by then.
    pub holders: Snapshot,
    /// When it was off the CPU last.
    pub off_cpu: OffCpu,
    /// When it came back from releasing a semaphore to take it again at once, and has not slept since; 0: it did not.
    pub took_again_ns: u64,
}

impl Look {
    /// None.
    pub const NONE: Self = Self {
        number: 0,
        now_ns: 0,
        holder: UNKNOWN,
        padding: 0,
        holders: Snapshot::NONE,
        off_cpu: OffCpu::NONE,
        took_again_ns: 0,
    };

    /// Since when the holder has it, if it was to take it again at once: it has been on the CPU since then.
    #[inline(always)]
    pub fn took_again(&mut self, takes_again_ns: u64) {
        let on_cpu_since_ns = self.off_cpu.until_ns;
        self.took_again_ns = match on_cpu_since_ns != 0 && on_cpu_since_ns < takes_again_ns {
            true => takes_again_ns,
            false => 0,
        };
    }
}

/// How far a thread's wait has been divided.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Division {
    /// `switch_number` so far.
    pub number: u64,
    /// So far.
    pub since_ns: u64,
    /// How long the holder has had the GIL in this wait without a break.
    pub part_ns: u64,
    /// `switch_number` of the thread that has dropped the GIL, if it is nobody's.
    pub dropped_number: u64,
    /// From then on the waiter was in line: whoever let go of the GIL had to make a futex call, which is seen,
    pub in_line_from_ns: u64,
    /// until then.
    pub in_line_until_ns: u64,
    /// The holder then.
    pub holder: u32,
    /// The waiter, by its thread id in its PID namespace. It is never the holder: what looks so is a change that is not yet counted, as
    /// `take_gil` sets `locked` first and `switch_number` last (`Python/ceval_gil.h`, 3.7; `.c`, 3.15).
    pub waiter: u32,
    /// What the holder had done by then.
    pub holders: Snapshot,
    /// Where the waiter is in Python.
    pub stack: StackRead,
    /// The last look.
    pub look: Look,
    /// The turn by which it is divided.
    pub turn: SeenTurn,
    /// What a thread had in turns that are no longer remembered.
    pub more: HadMore,
}

impl Division {
    /// Not divided.
    pub const NONE: Self = Self {
        number: 0,
        since_ns: 0,
        part_ns: 0,
        dropped_number: 0,
        in_line_from_ns: 0,
        in_line_until_ns: 0,
        holder: UNKNOWN,
        waiter: UNKNOWN,
        holders: Snapshot::NONE,
        stack: StackRead::NONE,
        look: Look::NONE,
        turn: SeenTurn::NONE,
        more: HadMore::NONE,
    };
}

/// A stretch of a wait in which one thread had the GIL, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The GIL's `switch_number`; of a stretch that is nobody's, that of the turn after which it was dropped.
    pub number: u64,
    /// The holder, or [`NOBODY`].
    pub holder: u32,
    /// How long it is.
    pub ns: u64,
    /// How long the holder has had the GIL in this wait without a break, with it.
    pub part_ns: u64,
    /// What the holder did in it.
    pub parts: Parts,
}

impl Piece {
    /// Sleeps of the holder's that are new to the waiter: it has met them in this piece.
    #[inline(always)]
    pub fn sleeps(&self) -> u64 {
        // One that had begun before.
        let older = self.parts.sleeps == 0 && self.ns == self.part_ns;
        self.parts.sleeps as u64 + older as u64
    }
}

/// Key of `BLOCKED`: a thread that waited, and the one that had the GIL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BlockedKey {
    /// When the waiter began to be followed; tells apart threads that had the same id one after the other.
    pub started_ns: u64,
    /// The process.
    pub tgid: u32,
    /// The waiter.
    pub tid: u32,
    /// The GIL's index in its process.
    pub gil_id: u32,
    /// The holder, by its id in its PID namespace.
    pub holder: u32,
}

impl BlockedKey {
    /// Of nobody.
    pub const NONE: Self = Self {
        started_ns: 0,
        tgid: 0,
        tid: 0,
        gil_id: 0,
        holder: UNKNOWN,
    };
}

/// Value of `BLOCKED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    /// Parts of waits, each without a break.
    pub parts: u64,
    /// Their time.
    pub sum_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Of their time, that in which the holder was on the CPU.
    pub on_cpu_ns: u64,
    /// In which it was runnable.
    pub runnable_ns: u64,
    /// In which it was asleep. What is missing to the sum is not known.
    pub asleep_ns: u64,
    /// Of parts that were told by their sum, how long one was at most: if that is more than `max_ns`, the longest is not known.
    pub most_ns: u64,
}

impl Blocked {
    /// The longest part, if it is known.
    pub fn longest_ns(&self) -> Option<u64> {
        (self.most_ns <= self.max_ns).then_some(self.max_ns)
    }

    /// Parts that are told by their sum.
    #[inline(always)]
    pub fn add_all(&mut self, more: &HadMore) {
        self.parts += u64::from(more.turns);
        self.sum_ns += more.ns;
        self.max_ns = self.max_ns.max(more.max_ns);
        self.most_ns = self.most_ns.max(more.most_ns);
        self.on_cpu_ns += more.on_cpu_ns;
        self.runnable_ns += more.runnable_ns;
        self.asleep_ns += more.asleep_ns;
    }

    /// A part begins with this piece, or becomes longer by it.
    #[inline(always)]
    pub fn add(&mut self, piece: &Piece) {
        if piece.ns == piece.part_ns {
            self.parts += 1;
        }
        self.sum_ns += piece.ns;
        if piece.part_ns > self.max_ns {
            self.max_ns = piece.part_ns;
        }
        self.on_cpu_ns += piece.parts.on_cpu_ns;
        self.runnable_ns += piece.parts.runnable_ns;
        self.asleep_ns += piece.parts.asleep_ns;
    }
}

/// Key of `SLEEPS`: a thread that waited, one that slept with the GIL held, and what in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SleepKey {
    /// The two.
    pub pair: BlockedKey,
    /// As [`crate::parts::call`] says.
    pub call: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// Value of `SLEEPS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sleeps {
    /// Sleeps that the waiter has met.
    pub count: u64,
    /// Time that it has waited for them.
    pub sum_ns: u64,
}

impl Sleeps {
    /// The holder has slept in this piece.
    #[inline(always)]
    pub fn add(&mut self, piece: &Piece) {
        self.count += piece.sleeps();
        self.sum_ns += piece.parts.asleep_ns;
    }
}

impl Division {
    /// A wait begins with this look.
    #[inline(always)]
    pub fn begins(&mut self) {
        self.number = self.look.number;
        self.since_ns = self.look.now_ns;
        self.part_ns = 0;
        self.dropped_number = self.number;
        self.holder = self.look.holder;
        self.holders = self.look.holders;
        self.stack = StackRead::NONE;
    }

    /// Turns since the last look are no longer remembered.
    #[inline(always)]
    pub fn has_missed_turns(&self) -> bool {
        self.look.number.wrapping_sub(self.number) >= REMEMBERED as u64
    }

    /// The wait goes on until this look, or is over: tells for each holder that is known, and for [`NOBODY`], the pieces that are its since the last
    /// look. What it works with is in memory, so that the verifier follows it once.
    #[inline(never)]
    pub fn goes_on(&mut self, turns: &Turns, tell: &mut impl FnMut(&Piece)) {
        // What is no longer remembered is not known; the rest is.
        if self.has_missed_turns() {
            self.holder_is(UNKNOWN);
            self.number = self.look.number.wrapping_sub(REMEMBERED as u64 - 1);
        }
        self.turn.copy(turns, self.number);
        for _ in 0..REMEMBERED {
            if load(&self.number) == load(&self.look.number) {
                break;
            }
            self.changes(turns, tell);
        }
        let is_free = self.follows(turns, tell);
        // It was free, and is the same thread's again: since when is not known.
        if is_free && load(&self.look.holder) != NOBODY {
            self.turn.off_cpu = self.look.off_cpu;
            self.is_free_off_cpu(turns, tell);
            self.holder_is(UNKNOWN);
        }
        let look = self.look.holders;
        self.is_told_by(self.look.holder);
        self.until(self.look.now_ns, turns, &look, tell);
        self.dropped_number = self.number;
        self.holder_is(self.look.holder);
        self.holders = look;
    }

    /// The next one's turn.
    #[inline(always)]
    fn changes(&mut self, turns: &Turns, tell: &mut impl FnMut(&Piece)) {
        self.follows(turns, tell);
        let number = self.number.wrapping_add(1);
        store(number, &mut self.number);
        self.turn.copy(turns, number);
        if load(&self.turn.holder) != UNKNOWN {
            self.is_free_off_cpu(turns, tell);
        }
        if load(&self.turn.holder) == UNKNOWN || !self.turn.is_seen_from_its_beginning() {
            self.holder_is(UNKNOWN);
        } else if load(&self.turn.held_ns) <= load(&self.since_ns) {
            self.holder_is(load(&self.turn.holder));
        }
    }

    /// The rest of the present turn, as far as it was seen; whether nobody has the GIL at the end of that. (A function that answers nothing may leave an address on the
    /// stack where answers are, which the verifier refuses.)
    #[inline(never)]
    fn follows(&mut self, turns: &Turns, tell: &mut impl FnMut(&Piece)) -> bool {
        if load(&self.turn.holder) == UNKNOWN {
            return load(&self.holder) == NOBODY;
        }
        let turn = turns.at(self.number);
        let had_it = match load(&self.holder) {
            NOBODY => self.turn.had_it_at(load(&self.since_ns), true),
            UNKNOWN => self.turn.had_it_at(load(&self.since_ns), false),
            _ => false,
        };
        if had_it {
            self.holder_is(load(&self.turn.holder));
        }
        if self.is_ahead(&self.turn.held_ns) {
            if load(&self.turn.seen_late) != 0 && load(&self.holder) != load(&self.turn.holder) {
                self.holder_is(UNKNOWN);
            }
            self.is_told_by(load(&self.turn.holder));
            self.until(load(&self.turn.held_ns), turns, &turn.held, tell);
            self.holder_is(load(&self.turn.holder));
            self.holders = turn.held;
        }
        if load(&self.turn.dropped_ns) >= load(&self.turn.held_ns)
            && self.is_ahead(&self.turn.dropped_ns)
        {
            // It was free, was taken again by the same thread, and is free again.
            if load(&self.holder) == NOBODY {
                self.holder_is(UNKNOWN);
            }
            self.is_told_by(load(&self.turn.holder));
            self.until(load(&self.turn.dropped_ns), turns, &turn.dropped, tell);
            self.dropped_number = self.number;
            self.holder_is(NOBODY);
        }
        load(&self.holder) == NOBODY
    }

    /// The GIL was free, and the next one to have it, which is the turn's holder, had no processor for a time.
    #[inline(never)]
    fn is_free_off_cpu(&mut self, turns: &Turns, tell: &mut impl FnMut(&Piece)) -> bool {
        let is_free = load(&self.holder) == NOBODY
            && load(&self.turn.off_cpu.from_ns) <= load(&self.since_ns)
            && self.is_ahead(&self.turn.off_cpu.until_ns);
        if is_free {
            let until_ns = load(&self.turn.off_cpu.until_ns);
            self.until(until_ns, turns, &Snapshot::NONE, tell);
        }
        is_free
    }

    #[inline(always)]
    fn is_ahead(&self, at_ns: &u64) -> bool {
        load(at_ns) > load(&self.since_ns) && load(at_ns) <= load(&self.look.now_ns)
    }

    #[inline(always)]
    fn holder_is(&mut self, holder: u32) {
        if load(&self.holder) != holder {
            store(holder, &mut self.holder);
            self.part_ns = 0;
            self.holders.known = known::NOTHING;
        }
    }

    /// What is known at the end of the present piece is of that thread: if it is another's, nothing is known of the holder.
    #[inline(always)]
    fn is_told_by(&mut self, thread: u32) {
        if thread != load(&self.holder) {
            self.holders.known = known::NOTHING;
        }
    }

    /// The present piece ends, when the holder had done so much. A BPF function has five arguments.
    #[inline(never)]
    fn until(
        &mut self,
        at_ns: u64,
        turns: &Turns,
        had_done: &Snapshot,
        tell: &mut impl FnMut(&Piece),
    ) {
        if at_ns <= self.since_ns {
            return;
        }
        let mut ns = at_ns - self.since_ns;
        let mut number = self.number;
        if load(&self.holder) == NOBODY {
            number = self.dropped_number;
            let dropped = turns.get(number).unwrap_or(&Turn::NONE);
            let in_line_from_ns = self.in_line_from_ns.max(self.since_ns);
            let in_line_ns = self
                .in_line_until_ns
                .min(at_ns)
                .saturating_sub(in_line_from_ns);
            ns = dropped.free_ns(self.since_ns, at_ns).max(in_line_ns);
        }
        self.since_ns = at_ns;
        if load(&self.holder) != UNKNOWN && load(&self.holder) != self.waiter && ns > 0 {
            self.part_ns += ns;
            tell(&Piece {
                number,
                holder: self.holder,
                ns,
                part_ns: self.part_ns,
                parts: Parts::between(&self.holders, had_done, ns),
            });
        }
    }
}

const _: () = {
    assert!(size_of::<Turn>() == 144);
    assert!(size_of::<Turns>() == 9240);
    assert!(size_of::<SeenTurn>() == 40);
    assert!(size_of::<Division>() == 264);
    assert!(size_of::<BlockedKey>() == 24);
    assert!(size_of::<Blocked>() == 56);
    assert!(size_of::<SleepKey>() == 32);
    assert!(size_of::<Sleeps>() == 16);
};

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    /// Long enough for a turn that nobody has seen.
    const RAN_NS: u64 = UNSEEN_TURN_NS;

    fn off_cpu(from_ns: u64, until_ns: u64) -> OffCpu {
        OffCpu { from_ns, until_ns }
    }

    fn awake(on_cpu_ns: u64) -> Snapshot {
        Snapshot {
            on_cpu_ns,
            known: known::AWAKE,
            ..Snapshot::NONE
        }
    }

    fn look(number: u64, holder: u32, now_ns: u64) -> Look {
        Look {
            number,
            now_ns,
            holder,
            ..Look::NONE
        }
    }

    /// What a wait is divided into that begins at 100 with number 7 and holder 1.
    fn divide(turns: &Turns, looks: &[Look]) -> Vec<(u32, u64, u64)> {
        divide_from(look(7, 1, 100), turns, looks)
    }

    fn divide_from(first: Look, turns: &Turns, looks: &[Look]) -> Vec<(u32, u64, u64)> {
        let (mut division, mut told) = (Division::NONE, Vec::new());
        division.look = first;
        division.begins();
        for look in looks {
            division.look = *look;
            division.goes_on(turns, &mut |piece| {
                assert_eq!(piece.parts.on_cpu_ns, 0, "nothing was seen of it");
                told.push((piece.holder, piece.ns, piece.part_ns));
            });
        }
        told
    }

    /// Each turn: its number, its holder, since when it is known to have the GIL, when it was dropped.
    fn seen(all: &[(u64, u32, u64, u64)]) -> Turns {
        let mut turns = Turns::NONE;
        for (number, holder, held_ns, dropped_ns) in all {
            if *held_ns > 0 {
                turns.gets(&look(*number, *holder, *held_ns));
            }
            if *dropped_ns > 0 {
                turns.dropped(&look(*number, *holder, *dropped_ns), true);
            }
        }
        turns
    }

    #[test]
    fn who_has_it_all_the_time_has_all_of_it() {
        let told = divide(&seen(&[]), &[look(7, 1, 150), look(7, 1, 220)]);
        assert_eq!(told, [(1, 50, 50), (1, 70, 120)]);
    }

    #[test]
    fn a_change_that_was_seen_divides() {
        let turns = seen(&[(8, 2, 130, 0), (9, 3, 140, 0)]);
        let told = divide(&turns, &[look(9, 3, 200)]);
        assert_eq!(told, [(1, 30, 30), (2, 10, 10), (3, 60, 60)]);
    }

    /// From when it was dropped until the next has it.
    #[test]
    fn nobody_has_it_in_transit() {
        let turns = seen(&[(7, 1, 50, 120), (8, 2, 130, 0)]);
        let told = divide(&turns, &[look(8, 2, 200)]);
        assert_eq!(told, [(1, 20, 20), (NOBODY, 10, 10), (2, 70, 70)]);
        // It was dropped, and is free still; then somebody took it.
        let mut turns = seen(&[(7, 1, 50, 120), (8, 2, 130, 180)]);
        let free = look(8, NOBODY, 200);
        let told = divide(&turns, &[free]);
        assert_eq!(told[2..], [(2, 50, 50), (NOBODY, 20, 20)]);
        turns.gets(&look(9, 3, 230));
        let told = divide(&turns, &[free, look(9, 3, 260)]);
        assert_eq!(told[3..], [(NOBODY, 20, 20), (NOBODY, 30, 50), (3, 30, 30)]);
    }

    fn back_on_cpu(look: Look, from_ns: u64, until_ns: u64) -> Look {
        let off_cpu = OffCpu { from_ns, until_ns };
        Look { off_cpu, ..look }
    }

    /// Who is first seen with it late may have had it for as long as it had a processor, not longer.
    #[test]
    fn nobody_has_it_while_the_next_has_no_processor() {
        let next = |from_ns, until_ns| {
            let mut turns = seen(&[(7, 1, 50, 120)]);
            turns.has(&back_on_cpu(look(8, 2, 190), from_ns, until_ns));
            divide(&turns, &[look(8, 2, 200)])
        };
        let (first, last) = ((1, 20, 20), (2, 10, 10));
        assert_eq!(next(90, 160), [first, (NOBODY, 40, 40), last]);
        assert_eq!(next(120, 160), [first, (NOBODY, 40, 40), last]);
        // It was on the CPU as the other dropped the GIL, and may have had it before it left.
        assert_eq!(next(121, 160), [first, last]);
        // It has been on the CPU all the time; or nothing is known of that.
        assert_eq!(next(90, 115), [first, last]);
        assert_eq!(next(0, 0), [first, last]);
    }

    /// The same of one that is not seen before it drops it.
    #[test]
    fn who_is_seen_only_as_it_drops_it_had_it_not_without_a_processor() {
        let mut turns = seen(&[(7, 1, 50, 120)]);
        turns.dropped(&back_on_cpu(look(8, 2, 190), 90, 160), true);
        let told = divide(&turns, &[look(8, NOBODY, 200)]);
        assert_eq!(told, [(1, 20, 20), (NOBODY, 40, 40), (NOBODY, 10, 10)]);
    }

    /// Who has dropped it, slept, and taken it again.
    #[test]
    fn who_takes_it_again_had_it_not_without_a_processor() {
        let turns = seen(&[(7, 1, 50, 120)]);
        let again = back_on_cpu(look(7, 1, 200), 130, 180);
        let told = divide(&turns, &[look(7, NOBODY, 140), again, look(7, 1, 230)]);
        let free = [(NOBODY, 20, 20), (NOBODY, 40, 60)];
        assert_eq!(told[..3], [[(1, 20, 20)].as_slice(), &free].concat());
        assert_eq!(told[3..], [(1, 30, 30)]);
    }

    /// What is known of one turn's holder is not told of the next one's in its place.
    #[test]
    fn a_place_that_is_used_again_knows_no_processor() {
        let mut turns = seen(&[(7, 1, 50, 120)]);
        turns.has(&back_on_cpu(look(8, 2, 180), 90, 160));
        let (first, next) = (7 + REMEMBERED as u64, 8 + REMEMBERED as u64);
        turns.gets(&look(first, 1, 50));
        turns.dropped(&look(first, 1, 120), true);
        turns.gets(&look(next, 3, 185));
        turns.dropped(&look(next, 3, 190), true);
        turns.has(&look(next, 3, 195));
        let told = divide_from(look(first, 1, 100), &turns, &[look(next, 3, 200)]);
        assert_eq!(told, [(1, 20, 20), (3, 5, 5)]);
    }

    /// An old drop, from before the wait, says nothing of it.
    #[test]
    fn a_drop_from_before_is_none() {
        let turns = seen(&[(7, 1, 50, 90), (8, 2, 130, 0)]);
        let told = divide(&turns, &[look(8, 2, 200)]);
        assert_eq!(told, [(1, 30, 30), (2, 70, 70)]);
    }

    #[test]
    fn what_was_not_seen_is_not_known() {
        // Somebody had it between 100 and 140.
        let told = divide(
            &seen(&[(9, 3, 140, 0)]),
            &[look(9, 3, 200), look(9, 3, 210)],
        );
        assert_eq!(told, [(3, 60, 60), (3, 10, 70)]);
        // When the last took it is not known, but that he has it is.
        let told = divide(
            &seen(&[(8, 2, 130, 0)]),
            &[look(9, 3, 200), look(9, 3, 210)],
        );
        assert_eq!(told, [(1, 30, 30), (3, 10, 10)]);
        assert_eq!(divide(&seen(&[]), &[look(900, 3, 200)]), []);
    }

    /// Between two drops that were seen is a turn whose beginning was not.
    #[test]
    fn a_turn_that_was_only_seen_to_end() {
        let turns = seen(&[(7, 1, 50, 110), (8, 2, 0, 150), (9, 3, 155, 0)]);
        let told = divide(&turns, &[look(9, 3, 200)]);
        assert_eq!(told, [(1, 10, 10), (NOBODY, 5, 5), (3, 45, 45)]);
    }

    #[test]
    fn the_same_holder_again() {
        // Dropped and taken again between two looks: it had it all the time until the last drop.
        let turns = seen(&[(7, 1, 50, 180)]);
        assert_eq!(divide(&turns, &[look(7, 1, 170)]), [(1, 70, 70)]);
        let told = divide(&turns, &[look(7, NOBODY, 200)]);
        assert_eq!(told, [(1, 80, 80), (NOBODY, 20, 20)]);
        // Free as it was looked for, and then its again: since when?
        let told = divide(&turns, &[look(7, NOBODY, 190), look(7, 1, 210)]);
        assert_eq!(told, [(1, 80, 80), (NOBODY, 10, 10)]);
        let told = divide_from(look(7, NOBODY, 100), &turns, &[look(7, NOBODY, 200)]);
        assert_eq!(told, [(NOBODY, 20, 20)]);
    }

    /// The same thread's again, and that was seen.
    #[test]
    fn dropped_and_taken_again() {
        let mut turns = seen(&[(7, 1, 50, 130)]);
        turns.gets(&look(7, 1, 160));
        let told = divide(&turns, &[look(7, NOBODY, 150), look(7, 1, 200)]);
        assert_eq!(told, [(1, 50, 50), (NOBODY, 10, 10), (1, 40, 40)]);
        // Nobody looked meanwhile.
        let told = divide(&turns, &[look(7, 1, 200)]);
        assert_eq!(told, [(1, 60, 60), (1, 40, 100)]);
        turns.dropped(&look(7, 1, 190), true);
        let told = divide(&turns, &[look(7, NOBODY, 150), look(7, NOBODY, 200)]);
        // That it had been dropped before is forgotten.
        assert_eq!(
            told,
            [(1, 50, 50), (NOBODY, 10, 10), (1, 30, 30), (NOBODY, 10, 10)]
        );
    }

    /// It has dropped the GIL, and somebody else takes it again, but has not yet counted the change as the waiter looks.
    #[test]
    fn nobody_waits_for_itself() {
        let mut told = Vec::new();
        let mut tell = |piece: &Piece| told.push((piece.holder, piece.ns));
        let mut turns = seen(&[(7, 1, 50, 90)]);
        let mut division = Division {
            waiter: 1,
            look: look(7, 1, 100),
            ..Division::NONE
        };
        division.begins();
        division.look = look(7, 1, 150);
        division.goes_on(&turns, &mut tell);
        // Another that waits sees it so as well.
        turns.has(&look(7, 1, 160));
        turns.gets(&look(8, 2, 170));
        division.look = look(8, 2, 200);
        division.goes_on(&turns, &mut tell);
        assert_eq!(told, [(2, 30)]);
    }

    /// Nobody knows what it did while it had one.
    #[test]
    fn free_as_long_as_who_dropped_it_has_no_processor() {
        let all = |turns: &Turns| divide(turns, &[look(8, 2, 200_000)]);
        let mut turns = seen(&[(7, 1, 50, 10_100), (8, 2, 110_100, 0)]);
        let (before, after) = ((1, 10_000, 10_000), (2, 89_900, 89_900));
        assert_eq!(all(&turns), [before, after]);
        turns
            .last_dropped(7)
            .unwrap()
            .is_free(&off_cpu(60_100, 90_100), RAN_NS);
        assert_eq!(all(&turns), [before, (NOBODY, 30_000, 30_000), after]);
        // It goes on without.
        turns
            .last_dropped(7)
            .unwrap()
            .is_free(&off_cpu(60_100, 110_100), RAN_NS);
        assert_eq!(all(&turns), [before, (NOBODY, 50_000, 50_000), after]);
        // Without one before it could have taken it again; the waiter's looks do not matter.
        turns
            .last_dropped(7)
            .unwrap()
            .is_free(&off_cpu(25_100, 110_100), RAN_NS);
        let nobody = (NOBODY, 100_000, 100_000);
        assert_eq!(all(&turns), [before, nobody, after]);
        let looks = [look(7, NOBODY, 50_100), look(8, 2, 200_000)];
        let parts = [(NOBODY, 40_000, 40_000), (NOBODY, 60_000, 100_000)];
        let told = divide(&turns, &looks);
        assert_eq!(told, [before, parts[0], parts[1], after]);
        // Nobody has told that it dropped that.
        assert!(turns.last_dropped(8).is_none());
    }

    /// It has run for too short a time to have had it again.
    #[test]
    fn free_since_its_drop_if_who_dropped_it_lost_its_processor_at_once() {
        let all = |in_call_ns: u64, ran_ns, until_ns| {
            let mut turns = seen(&[(7, 1, 50, 10_100), (8, 2, 110_100, 0)]);
            turns.last[7].dropped = awake(1_000);
            if in_call_ns > 0 {
                let call_until_ns = 10_100 + in_call_ns;
                turns.was_dropping(&look(7, 1, 10_100), call_until_ns, 1_000 + in_call_ns);
            }
            turns.last[7].is_free(&off_cpu(60_100, until_ns), 1_000 + in_call_ns + ran_ns);
            let told = divide(&turns, &[look(8, 2, 200_000)]);
            let nobodys = told.iter().filter(|(holder, ..)| *holder == NOBODY);
            nobodys.map(|(_, ns, _)| ns).sum::<u64>()
        };
        assert_eq!(all(0, HARDLY_RUN_NS - 1, 110_100), 100_000);
        assert_eq!(all(0, HARDLY_RUN_NS, 110_100), 50_000);
        // Not in the call by which it dropped it, however long that took.
        assert_eq!(all(25_000, HARDLY_RUN_NS - 1, 110_100), 100_000);
        assert_eq!(all(25_000, HARDLY_RUN_NS, 110_100), 75_000);
        // It has had a processor again since then.
        assert_eq!(all(0, HARDLY_RUN_NS - 1, 80_100), 70_000);
        assert_eq!(all(0, HARDLY_RUN_NS - 1, 100_100), 100_000);
    }

    /// What was known of the first drop says nothing after the second.
    #[test]
    fn free_since_its_second_drop_only() {
        let all = |cpu_ns| {
            let mut turns = seen(&[(7, 1, 50, 10_100), (8, 2, 110_100, 0)]);
            turns.last[7].dropped = awake(1_000);
            turns.was_dropping(&look(7, 1, 10_100), 15_100, 6_000);
            let mut second = look(7, 1, 55_100);
            second.holders = awake(46_000);
            turns.dropped(&second, true);
            turns.last[7].is_free(&off_cpu(85_100, 110_100), cpu_ns);
            turns.last[7].free_since_ns
        };
        assert_eq!(all(46_000 + HARDLY_RUN_NS - 1), 55_100);
        assert_eq!(all(46_000 + HARDLY_RUN_NS), 85_100);
        // Torn, or of another thread.
        assert_eq!(all(45_000), 85_100);
    }

    /// Who drops it would have woken the waiter.
    #[test]
    fn free_while_somebody_is_in_line() {
        let turns = seen(&[(7, 1, 50, 10_100), (8, 2, 110_100, 0)]);
        let free_ns = |from_ns, until_ns| {
            let (mut division, mut told) = (Division::NONE, Vec::new());
            division.look = look(7, 1, 100);
            division.begins();
            (division.in_line_from_ns, division.in_line_until_ns) = (from_ns, until_ns);
            division.look = look(8, 2, 200_000);
            division.goes_on(&turns, &mut |piece| told.push((piece.holder, piece.ns)));
            told.retain(|(holder, _)| *holder == NOBODY);
            told.iter().map(|(_, ns)| ns).sum::<u64>()
        };
        assert_eq!(free_ns(100, 150_000), 100_000);
        assert_eq!(free_ns(40_100, 90_100), 50_000);
        assert_eq!(free_ns(100, 10_100), 0);
    }

    /// It cannot take the GIL again before the calls are over that wake others.
    #[test]
    fn nobody_has_it_while_who_drops_it_is_in_the_futex_call() {
        let free_ns = |dropping_until_ns, off_cpu_since_ns| {
            let mut turns = seen(&[(7, 1, 50, 200), (8, 2, 60_200, 0)]);
            turns.was_dropping(&look(7, 1, 200), dropping_until_ns, 0);
            turns.last[7].is_free(&off_cpu(off_cpu_since_ns, 60_000), RAN_NS);
            let told = divide(&turns, &[look(8, 2, 70_000)]);
            let nobodys = told.iter().filter(|(holder, ..)| *holder == NOBODY);
            nobodys.map(|(_, ns, _)| ns).sum::<u64>()
        };
        assert_eq!(free_ns(30_200, 59_000), 30_000 + 1_000);
        // What is left is too short for a turn.
        assert_eq!(free_ns(42_200, 59_000), 60_000);
        assert_eq!(free_ns(30_200, 31_000), 60_000);
        // A call that was over before this drop.
        assert_eq!(free_ns(90, 59_000), 1_000);
    }

    /// It was preempted before it unlocked the mutex, and so could not drop it another time.
    #[test]
    fn a_mutex_that_is_unlocked_late_by_who_had_no_processor_is_the_same_drop_s() {
        let nobodys_ns = |ran_before_ns, ran_after_ns| {
            let mut turns = seen(&[(7, 1, 50, 200), (8, 2, 90_200, 0)]);
            turns.last[7].dropped = awake(1_000);
            turns.was_dropping(&look(7, 1, 200), 5_200, 6_000);
            let mut unlocks = look(7, 1, 50_200 + ran_after_ns);
            unlocks.holders = awake(6_000 + ran_before_ns + ran_after_ns);
            unlocks.off_cpu = off_cpu(6_200, 50_200);
            turns.was_dropping(&unlocks, 75_200, 7_000);
            let told = divide(&turns, &[look(8, 2, 100_000)]);
            let nobodys = told.iter().filter(|(holder, ..)| *holder == NOBODY);
            nobodys.map(|(_, ns, _)| ns).sum::<u64>()
        };
        let (hardly_ns, too_soon_ns) = (HARDLY_RUN_NS - 1, UNSEEN_TURN_NS - 1);
        assert_eq!(nobodys_ns(hardly_ns, too_soon_ns), 90_000);
        assert_eq!(nobodys_ns(hardly_ns + 1, too_soon_ns), 5_000);
        assert_eq!(nobodys_ns(hardly_ns, too_soon_ns + 1), 5_000);
    }

    #[test]
    fn what_is_known_in_two_ways_is_counted_once() {
        let mut turns = seen(&[(7, 1, 50, 200), (8, 2, 60_200, 0)]);
        turns.was_dropping(&look(7, 1, 200), 20_200, 0);
        turns.last[7].is_free(&off_cpu(10_200, 30_200), RAN_NS);
        let told = divide(&turns, &[look(8, 2, 70_000)]);
        assert_eq!(told[1], (NOBODY, 30_000, 30_000));
    }

    /// It may have had it again in between, and nobody needed the signal of that drop.
    #[test]
    fn a_mutex_that_is_unlocked_late_may_be_another_drop_s() {
        let nobodys_ns = |unlocks_at_ns: u64| {
            let mut turns = seen(&[(7, 1, 50, 200), (8, 2, 60_200, 0)]);
            turns.was_dropping(&look(7, 1, 200), 5_200, 0);
            let unlocks = look(7, 1, unlocks_at_ns);
            turns.dropped(&unlocks, false);
            turns.was_dropping(&unlocks, unlocks_at_ns + 2_000, 0);
            divide(&turns, &[look(8, 2, 70_000)])[1].1
        };
        assert_eq!(nobodys_ns(50_200), 5_000);
        assert_eq!(nobodys_ns(5_900), 7_700);
    }

    #[test]
    fn a_turn_knows_nothing_of_the_one_that_lay_in_its_place() {
        let mut turns = seen(&[(7, 1, 50, 200)]);
        turns.was_dropping(&look(7, 1, 200), 5_200, 0);
        turns.has(&look(7 + REMEMBERED as u64, 2, 300));
        assert_eq!(turns.at(7).dropping_until_ns, 0);
    }

    #[test]
    fn who_is_found_with_it_has_had_it_since_then_at_least() {
        let mut turns = seen(&[(7, 1, 50, 120)]);
        turns.has(&look(8, 2, 150));
        let told = divide(&turns, &[look(8, 2, 200)]);
        assert_eq!(told, [(1, 20, 20), (2, 50, 50)]);
        // Itself knows better.
        turns.gets(&look(8, 2, 130));
        let told = divide(&turns, &[look(8, 2, 200)]);
        assert_eq!(told, [(1, 20, 20), (NOBODY, 10, 10), (2, 70, 70)]);
    }

    #[test]
    fn a_drop_is_told_by_the_signal_and_by_the_mutex() {
        let mut turns = Turns::NONE;
        let dropped_ns = |turns: &Turns| turns.get(7).map(|turn| turn.dropped_ns);
        for (now_ns, signals, expected_ns) in [
            (10, true, 10),
            (12, false, 10),
            (20, false, 20),
            (30, true, 30),
            (40, true, 40),
        ] {
            turns.dropped(&look(7, 1, now_ns), signals);
            assert_eq!(dropped_ns(&turns), Some(expected_ns));
        }
    }

    /// A semaphore's: the turns are counted as they are seen.
    #[test]
    fn the_changes_of_a_semaphore_are_counted_by_who_has_it() {
        let mut turns = Turns::NONE;
        for (holder, number) in [(1, 1), (1, 1), (2, 2), (1, 3)] {
            assert_eq!(turns.turn_of(holder), number);
            turns.has(&look(number, holder, 10 * number));
        }
    }

    fn releases(turns: &mut Turns, thread: u32, now_ns: u64) -> u64 {
        let number = turns.turn_released_by(thread);
        let at_ns = turns.released_ns(number, now_ns);
        turns.dropped(&look(number, thread, at_ns), true);
        number
    }

    fn looks(turns: &mut Turns, holder: u32, now_ns: u64) -> Look {
        let number = turns.turn_of(holder);
        turns.has(&look(number, holder, now_ns));
        look(number, holder, now_ns)
    }

    /// Who releases it tells that a moment later, and another may have been seen with it by then.
    #[test]
    fn a_release_that_is_told_late() {
        let mut turns = Turns::NONE;
        looks(&mut turns, 1, 100);
        looks(&mut turns, 2, 150);
        assert_eq!(releases(&mut turns, 1, 151), 1);
        assert_eq!(turns.get(1).map(|turn| turn.dropped_ns), Some(150));
        assert_eq!(releases(&mut turns, 2, 160), 2);
        // Its next turn, and not its last.
        assert_eq!(releases(&mut turns, 1, 190), 3);
    }

    /// The end of a check interval.
    #[test]
    fn who_takes_a_semaphore_again_at_once_has_had_it_all_the_time() {
        let after_release = |interval_is_over: bool| {
            let (mut turns, mut told) = (Turns::NONE, Vec::new());
            let mut tell = |piece: &Piece| told.push((piece.holder, piece.ns, piece.part_ns));
            let mut division = Division::NONE;
            division.look = looks(&mut turns, 1, 100);
            division.begins();
            let number = releases(&mut turns, 1, 150);
            if interval_is_over {
                turns.will_be_taken_again(number);
            }
            // Another looks before it has done so, and goes on waiting.
            turns.is_free(160);
            division.look = look(1, NOBODY, 160);
            division.goes_on(&turns, &mut tell);
            division.look = looks(&mut turns, 1, 200);
            division.goes_on(&turns, &mut tell);
            told
        };
        let (had, free) = ((1, 50, 50), (NOBODY, 10, 10));
        assert_eq!(after_release(true), [had, free, (1, 40, 40)]);
        assert_eq!(after_release(false), [had, free]);
    }

    /// Where the waiter looks in the moment in which it is free, and in no other: it is not nobody's until the next such moment, though the waiter is in
    /// line, and nobody needed a call to take it.
    #[test]
    fn who_keeps_a_semaphore_is_found_to_have_dropped_it_only() {
        let until = |is_free: bool| {
            let mut turns = Turns::NONE;
            // Another has dropped it, and who has it now got that as nobody looked.
            looks(&mut turns, 2, 100_000);
            releases(&mut turns, 2, 150_000);
            let first = look(1, NOBODY, 151_000);
            looks(&mut turns, 1, 152_000);
            for now_ns in [1_150_000, 2_150_000] {
                check_interval_ends(&mut turns, 1, now_ns);
            }
            let last = match is_free {
                true => look(turns.changes, NOBODY, 2_151_000),
                false => looks(&mut turns, 1, 2_151_000),
            };
            told_until(&turns, first, last)
        };
        assert_eq!(until(true), [(1, 1_998_000), (NOBODY, 1_000)]);
        assert_eq!(until(false), [(1, 1_999_000)]);
    }

    fn told_until(turns: &Turns, first: Look, last: Look) -> Vec<(u32, u64)> {
        let (mut division, mut told) = (Division::NONE, Vec::new());
        (division.look, division.in_line_until_ns) = (first, u64::MAX);
        division.begins();
        division.look = last;
        division.goes_on(turns, &mut |piece| told.push((piece.holder, piece.ns)));
        told
    }

    fn check_interval_ends(turns: &mut Turns, thread: u32, now_ns: u64) {
        let number = releases(turns, thread, now_ns);
        turns.will_be_taken_again(number);
    }

    /// It drops it for long, takes it again as nobody looks, and is seen at the end of a check interval: it has not had it all the time.
    #[test]
    fn a_drop_before_another_is_not_forgotten() {
        let mut turns = Turns::NONE;
        looks(&mut turns, 1, 100_000);
        releases(&mut turns, 1, 200_000);
        let first = look(1, NOBODY, 210_000);
        check_interval_ends(&mut turns, 1, 5_100_000);
        let last = looks(&mut turns, 1, 5_101_000);
        // It is not known when it got it.
        assert_eq!(told_until(&turns, first, last), [(1, 999)]);
    }

    /// Nor is it nobody's until it is seen first, at the end of a check interval.
    #[test]
    fn who_is_first_seen_as_a_check_interval_ends_had_it_before() {
        let mut turns = Turns::NONE;
        looks(&mut turns, 2, 100_000);
        releases(&mut turns, 2, 150_000);
        let first = look(1, NOBODY, 151_000);
        check_interval_ends(&mut turns, 1, 1_200_000);
        check_interval_ends(&mut turns, 1, 1_400_000);
        let last = looks(&mut turns, 1, 1_500_000);
        assert_eq!(told_until(&turns, first, last), [(1, 299_999)]);
    }

    /// What was seen of an earlier check interval says nothing of a drop since.
    #[test]
    fn a_drop_after_a_check_interval_is_one() {
        let mut turns = Turns::NONE;
        looks(&mut turns, 1, 100_000);
        check_interval_ends(&mut turns, 1, 200_000);
        looks(&mut turns, 1, 201_000);
        releases(&mut turns, 1, 300_000);
        looks(&mut turns, 1, 5_500_000);
        releases(&mut turns, 1, 5_700_000);
        let first = look(1, NOBODY, 5_710_000);
        releases(&mut turns, 1, 9_100_000);
        let last = look(1, NOBODY, 9_101_000);
        assert_eq!(told_until(&turns, first, last), [(NOBODY, 1_000)]);
    }

    /// A release at the end of its check interval lasts until 5,000, and another has the semaphore for a time meanwhile.
    #[test]
    fn who_takes_a_semaphore_again_after_another_had_it() {
        let until = |other_released_ns: u64, on_cpu_since_ns: u64, is_seen: bool| {
            let mut turns = Turns::NONE;
            let first = looks(&mut turns, 1, 1_000);
            check_interval_ends(&mut turns, 1, 2_000);
            looks(&mut turns, 2, 3_000);
            releases(&mut turns, 2, other_released_ns);
            let mut sees = |now_ns: u64| {
                let mut look = Look {
                    off_cpu: OffCpu {
                        from_ns: 400,
                        until_ns: on_cpu_since_ns,
                    },
                    ..look(turns.turn_of(1), 1, now_ns)
                };
                look.took_again(5_000);
                match now_ns {
                    9_000 => turns.dropped(&look, true),
                    _ => turns.has(&look),
                }
            };
            if is_seen {
                sees(8_000);
            }
            sees(9_000);
            let last = look(turns.changes, NOBODY, 9_500);
            told_until(&turns, first, last)
        };
        for is_seen in [true, false] {
            let told = until(4_000, 500, is_seen);
            let all = [
                (1, 1_000),
                (2, 1_000),
                (NOBODY, 1_000),
                (1, 4_000),
                (NOBODY, 500),
            ];
            assert_eq!(told, all, "{is_seen}");
        }
        // The call tells a little later that it was released.
        assert_eq!(until(5_200, 500, false)[2..], [(1, 3_800), (NOBODY, 500)]);
        // Off the CPU until 6,000, it took it after that; or how long it has been there is not known.
        let told = until(4_000, 6_000, false);
        assert_eq!(told[2..], [(NOBODY, 2_000), (NOBODY, 500)]);
        assert_eq!(until(4_000, 0, false)[2..], [(NOBODY, 500)]);
        // Another has had it for longer.
        let mut turns = Turns::NONE;
        let first = looks(&mut turns, 2, 1_000);
        releases(&mut turns, 2, 50_000);
        let mut late = look(turns.turn_of(1), 1, 60_000);
        late.off_cpu = OffCpu {
            from_ns: 400,
            until_ns: 500,
        };
        late.took_again(5_000);
        turns.dropped(&late, true);
        let told = told_until(&turns, first, look(turns.changes, NOBODY, 60_500));
        assert_eq!(told, [(2, 49_000), (NOBODY, 500)]);
    }

    #[test]
    fn who_sleeps_on_a_semaphore_has_not_taken_it_again() {
        let mut turns = Turns::NONE;
        looks(&mut turns, 1, 100);
        for asleep in [1, 2] {
            let number = releases(&mut turns, 1, 150);
            turns.will_be_taken_again(number);
            turns.sleeps(asleep);
            let expected = if asleep == 1 {
                again::NO
            } else {
                again::EXPECTED
            };
            let again = turns.get(number).map(|turn| turn.again & again::EXPECTED);
            assert_eq!(again, Some(expected));
        }
        // Nor if it is free for long.
        turns.is_free(150 + UNSEEN_TURN_NS + 1);
        let again = turns.get(1).map(|turn| turn.again & again::EXPECTED);
        assert_eq!(again, Some(again::NO));
    }

    /// Between taking it and being named, and between no longer being named and the release.
    #[test]
    fn a_semaphore_that_is_nobody_s_and_taken() {
        let mut turns = Turns::NONE;
        assert_eq!(turns.holder_in_between(), UNKNOWN);
        looks(&mut turns, 1, 100);
        assert_eq!(turns.holder_in_between(), 1);
        releases(&mut turns, 1, 150);
        assert_eq!(turns.holder_in_between(), UNKNOWN);
    }

    #[test]
    fn an_old_turn_with_the_same_place_is_none() {
        let turns = seen(&[(8 + REMEMBERED as u64, 5, 120, 0)]);
        assert_eq!(divide(&turns, &[look(8, 2, 200)]), []);
    }

    #[test]
    fn of_more_turns_than_are_remembered_the_last_are_known() {
        let all: Vec<_> = (0..200)
            .map(|turn| (8 + turn, 2 + (turn % 2) as u32, 110 + 10 * turn, 0))
            .collect();
        let told = divide(&seen(&all), &[look(207, 3, 2_105)]);
        let known = REMEMBERED;
        assert_eq!(told.len(), known);
        let ns: u64 = told.iter().map(|(_, ns, _)| ns).sum();
        // From when the oldest of them is seen to have it: the last is looked at for 5 ns.
        assert_eq!(ns, 10 * known as u64 - 5);
        let sames = (told.iter().rev().zip([3, 2].into_iter().cycle()))
            .all(|(one, holder)| one.0 == holder);
        assert!(sames, "{told:?}");
    }

    #[test]
    fn what_is_seen_twice_was_so_at_first() {
        let turns = seen(&[(8, 2, 130, 0), (8, 2, 190, 0)]);
        let told = divide(&turns, &[look(8, 2, 200)]);
        assert_eq!(told, [(1, 30, 30), (2, 70, 70)]);
    }

    #[test]
    fn a_part_counts_once_however_often_it_grows() {
        let mut blocked = Blocked::default();
        for (ns, part_ns) in [(50, 50), (70, 120), (10, 10)] {
            blocked.add(&Piece {
                number: 7,
                holder: 1,
                ns,
                part_ns,
                parts: Parts::default(),
            });
        }
        assert_eq!(
            (blocked.parts, blocked.sum_ns, blocked.max_ns),
            (2, 130, 120)
        );
    }

    /// So many frames a second and no more, and the last of them only for who has waited long.
    #[test]
    fn stacks_are_read_at_a_bounded_rate() {
        const SECOND_NS: u64 = 1_000_000_000;
        let (mut budget, mut short, mut long) = (StackBudget::default(), 0, 0);
        for at in 0..10_000_u64 {
            let now_ns = SECOND_NS + at * 100_000;
            for (waited_ns, read) in [(900_000, &mut short), (5_000_000, &mut long)] {
                if budget.allows(now_ns, waited_ns, at) {
                    budget.spend(now_ns, 21);
                    *read += 1;
                }
            }
        }
        // One second, and what may be spent in advance.
        assert!((2_150..=2_210).contains(&(short + long)), "{short} {long}");
        assert!(short <= 110, "{short}");
    }

    /// Where there are too many that are short, both sides choose the same ones.
    #[test]
    fn of_short_turns_the_same_are_looked_at_by_both_sides() {
        const SECOND_NS: u64 = 1_000_000_000;
        let (mut budget, mut one, mut both) = (StackBudget::default(), 0, 0);
        let mut of_second_thread = 0;
        for turn in 0..100_000_u64 {
            let now_ns = SECOND_NS + turn * 10_000;
            let read = [0, 1_000].map(|after_ns| {
                let allows = budget.allows(now_ns + after_ns, 8_000, turn);
                if allows {
                    budget.spend(now_ns + after_ns, 6);
                }
                allows
            });
            one += u64::from(read[0] != read[1]);
            both += u64::from(read[0] && read[1]);
            of_second_thread += u64::from(read[0] && read[1]) * (turn % 2);
        }
        let of_first_thread = both - of_second_thread;
        assert!(
            of_first_thread < 2 * of_second_thread && of_second_thread < 2 * of_first_thread,
            "{of_first_thread} {of_second_thread}"
        );
        assert!((3_300..=3_600).contains(&(one + 2 * both)), "{one} {both}");
        assert!(both >= 3 * one, "{one} {both}");
    }
}
