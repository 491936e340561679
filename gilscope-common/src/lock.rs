//! From futex sleeps to waits for locks other than a GIL.
//!
//! A lock here is whatever a thread sleeps on by a private futex that is no GIL's: a semaphore, a mutex, a condition variable, or
//! CPython's own `PyMutex`. One acquisition may sleep several times: who is woken finds the lock taken again and
//! sleeps again. Its sleeps are one wait, which is as long as they are together. What ends a wait is a proof that the thread has gone on:
//!
//! * any other futex call of its own, such as the one by which it lets go of the lock, waits for the GIL or gives it away; but none on
//!   the GIL within a wait for a `PyMutex`, which takes the GIL each time that it is woken
//!   (CPython `Python/parking_lot.c`: `_PySemaphore_Wait`, 3.13 – 3.15);
//! * leaving the processor by itself outside these sleeps;
//! * being the last that had the GIL as it goes to sleep on the same lock again: whoever gave it the lock had the GIL then, so it has taken it
//!   since; again, but for a `PyMutex`, whose call is known by what it keeps on the stack;
//! * where none of these was seen before it sleeps on the same lock again: it ran longer than a retry takes ([`retry_cpu_ns`]).
//!
//! That is seldom left to time: a mutex that was waited for is given back by a futex call, and CPython takes the GIL when it has the lock.

use crate::wait::EAGAIN;

/// What a lock is, as far as the function that waits tells it.
pub mod kind {
    /// Nothing that is known.
    pub const UNKNOWN: u32 = 0;
    /// A POSIX semaphore: `threading.Lock` to CPython 3.13.0.
    pub const SEMAPHORE: u32 = 1;
    /// A POSIX condition variable.
    pub const CONDVAR: u32 = 2;
    /// A POSIX mutex.
    pub const MUTEX: u32 = 3;
    /// A POSIX read-write lock.
    pub const RWLOCK: u32 = 4;
    /// CPython's parking lot (3.13+), where `PyMutex` waits.
    pub const PARKED: u32 = 5;
    /// The same, for the end of a stop-the-world pause (free-threaded builds).
    pub const STOPPED: u32 = 6;
}

/// What the thread is doing.
pub mod phase {
    /// Nothing to do with a lock.
    pub const IDLE: u32 = 0;
    /// Asleep.
    pub const ASLEEP: u32 = 1;
    /// Awake, and not yet known to be past its acquisition.
    pub const AWAKE: u32 = 2;
}

/// More processor time than this between two sleeps means that the thread was past its acquisition in between.
const fn retry_cpu_ns(kind: u32) -> u64 {
    match kind {
        // As good as told by futex calls. With 2 µs, up to 14 % of `threading.Lock`'s waits fell apart where a thread was woken
        // on a processor that had been idle; with this none did (3.8, 3.11, tests/workloads/locks.py).
        kind::SEMAPHORE | kind::MUTEX | kind::RWLOCK => 20_000,
        // Who is woken from a condition variable has what it waited for, as a rule.
        _ => 2_000,
    }
}

const fn is_parked(kind: u32) -> bool {
    kind == kind::PARKED || kind == kind::STOPPED
}

/// What the kernel counted of a thread's waits for locks: complete even where records were lost.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockTotals {
    /// Finished waits.
    pub waits: u64,
    /// Their time.
    pub sum_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// Which lock, and what is known of the place where the thread waits for it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockPlace {
    /// Address of the lock; where that is not known, of the futex word. Of a stop-the-world pause the id of the thread that
    /// asked for it, in its PID namespace; 0: not known.
    pub address: u64,
    /// Address of the code object of the Python function that waits; 0 where it is not known.
    pub code: u64,
    /// Address of the code object of the one that called it; 0 where there is none, or it is not known.
    pub caller: u64,
    /// One of [`kind`].
    pub kind: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// What is known as a thread goes to sleep on a lock.
#[derive(Clone, Copy, Debug)]
pub struct Sleep {
    /// Which lock.
    pub place: LockPlace,
    /// What tells one call that waits in the parking lot from another; 0: nothing.
    pub call: u64,
    /// The thread was the last to have the GIL.
    pub had_gil: bool,
    /// When.
    pub now_ns: u64,
    /// The thread's processor time.
    pub cpu_ns: u64,
}

/// A thread's present wait for a lock.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// What it waits for, or has waited for last.
    pub place: LockPlace,
    /// [`Sleep::call`].
    pub call: u64,
    /// First sleep's entry.
    pub start_ns: u64,
    /// The present, or last, sleep's entry.
    pub sleep_ns: u64,
    /// While it sleeps, when it last got a processor.
    pub end_ns: u64,
    /// Time asleep in the sleeps of this wait that are over.
    pub slept_ns: u64,
    /// The thread's processor time at the last sleep's exit.
    pub cpu_ns: u64,
    /// What has finished so far.
    pub totals: LockTotals,
    /// One of [`phase`].
    pub phase: u32,
    /// It was under way when tracing began.
    pub cut_at_start: u32,
}

impl Lock {
    /// None so far.
    pub const NONE: Self = Self {
        place: LockPlace {
            address: 0,
            code: 0,
            caller: 0,
            kind: kind::UNKNOWN,
            padding: 0,
        },
        call: 0,
        start_ns: 0,
        sleep_ns: 0,
        end_ns: 0,
        slept_ns: 0,
        cpu_ns: 0,
        totals: LockTotals {
            waits: 0,
            sum_ns: 0,
            max_ns: 0,
        },
        phase: phase::IDLE,
        cut_at_start: 0,
    };

    /// A thread found asleep when tracing began.
    pub fn cut_at_start(place: LockPlace, now_ns: u64) -> Self {
        Self {
            place,
            start_ns: now_ns,
            sleep_ns: now_ns,
            end_ns: now_ns,
            phase: phase::ASLEEP,
            cut_at_start: 1,
            ..Self::default()
        }
    }

    /// The thread goes to sleep on a lock. Answers false if that cannot be the wait that is open: then that one has to
    /// be ended ([`Lock::ends`]) and this one begun.
    #[inline(always)]
    pub fn sleeps_again(&mut self, sleep: &Sleep) -> bool {
        self.must_be_awake();
        let continues = self.phase == phase::AWAKE
            && self.place.address == sleep.place.address
            && self.is_same_call(sleep);
        if continues {
            self.falls_asleep(sleep.now_ns);
        }
        continues
    }

    #[inline(always)]
    fn is_same_call(&self, sleep: &Sleep) -> bool {
        if is_parked(sleep.place.kind) {
            return sleep.call != 0 && sleep.call == self.call;
        }
        let ran_ns = sleep.cpu_ns.saturating_sub(self.cpu_ns);
        !sleep.had_gil && ran_ns <= retry_cpu_ns(self.place.kind)
    }

    /// A wait begins.
    #[inline(always)]
    pub fn begins(&mut self, sleep: &Sleep) {
        self.place = sleep.place;
        self.call = sleep.call;
        self.start_ns = sleep.now_ns;
        self.slept_ns = 0;
        self.cut_at_start = 0;
        self.falls_asleep(sleep.now_ns);
    }

    #[inline(always)]
    fn falls_asleep(&mut self, now_ns: u64) {
        self.sleep_ns = now_ns;
        self.end_ns = now_ns;
        self.phase = phase::ASLEEP;
    }

    /// The sleep is over; `result` is the system call's.
    #[inline(always)]
    pub fn wakes_up(&mut self, now_ns: u64, cpu_ns: u64, result: i64) {
        if self.phase != phase::ASLEEP {
            return;
        }
        self.phase = phase::AWAKE;
        self.cpu_ns = cpu_ns;
        // Refused: the lock was given back before the thread slept.
        if result != EAGAIN {
            self.slept_ns += now_ns.saturating_sub(self.sleep_ns);
        }
    }

    /// The thread sleeps on a GIL's word, or wakes others on one. Answers whether a wait has finished.
    #[inline(always)]
    pub fn uses_gil(&mut self) -> bool {
        self.must_be_awake();
        !is_parked(self.place.kind) && self.is_no_longer_seen()
    }

    /// The thread leaves the processor; `in_gil`: in a wait for the GIL. Answers whether a wait has finished.
    #[inline(always)]
    pub fn leaves_cpu(&mut self, voluntary: bool, in_gil: bool) -> bool {
        voluntary && !in_gil && self.phase == phase::AWAKE && self.ends()
    }

    /// The thread gets a processor.
    #[inline(always)]
    pub fn enters_cpu(&mut self, now_ns: u64) {
        if self.phase == phase::ASLEEP {
            self.end_ns = now_ns;
        }
    }

    /// The thread acts, so its sleep is over, though nobody has seen the end of it ([`crate::wait`] says when that happens).
    #[inline(always)]
    fn must_be_awake(&mut self) {
        if self.phase == phase::ASLEEP {
            self.phase = phase::AWAKE;
            self.slept_ns += self.end_ns.saturating_sub(self.sleep_ns);
        }
    }

    /// The thread acts outside an acquisition: what is open, if anything, is over. Answers whether a wait has finished; until the next
    /// one begins, the fields are those of it.
    #[inline(always)]
    pub fn ends(&mut self) -> bool {
        self.must_be_awake();
        self.is_no_longer_seen()
    }

    /// The thread ends, or tracing does. What it sleeps in stays unfinished.
    #[inline(always)]
    pub fn is_no_longer_seen(&mut self) -> bool {
        if self.phase != phase::AWAKE {
            return false;
        }
        self.phase = phase::IDLE;
        // Only refused: it never slept.
        if self.slept_ns == 0 {
            return false;
        }
        if self.cut_at_start == 0 {
            self.totals.waits += 1;
            self.totals.sum_ns += self.slept_ns;
            if self.slept_ns > self.totals.max_ns {
                self.totals.max_ns = self.slept_ns;
            }
        }
        true
    }

    /// Time asleep so far in the wait that is under way at `now_ns`; 0 if there is none.
    pub fn open_ns(&self, now_ns: u64) -> u64 {
        match self.phase {
            phase::ASLEEP => self.slept_ns + now_ns.saturating_sub(self.sleep_ns),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
