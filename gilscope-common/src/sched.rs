//! A thread's time on and for the processor, from the scheduler's events.

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
    /// Explicit, so that no byte of the record is undefined.
    pub padding: u32,
}

impl Sched {
    /// A thread first seen at `now_ns`, in a state that its first event will tell.
    #[inline(always)]
    pub const fn seen(now_ns: u64, state: u32) -> Self {
        Self {
            since_ns: now_ns,
            on_cpu_ns: 0,
            runnable_ns: 0,
            voluntary_switches: 0,
            involuntary_switches: 0,
            state,
            padding: 0,
        }
    }

    /// It leaves the processor, by itself or not.
    #[inline(always)]
    pub fn leaves_cpu(&mut self, now_ns: u64, voluntary: bool) {
        self.on_cpu_ns = self.cpu_time_ns(now_ns);
        self.since_ns = now_ns;
        if voluntary {
            self.voluntary_switches += 1;
            self.state = state::ASLEEP;
        } else {
            self.involuntary_switches += 1;
            self.state = state::RUNNABLE;
        }
    }

    /// It gets a processor.
    #[inline(always)]
    pub fn enters_cpu(&mut self, now_ns: u64) {
        if self.state == state::RUNNABLE || self.state == state::UNKNOWN {
            self.runnable_ns += now_ns.saturating_sub(self.since_ns);
        }
        self.since_ns = now_ns;
        self.state = state::ON_CPU;
    }

    /// It is woken. A wake-up that races with its going to sleep finds it still on the processor:
    /// it then never leaves, or leaves as runnable.
    #[inline(always)]
    pub fn woken(&mut self, now_ns: u64) {
        if self.state == state::ASLEEP || self.state == state::UNKNOWN {
            self.since_ns = now_ns;
            self.state = state::RUNNABLE;
        }
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
