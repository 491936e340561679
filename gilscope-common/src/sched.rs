//! A thread's time on and for the processor, from the scheduler's events.
//!
//! Another thread may look at it at any time, so each change is between two steps of [`Sched::version`]. On x86 processors see each other's
//! stores in the order in which they are made, and loads keep theirs (Intel SDM, volume 3, 10.2.2); volatile keeps the compiler to it.

use crate::parts::{OffCpu, Snapshot, call, known};
use core::ptr::{read_volatile, write_volatile};

/// Where a thread is, as far as its events have told.
pub mod state {
    /// No event yet; it was running or ready to run when first seen.
    pub const UNKNOWN: u32 = 0;
    /// Running.
    pub const ON_CPU: u32 = 1;
    /// Ready to run, without a processor.
    pub const RUNNABLE: u32 = 2;
    /// Waiting for something.
    pub const ASLEEP: u32 = 3;
}

/// A thread's scheduling so far. Sums are complete up to [`Sched::since_ns`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sched {
    /// When it entered [`Sched::state`]; at first, when it was first seen.
    pub since_ns: u64,
    /// When it left the processor last; 0: not seen.
    pub left_cpu_ns: u64,
    /// Time on a processor.
    pub on_cpu_ns: u64,
    /// Time ready to run, without a processor.
    pub runnable_ns: u64,
    /// Times that it went to sleep by itself.
    pub voluntary_switches: u64,
    /// Times that it was taken off the processor.
    pub involuntary_switches: u64,
    /// One of [`state`].
    pub state: u32,
    /// Odd while the rest is being written.
    pub version: u32,
    /// What it slept in last, as [`call`] says.
    pub call: u16,
    /// Times that it went to sleep in another call than the time before; wraps.
    pub call_changes: u16,
    /// Of the times that it went to sleep, those without a GIL; wraps.
    pub sleeps_without_gil: u32,
}

impl Sched {
    /// A thread first seen at `now_ns`, in a state that its first event will tell.
    #[inline(always)]
    pub const fn seen(now_ns: u64, state: u32) -> Self {
        Self {
            since_ns: now_ns,
            left_cpu_ns: 0,
            on_cpu_ns: 0,
            runnable_ns: 0,
            voluntary_switches: 0,
            involuntary_switches: 0,
            state,
            version: 0,
            call: call::UNKNOWN,
            call_changes: 0,
            sleeps_without_gil: 0,
        }
    }

    /// It leaves the processor, by itself and to sleep in that call, or not.
    #[inline(always)]
    pub fn leaves_cpu(&mut self, now_ns: u64, voluntary: bool, call: u16, has_gil: bool) {
        let on_cpu_ns = self.cpu_time_ns(now_ns);
        self.steps();
        store(on_cpu_ns, &mut self.on_cpu_ns);
        store(now_ns, &mut self.left_cpu_ns);
        if voluntary {
            store(self.voluntary_switches + 1, &mut self.voluntary_switches);
            if self.call != call {
                store(self.call_changes.wrapping_add(1), &mut self.call_changes);
                store(call, &mut self.call);
            }
            if !has_gil {
                let without_gil = self.sleeps_without_gil.wrapping_add(1);
                store(without_gil, &mut self.sleeps_without_gil);
            }
            self.enters(state::ASLEEP, now_ns);
        } else {
            self.involuntary_switches += 1;
            self.enters(state::RUNNABLE, now_ns);
        }
        self.steps();
    }

    #[inline(always)]
    fn steps(&mut self) {
        store(self.version.wrapping_add(1), &mut self.version);
    }

    #[inline(always)]
    fn enters(&mut self, state: u32, now_ns: u64) {
        store(now_ns, &mut self.since_ns);
        store(state, &mut self.state);
    }

    /// It gets a processor.
    #[inline(always)]
    pub fn enters_cpu(&mut self, now_ns: u64) {
        self.steps();
        if self.state == state::RUNNABLE || self.state == state::UNKNOWN {
            let ns = now_ns.saturating_sub(self.since_ns);
            store(self.runnable_ns + ns, &mut self.runnable_ns);
        }
        self.enters(state::ON_CPU, now_ns);
        self.steps();
    }

    /// It is woken. A wake-up that races with its going to sleep finds it still on the processor:
    /// it then never leaves, or leaves as runnable.
    #[inline(always)]
    pub fn woken(&mut self, now_ns: u64) {
        if self.state == state::ASLEEP || self.state == state::UNKNOWN {
            self.steps();
            self.enters(state::RUNNABLE, now_ns);
            self.steps();
        }
    }

    /// When it had no processor last, and its processor time by then, for another thread too; it has none yet if that ends at `now_ns`. None if it is
    /// just being written, or was not seen to leave the processor.
    #[inline(always)]
    pub fn had_no_cpu(&self, now_ns: u64) -> Option<(OffCpu, u64)> {
        let version = load(&self.version);
        let state = load(&self.state);
        let (since_ns, from_ns) = (load(&self.since_ns), load(&self.left_cpu_ns));
        let on_cpu_ns = load(&self.on_cpu_ns);
        let is_whole = version & 1 == 0 && version == load(&self.version);
        if !is_whole || from_ns == 0 || state == state::UNKNOWN {
            return None;
        }
        let until_ns = match state {
            state::ON_CPU => since_ns,
            _ => now_ns,
        };
        Some((OffCpu { from_ns, until_ns }, on_cpu_ns))
    }

    /// When it was off the processor last, of a thread that has one now.
    #[inline(always)]
    pub fn was_off_cpu(&self) -> OffCpu {
        let version = load(&self.version);
        let state = load(&self.state);
        let off_cpu = OffCpu {
            from_ns: load(&self.left_cpu_ns),
            until_ns: load(&self.since_ns),
        };
        let is_whole = version & 1 == 0 && version == load(&self.version);
        match state {
            state::ON_CPU if is_whole && off_cpu.from_ns != 0 => off_cpu,
            _ => OffCpu::NONE,
        }
    }

    /// What it is now, for whoever looks; nothing is known if it is just being written, or the thread had no event yet.
    #[inline(always)]
    pub fn look(&self, now_ns: u64, into: &mut Snapshot) {
        into.known = known::NOTHING;
        // Who writes is done in nanoseconds.
        if !self.copy(now_ns, into) {
            self.copy(now_ns, into);
        }
    }

    /// Answers whether it was not written meanwhile.
    #[inline(always)]
    fn copy(&self, now_ns: u64, into: &mut Snapshot) -> bool {
        let version = load(&self.version);
        let state = load(&self.state);
        let since_ns = load(&self.since_ns);
        let ns = now_ns.saturating_sub(since_ns);
        into.on_cpu_ns = load(&self.on_cpu_ns);
        into.runnable_ns = load(&self.runnable_ns);
        into.sleeps = load(&self.voluntary_switches) as u16;
        into.call_changes = load(&self.call_changes);
        into.call = load(&self.call);
        into.sleeps_without_gil = load(&self.sleeps_without_gil) as u8;
        if version & 1 != 0 || version != load(&self.version) {
            return false;
        }
        into.known = known::AWAKE;
        match state {
            state::ON_CPU => into.on_cpu_ns += ns,
            state::RUNNABLE => into.runnable_ns += ns,
            // Between the look at the GIL and this it may have let go of it.
            state::ASLEEP if since_ns <= now_ns => into.known = known::ASLEEP,
            state::ASLEEP => {}
            _ => into.known = known::NOTHING,
        }
        true
    }

    /// Its processor time up to now. A thread without an event so far is taken to be running: the
    /// callers are the thread itself, or its first switch away.
    #[inline(always)]
    pub fn cpu_time_ns(&self, now_ns: u64) -> u64 {
        match self.state {
            state::ON_CPU | state::UNKNOWN => self.on_cpu_ns + now_ns.saturating_sub(self.since_ns),
            _ => self.on_cpu_ns,
        }
    }
}

/// For fields that another thread may read meanwhile.
#[inline(always)]
pub(crate) fn store<T>(value: T, field: &mut T) {
    // SAFETY: a reference is valid for writes.
    unsafe { write_volatile(field, value) };
}

/// For fields that another thread may write meanwhile.
#[inline(always)]
pub(crate) fn load<T: Copy>(field: &T) -> T {
    // SAFETY: a reference is valid for reads.
    unsafe { read_volatile(field) }
}
