//! What a thread did in a stretch of time: it was on the CPU, runnable, or asleep in a system call.
//!
//! Told by two snapshots of its scheduling ([`crate::sched::Sched`]), one at either end. What they cannot tell is unknown.

/// What a thread sleeps in: the number of a system call (x86-64: `arch/x86/entry/syscalls/syscall_64.tbl`), or one of these.
pub mod call {
    /// Nobody knows.
    pub const UNKNOWN: u16 = u16::MAX;
    /// No system call: a page fault, as a rule.
    pub const NONE: u16 = u16::MAX - 1;
    /// It has not slept since it last had the GIL.
    pub const EVAL_LOOP: u16 = u16::MAX - 2;
    /// `futex`.
    pub const FUTEX: u16 = 202;

    /// From `pt_regs.orig_ax`, which is negative where the kernel was not entered by a system call
    /// (`arch/x86/entry/entry_64.S`).
    #[inline(always)]
    pub const fn of(orig_ax: u64) -> u16 {
        if orig_ax < EVAL_LOOP as u64 {
            orig_ax as u16
        } else {
            NONE
        }
    }
}

/// Values of [`Snapshot::known`].
pub mod known {
    /// There is no snapshot.
    pub const NOTHING: u8 = 0;
    /// The thread was on the CPU or runnable.
    pub const AWAKE: u8 = 1;
    /// It was asleep.
    pub const ASLEEP: u8 = 2;
}

/// Two snapshots tell the time between them up to this much: a thread may change its state while another looks.
pub const SKEW_NS: u64 = 10_000;

/// A call counts as what a thread came back from if the thread was at most so long on the CPU since. Longer, it has had the GIL, unseen, in between.
pub const RETURN_CPU_NS: u64 = 200_000;

/// A thread's scheduling so far, at one moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// On the CPU, the present stretch included.
    pub on_cpu_ns: u64,
    /// Runnable, the present stretch included.
    pub runnable_ns: u64,
    /// Times that it went to sleep by itself; wraps.
    pub sleeps: u16,
    /// Times that it went to sleep in another call than the time before; wraps.
    pub call_changes: u16,
    /// What it slept in last, as [`call`] says.
    pub call: u16,
    /// Times that it went to sleep without a GIL; wraps.
    pub sleeps_without_gil: u8,
    /// One of [`known`].
    pub known: u8,
}

impl Snapshot {
    /// None.
    pub const NONE: Self = Self {
        on_cpu_ns: 0,
        runnable_ns: 0,
        sleeps: 0,
        call_changes: 0,
        call: call::UNKNOWN,
        sleeps_without_gil: 0,
        known: known::NOTHING,
    };
}

/// A stretch of time in which a thread had no processor, so it can neither have taken a GIL nor dropped one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffCpu {
    /// From then on,
    pub from_ns: u64,
    /// until then; 0: none is known.
    pub until_ns: u64,
}

impl OffCpu {
    /// None is known.
    pub const NONE: Self = Self {
        from_ns: 0,
        until_ns: 0,
    };
}

/// What a thread did for a time. What is missing to the time is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// On the CPU.
    pub on_cpu_ns: u64,
    /// Runnable: preempted, or woken and not yet scheduled.
    pub runnable_ns: u64,
    /// Asleep.
    pub asleep_ns: u64,
    /// Times that it fell asleep.
    pub sleeps: u32,
    /// What it slept in, as [`call`] says; unknown if it were several.
    pub call: u32,
}

impl Parts {
    /// What a thread did in the `ns` between two snapshots of it, at both of which it had the GIL. If it slept without in between, it has let go of
    /// the GIL and taken it again, and the time asleep is not known to be with it.
    #[inline(always)]
    pub fn between(from: &Snapshot, to: &Snapshot, ns: u64) -> Self {
        let mut parts = Self {
            call: call::UNKNOWN as u32,
            ..Self::default()
        };
        let on_cpu_ns = to.on_cpu_ns.wrapping_sub(from.on_cpu_ns);
        let runnable_ns = to.runnable_ns.wrapping_sub(from.runnable_ns);
        let longest_ns = ns + SKEW_NS;
        if from.known == known::NOTHING
            || to.known == known::NOTHING
            || on_cpu_ns > longest_ns
            || runnable_ns > longest_ns
            || on_cpu_ns + runnable_ns > longest_ns
        {
            return parts;
        }
        parts.on_cpu_ns = if on_cpu_ns < ns { on_cpu_ns } else { ns };
        let rest_ns = ns - parts.on_cpu_ns;
        parts.runnable_ns = if runnable_ns < rest_ns {
            runnable_ns
        } else {
            rest_ns
        };
        parts.sleeps = to.sleeps.wrapping_sub(from.sleeps) as u32;
        let was_asleep = from.known == known::ASLEEP;
        let let_go = to.sleeps_without_gil != from.sleeps_without_gil;
        // Without a sleep, what is missing is the looks' own delay.
        if (was_asleep || parts.sleeps > 0) && (!let_go || is_one_sleep(from, to)) {
            parts.asleep_ns = rest_ns - parts.runnable_ns;
            let changes = to.call_changes.wrapping_sub(from.call_changes);
            if changes == 0 || (changes == 1 && !was_asleep && parts.sleeps == 1) {
                parts.call = to.call as u32;
            }
        }
        parts
    }
}

/// Whether there was but one sleep, in which the thread was seen to have the GIL.
#[inline(always)]
fn is_one_sleep(from: &Snapshot, to: &Snapshot) -> bool {
    let more = to.sleeps.wrapping_sub(from.sleeps);
    from.known != known::ASLEEP && to.known == known::ASLEEP && more == 1
}

/// What a thread slept in last, apart from its waits for a GIL.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slept {
    /// Its time on the CPU then.
    pub cpu_ns: u64,
    /// As [`call`] says.
    pub call: u32,
    /// Explicit padding.
    pub padding: u32,
}

impl Slept {
    /// It has not slept since it last had the GIL.
    pub const NONE: Self = Self {
        cpu_ns: 0,
        call: call::EVAL_LOOP as u32,
        padding: 0,
    };

    /// It goes to sleep.
    #[inline(always)]
    pub fn sleeps(&mut self, call: u16, cpu_ns: u64) {
        self.call = call as u32;
        self.cpu_ns = cpu_ns;
    }

    /// It has, or has had, the GIL.
    #[inline(always)]
    pub fn has_gil(&mut self) {
        self.call = call::EVAL_LOOP as u32;
    }

    /// A wait for the GIL begins: what the thread has come back from.
    #[inline(always)]
    pub fn returns(&mut self, cpu_ns: u64) -> u32 {
        let call = self.call;
        self.has_gil();
        if cpu_ns.saturating_sub(self.cpu_ns) <= RETURN_CPU_NS {
            call
        } else {
            call::EVAL_LOOP as u32
        }
    }
}

impl Default for Slept {
    fn default() -> Self {
        Self::NONE
    }
}

const _: () = {
    assert!(size_of::<Snapshot>() == 24);
    assert!(size_of::<OffCpu>() == 16);
    assert!(size_of::<Slept>() == 16);
};

#[cfg(test)]
mod tests;
