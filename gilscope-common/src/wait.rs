//! From futex events to acquisitions: the one state machine of the waits for a GIL.
//!
//! A thread that wants the GIL sleeps many times, 5 ms at most each, before it gets it: the sleeps
//! of one `take_gil` are one wait. There is no event for "got it". What ends a wait is a proof that
//! the thread has been past its `take_gil`:
//!
//! * its own `FUTEX_WAKE` on the condition variable while it owns the GIL's mutex: it ran
//!   `drop_gil` (a waiter that passes a signal on does not own the mutex);
//! * its own `FUTEX_WAKE` on the condition variable of the forced switch: it has taken the GIL;
//! * a forced switch: it is in `drop_gil`;
//! * a sleep on the GIL's mutex while it is the holder: it is in `drop_gil`;
//! * a wake-up on the mutex while it is the last holder: it unlocks it at the end of `take_gil`, or
//!   in `drop_gil`. After a wait there always is one: the condvar takes the mutex back as if others
//!   waited for it (glibc `sysdeps/nptl/lowlevellock.h`: `lll_cond_lock`), so unlocking it wakes;
//! * a futex call on any other word, or leaving the processor by itself outside these sleeps: it
//!   runs Python again;
//! * where none of these was seen before the next sleep: it ran longer than a retry takes while the
//!   GIL changed hands at least twice ([`RETRY_CPU_NS`]).
//!
//! Of a semaphore (2.7) there are other proofs: its own wake-up is a release; it is named as the holder as it leaves the
//! processor; its Python program has gone on; it was preempted anywhere but on the way out of its sleep. And there are two of a retry: who waited as it woke up has not been
//! woken; it was preempted, and its program stands where it stood.
//!
//! Sources: `Python/ceval_gil.h` (3.7 – 3.11) and `Python/ceval_gil.c` (3.12+): `take_gil`,
//! `drop_gil`; glibc `nptl/pthread_cond_wait.c`, `nptl/pthread_cond_signal.c` (2.31 – 2.43).

/// What a futex word is to a GIL.
pub mod word {
    /// One of the condition variable's words.
    pub const COND: u32 = 1;
    /// The mutex around the fields.
    pub const MUTEX: u32 = 2;
    /// One of the words of the forced switch's condition variable.
    pub const SWITCH_COND: u32 = 3;
    /// The mutex of the forced switch.
    pub const SWITCH_MUTEX: u32 = 4;
    /// A word that either condition variable keeps for itself, such as its group references: used
    /// inside a wait or a signal, and a sign of neither.
    pub const INNER: u32 = 5;
    /// The semaphore that the whole GIL is (CPython 2.7).
    pub const SEMAPHORE: u32 = 6;
}

/// What an interval is.
pub mod kind {
    /// A contended acquisition.
    pub const WAIT: u32 = 1;
    /// A forced switch.
    pub const YIELD: u32 = 2;
}

/// What the thread is doing.
pub mod phase {
    /// Nothing to do with a GIL.
    pub const IDLE: u32 = 0;
    /// Asleep in [`super::Wait::kind`].
    pub const ASLEEP: u32 = 1;
    /// Awake, and not yet known to be past its `take_gil` or `drop_gil`.
    pub const AWAKE: u32 = 2;
}

/// More processor time than this between two sleeps, together with two changes of holder, means
/// that the GIL was taken and released in between. The last resort: of 430,000 waits none needed it
/// (7 CPython versions and workloads beside the oracle), and a retry takes 1 – 3 µs, 32 µs at p99.9
/// with the oracle's probes in its way.
pub const RETRY_CPU_NS: u64 = 1_000_000;

/// The same for a semaphore, of which nothing tells who had it meanwhile: more processor time than this after a wake-up
/// means that the thread had it, and has given it back when nobody waited, which makes no futex call. Measured on 2.7.18
/// (x86-64, 3 workloads, 40,000 retries and 20,000 times that it had it): a retry takes 0.6 – 1.6 µs (p99.5: 2.0), the rest at least 1.6 (1 %: 2.6, of which the probe that told them apart took 0.6).
pub const SEMAPHORE_RETRY_CPU_NS: u64 = 2_000;

/// The same after a sleep that was refused (`EAGAIN`), which takes less: 0.4 – 1.0 µs (p98: 1.2), the rest at least 1.2.
pub const SEMAPHORE_REFUSED_CPU_NS: u64 = 1_200;

/// The same where the thread was taken off the processor meanwhile, and others waited before and after. A machine of many
/// takes the time of others for the thread's.
pub const PREEMPTED_RETRY_CPU_NS: u64 = 10_000_000;

/// What it adds to that to be put back on a processor on the way out of the sleep: of 510 such retries 1.3 – 3.5 µs in all, 280 that had it at
/// least 4.4 (2.7.18 and Debian's, 4 workloads, with the oracle's probes in their way).
pub const RESUMPTION_NS: u64 = 3_000;

/// [`Wait::preempted_at`] of a thread that was taken off the processor at several places. No program lies there.
pub const SEVERAL: u64 = u64::MAX;

/// What it costs a thread in processor time to be taken off the processor and put back, where it is not known at which place it was.
pub const PREEMPTION_CPU_NS: u64 = 100_000;

/// Waits at another place each than the one before, after which a thread counts again as one that does not wait at one place.
pub const REPEATS: u32 = 64;

/// `-EAGAIN`: the word had changed already, so the thread did not sleep.
pub const EAGAIN: i64 = -11;

/// `-ETIMEDOUT` (`include/uapi/asm-generic/errno.h`).
pub const ETIMEDOUT: i64 = -110;

/// The GIL's fields as read at an event; the order is that of `struct _gil_runtime_state`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GilView {
    /// The thread state that holds it, or held it last.
    pub last_holder: u64,
    /// Held.
    pub locked: i32,
    /// Of a semaphore, the threads that sleep on it or are about to, besides this one. Else what the target has between its
    /// fields.
    pub other_waiters: u32,
    /// Changes of holder. A semaphore does not count them: there how often the thread was taken off the
    /// processor, which costs processor time.
    pub switch_number: u64,
}

/// Readings of a GIL's fields in which its holder changes, until no other is tried.
const READINGS: u32 = 3;

impl GilView {
    /// The fields as they were together at one instant: others write them meanwhile, and a thread may be preempted between two reads. None if
    /// they cannot be read, or change each time.
    #[inline(always)]
    pub fn at_one_instant(
        number: impl Fn() -> Option<u64>,
        fields: impl Fn() -> Option<Self>,
    ) -> Option<Self> {
        for _ in 0..READINGS {
            let before = number()?;
            // The number last: `take_gil` counts the change when it has written the others (`Python/ceval_gil.h`, 3.6; `.c`, 3.15).
            let view = fields()?;
            if view.switch_number == before {
                return Some(view);
            }
        }
        None
    }
}

/// Where a GIL's fields are in the target. In a `struct _gil_runtime_state` they follow each other as in [`GilView`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GilAddresses {
    /// Of `last_holder`; 0: of no GIL.
    pub last_holder: u64,
    /// Of `locked`.
    pub locked: u64,
    /// Of `switch_number`.
    pub switch_number: u64,
    /// Of the mutex around them; 0: there is none.
    pub mutex: u64,
}

impl GilAddresses {
    /// Whether a [`GilView`] can be read at once.
    #[inline(always)]
    pub fn are_one_view(&self) -> bool {
        self.locked == self.last_holder.wrapping_add(8)
            && self.switch_number == self.last_holder.wrapping_add(16)
    }
}

/// A finished interval.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// One of [`kind`].
    pub kind: u32,
    /// The GIL's index in its process.
    pub gil_id: u32,
    /// First sleep's entry.
    pub start_ns: u64,
    /// Last sleep's exit.
    pub end_ns: u64,
    /// Timed sleeps that ended by themselves.
    pub timeouts: u32,
    /// Woken, found it taken, slept again.
    pub futile_wakeups: u32,
    /// Voluntary switches made in its sleeps.
    pub switches: u32,
    /// It was under way when tracing began.
    pub cut_at_start: u32,
    /// Of its time, that on the CPU.
    pub on_cpu_ns: u64,
    /// Of its time, that runnable.
    pub runnable_ns: u64,
    /// What the thread came back from before it, as [`crate::parts::call`] says.
    pub after: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// A thread's present wait or forced switch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// First sleep's entry.
    pub start_ns: u64,
    /// Last sleep's exit; while it sleeps, when it last got a processor.
    pub end_ns: u64,
    /// The present, or last, sleep's entry.
    pub sleep_ns: u64,
    /// When it was woken in that sleep; 0: it was not.
    pub woken_ns: u64,
    /// The thread's processor time at the last sleep's exit.
    pub cpu_ns: u64,
    /// The same when it goes on in its program: what gilscope does meanwhile takes some as well.
    pub back_cpu_ns: u64,
    /// Its time runnable at the last sleep's exit; while it sleeps, when it last got a processor.
    pub runnable_ns: u64,
    /// The thread's processor time at the first sleep's entry.
    pub start_cpu_ns: u64,
    /// Its time runnable then.
    pub start_runnable_ns: u64,
    /// The GIL's changes of holder at the last sleep's exit, as [`GilView::switch_number`].
    pub switch_number: u64,
    /// Where the fields of the GIL of the present sleep are.
    pub fields: GilAddresses,
    /// Stack pointer at the entry of the waiting function, where that is what is measured.
    pub stack_pointer: u64,
    /// What has finished last.
    pub finished: Finished,
    /// The thread's state, once it is known: from its own `drop_gil`, or since it was seen to have a semaphore.
    pub tstate: u64,
    /// Where in its Python program the thread waits, as [`Sleep::position`].
    pub position: u64,
    /// Of a semaphore, the address in the program at which it was taken off the processor since its last sleep's exit; 0: it was not,
    /// or that is not known; or [`SEVERAL`].
    pub preempted_at: u64,
    /// The GIL's index in its process.
    pub gil_id: u32,
    /// One of [`phase`].
    pub phase: u32,
    /// One of [`kind`], while not idle.
    pub kind: u32,
    /// The word of the present sleep, one of [`word`].
    pub word: u32,
    /// Timed sleeps that ended by themselves.
    pub timeouts: u32,
    /// Woken, found it taken, slept again.
    pub futile_wakeups: u32,
    /// Voluntary switches made in its sleeps.
    pub switches: u32,
    /// The last sleep on the condition variable ended by a wake-up.
    pub woken: u32,
    /// It was under way when tracing began.
    pub cut_at_start: u32,
    /// It slept, or entered a timed wait: it is more than a mutex that refused to sleep.
    pub slept: u32,
    /// It entered a timed wait.
    pub timed: u32,
    /// Threads that slept on the semaphore, or were about to, besides this one at its last sleep's exit.
    pub other_waiters: u32,
    /// The wait before this one ended by a release that was seen.
    pub released: u32,
    /// Not 0: of late there were waits at one place in the program, one after the other, with such a release between them. Then to
    /// stand still proves nothing.
    pub repeats: u32,
    /// What the thread came back from before it, as [`crate::parts::call`] says.
    pub after: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// What is known as a thread goes to sleep on a GIL's word.
#[derive(Clone, Copy, Debug)]
pub struct Sleep {
    /// The GIL's index.
    pub gil_id: u32,
    /// One of [`word`].
    pub word: u32,
    /// A timed sleep on a signal word (`FUTEX_WAIT_BITSET`), not on the condvar's internal lock.
    pub bitset: bool,
    /// A sleep on a mutex by which its condvar takes it back, not by which `take_gil` or `drop_gil`
    /// takes it first: the thread has been in a wait for the condvar that made no futex call.
    pub takes_back: bool,
    /// A sleep on a mutex known to be by `pthread_mutex_lock`: on the GIL's, the first thing in
    /// `take_gil` or `drop_gil`.
    pub locks: bool,
    /// When.
    pub now_ns: u64,
    /// The thread's processor time.
    pub cpu_ns: u64,
    /// Of a semaphore, where in its Python program the thread is, as [`position`] says; 0: not known.
    pub position: u64,
    /// The address in the program to which the thread comes back from the sleep, if it was preempted since the last; else, or
    /// where that is not known, 0.
    pub returns_to: u64,
    /// How long it has had its processor.
    pub on_cpu_for_ns: u64,
    /// The GIL's fields.
    pub view: GilView,
}

/// A number for where a thread of CPython 2.7 is in its Python program: its frame, the instruction there, and how often it has
/// counted its check interval down. It changes with every instruction that is not a loop of few.
#[inline(always)]
pub fn position(frame: u64, instruction: u32, ticks: u32) -> u64 {
    frame.rotate_left(32) ^ ((instruction as u64) << 40) ^ ticks as u64
}

impl Sleep {
    /// By which a thread waits for the GIL itself, not for the mutex around it.
    #[inline(always)]
    const fn is_for_the_gil(&self) -> bool {
        self.word == word::SEMAPHORE || (self.word == word::COND && self.bitset)
    }
}

impl Wait {
    /// None so far.
    pub const NONE: Self = Self {
        start_ns: 0,
        end_ns: 0,
        sleep_ns: 0,
        woken_ns: 0,
        cpu_ns: 0,
        back_cpu_ns: 0,
        runnable_ns: 0,
        start_cpu_ns: 0,
        start_runnable_ns: 0,
        switch_number: 0,
        fields: GilAddresses {
            last_holder: 0,
            locked: 0,
            switch_number: 0,
            mutex: 0,
        },
        stack_pointer: 0,
        finished: Finished {
            kind: 0,
            gil_id: 0,
            start_ns: 0,
            end_ns: 0,
            timeouts: 0,
            futile_wakeups: 0,
            switches: 0,
            cut_at_start: 0,
            on_cpu_ns: 0,
            runnable_ns: 0,
            after: 0,
            padding: 0,
        },
        tstate: 0,
        position: 0,
        preempted_at: 0,
        gil_id: 0,
        phase: phase::IDLE,
        kind: 0,
        word: 0,
        timeouts: 0,
        futile_wakeups: 0,
        switches: 0,
        woken: 0,
        cut_at_start: 0,
        slept: 0,
        timed: 0,
        other_waiters: 0,
        released: 0,
        repeats: 0,
        after: 0,
        padding: 0,
    };

    /// A thread found asleep on a GIL's condition variable or semaphore when tracing began.
    pub const fn cut_at_start(gil_id: u32, word: u32, fields: GilAddresses, now_ns: u64) -> Self {
        Self {
            start_ns: now_ns,
            end_ns: now_ns,
            sleep_ns: now_ns,
            fields,
            gil_id,
            phase: phase::ASLEEP,
            kind: kind::WAIT,
            word,
            cut_at_start: 1,
            slept: 1,
            timed: 1,
            ..Self::NONE
        }
    }

    /// Under way for this GIL: asleep, in a wait and not in a forced switch.
    pub fn is_open_for(&self, gil_id: u32) -> bool {
        self.phase == phase::ASLEEP && self.kind == kind::WAIT && self.gil_id == gil_id
    }

    /// The thread goes to sleep on one of a GIL's words. This and what follows answers whether an
    /// interval has finished: then it is in [`Wait::finished`], which needs no room on the small
    /// stack of a program in the kernel.
    #[inline(always)]
    pub fn sleeps(&mut self, sleep: &Sleep) -> bool {
        self.must_be_awake();
        // `take_gil` locks its mutex once, before anything else.
        let mut finished = false;
        let locks = sleep.locks && sleep.word == word::MUTEX;
        if locks && self.phase == phase::AWAKE && self.timed != 0 {
            finished = self.finish();
        }
        let holds = self.tstate != 0 && sleep.view.last_holder == self.tstate;
        let purpose = match sleep.word {
            word::SWITCH_COND => kind::YIELD,
            word::COND if sleep.bitset => kind::WAIT,
            word::SEMAPHORE => kind::WAIT,
            word::MUTEX if sleep.takes_back => kind::WAIT,
            word::SWITCH_MUTEX if sleep.takes_back => kind::YIELD,
            // In `drop_gil`, before the GIL is given up: whatever was open is over.
            word::MUTEX if holds && sleep.view.locked != 0 => 0,
            word::MUTEX if sleep.view.locked == 0 || self.tstate != 0 => kind::WAIT,
            // The condvar's own words, the other mutex, or a mutex sleep that may be
            // `drop_gil`'s: part of what is open, never the beginning of something.
            _ if self.phase == phase::AWAKE && !holds && !self.ran_python(sleep, 1) => self.kind,
            _ => 0,
        };
        if purpose == 0 {
            return finished || self.finish();
        }
        if self.phase != phase::IDLE && !self.continues(purpose, sleep) {
            finished = self.finish();
        }
        if self.phase == phase::IDLE {
            self.start_ns = sleep.now_ns;
            self.gil_id = sleep.gil_id;
            self.kind = purpose;
            self.woken = 0;
            self.moves_to(sleep.position);
        } else if self.woken != 0 && sleep.is_for_the_gil() {
            self.futile_wakeups += 1;
            self.woken = 0;
        }
        if sleep.takes_back {
            self.slept = 1;
        }
        if sleep.takes_back || sleep.is_for_the_gil() {
            self.timed = 1;
        }
        self.phase = phase::ASLEEP;
        self.word = sleep.word;
        (self.sleep_ns, self.woken_ns) = (sleep.now_ns, 0);
        finished
    }

    /// A wait begins at this place in the program.
    #[inline(always)]
    fn moves_to(&mut self, position: u64) {
        if self.released != 0 && position != 0 && self.position != 0 {
            self.repeats = if position == self.position {
                REPEATS
            } else {
                self.repeats.saturating_sub(1)
            };
        }
        self.released = 0;
        self.position = position;
    }

    #[inline(always)]
    fn continues(&self, purpose: u32, sleep: &Sleep) -> bool {
        if self.kind != purpose || self.gil_id != sleep.gil_id {
            return false;
        }
        !self.ran_python(sleep, 2)
    }

    /// It ran longer than a retry takes while the GIL changed hands at least so often.
    #[inline(always)]
    fn ran_python(&self, sleep: &Sleep, changes: u64) -> bool {
        let ran_ns = sleep.cpu_ns.saturating_sub(self.back_cpu_ns);
        let switches = sleep.view.switch_number.wrapping_sub(self.switch_number);
        if sleep.word == word::SEMAPHORE {
            // Within one acquisition the program stands still.
            let position_is_known = self.position != 0 && sleep.position != 0;
            if position_is_known && self.position != sleep.position {
                return true;
            }
            // While it has the semaphore they cannot leave, so its release would have woken one (glibc from 2.21:
            // `nptl/sem_post.c`). Nor can they before, but where a virtual machine stands still.
            if self.other_waiters > 0 && switches == 0 {
                return false;
            }
            // Preempted anywhere but on the way out of its sleep, it was past it.
            let place_is_known = self.preempted_at != 0 && sleep.returns_to != 0;
            if place_is_known && self.preempted_at != sleep.returns_to {
                return true;
            }
            // If it stands where it stood, a preempted thread has hardly gone around a loop meanwhile, nor has one whose waits
            // are never twice at one place.
            if position_is_known && (self.repeats == 0 || (switches > 0 && !place_is_known)) {
                return false;
            }
            // While it was off the processor those may have had the semaphore and gone. But if it was had and given back
            // after that, others must have come since the release: hardly, in so little time.
            if self.other_waiters > 0 && sleep.view.other_waiters > 0 {
                return ran_ns > PREEMPTED_RETRY_CPU_NS;
            }
            // A handful of them is as good as proof, and keeps the product small.
            let preempted_ns = switches.min(100) * PREEMPTION_CPU_NS;
            let retry_ns = if self.woken != 0 {
                SEMAPHORE_RETRY_CPU_NS
            } else {
                SEMAPHORE_REFUSED_CPU_NS
            };
            if place_is_known {
                return ran_ns.min(sleep.on_cpu_for_ns) > retry_ns + RESUMPTION_NS;
            }
            return ran_ns > retry_ns + preempted_ns;
        }
        ran_ns > RETRY_CPU_NS && switches >= changes
    }

    /// It has begun, when the thread had been on the CPU and runnable for so long, and had come back from that call.
    #[inline(always)]
    pub fn begins(&mut self, cpu_ns: u64, runnable_ns: u64, after: u32) {
        self.start_cpu_ns = cpu_ns;
        self.start_runnable_ns = runnable_ns;
        self.after = after;
    }

    /// Whether it began now.
    #[inline(always)]
    pub fn begins_at(&self, now_ns: u64) -> bool {
        self.phase == phase::ASLEEP && self.start_ns == now_ns
    }

    /// The sleep is over; `result` is the system call's.
    #[inline(always)]
    pub fn wakes_up(&mut self, now_ns: u64, cpu_ns: u64, result: i64, switch_number: u64) {
        self.other_waiters = 0;
        if self.phase != phase::ASLEEP {
            return;
        }
        self.phase = phase::AWAKE;
        self.preempted_at = 0;
        self.end_ns = now_ns;
        (self.cpu_ns, self.back_cpu_ns) = (cpu_ns, cpu_ns);
        self.switch_number = switch_number;
        // Refused on a condition variable or a semaphore: the wait of a contended acquisition or of a forced
        // switch, whose signal came before it slept. Refused on a mutex: part of a wait, but alone
        // none.
        if result != EAGAIN || matches!(self.word, word::COND | word::SWITCH_COND | word::SEMAPHORE)
        {
            self.slept = 1;
        }
        if matches!(self.word, word::COND | word::SEMAPHORE) {
            if result == ETIMEDOUT {
                self.timeouts += 1;
            } else if result == 0 {
                self.woken = 1;
            }
        }
    }

    /// The thread wakes others on one of a GIL's words.
    #[inline(always)]
    pub fn wakes_others(&mut self, word: u32, owns_mutex: bool, view: &GilView) -> bool {
        self.must_be_awake();
        match word {
            word::COND if owns_mutex => {
                // `drop_gil` signals while it owns the mutex: nobody can have taken the GIL yet.
                self.tstate = view.last_holder;
                self.finish()
            }
            word::SWITCH_COND => {
                // `take_gil` signals when it has written its state as the last holder. One that
                // gives way may pass a signal on.
                if self.kind != kind::YIELD {
                    self.tstate = view.last_holder;
                }
                self.finish()
            }
            // It releases the GIL: nobody else wakes the waiters of a semaphore (glibc `nptl/sem_waitcommon.c`, 64 bits).
            word::SEMAPHORE => {
                self.released = 1;
                self.finish()
            }
            // It unlocks the mutex, at the end of `take_gil` or in `drop_gil`.
            _ if self.tstate != 0 && view.last_holder == self.tstate => self.finish(),
            _ => false,
        }
    }

    /// The thread has the GIL, as this state of its own says there: it is past its wait.
    #[inline(always)]
    pub fn is_holder(&mut self, tstate: u64) -> bool {
        self.tstate = tstate;
        self.is_no_longer_seen()
    }

    /// The thread did something that it does not do inside `take_gil` or `drop_gil`.
    #[inline(always)]
    pub fn is_elsewhere(&mut self) -> bool {
        self.must_be_awake();
        self.is_no_longer_seen()
    }

    /// The thread acts, so its sleep is over, though nobody has seen the end of it: the kernel leaves
    /// programs out while another is at work on the processor (`kernel/trace/bpf_trace.c`:
    /// `trace_call_bpf`). It ended when the thread last got a processor, or at once if it kept it.
    #[inline(always)]
    fn must_be_awake(&mut self) {
        if self.phase == phase::ASLEEP {
            self.phase = phase::AWAKE;
            self.slept = 1;
            if self.end_ns < self.sleep_ns {
                self.end_ns = self.sleep_ns;
            }
        }
    }

    /// The thread ends, or tracing does. What it sleeps in stays unfinished.
    #[inline(always)]
    pub fn is_no_longer_seen(&mut self) -> bool {
        match self.phase {
            phase::AWAKE => self.finish(),
            _ => false,
        }
    }

    /// The thread leaves the processor, at that address in its program.
    #[inline(always)]
    pub fn leaves_cpu(&mut self, voluntary: bool, at: impl Fn() -> u64) -> bool {
        match (voluntary, self.phase) {
            (false, phase::AWAKE) if self.word == word::SEMAPHORE => {
                let at = at();
                self.preempted_at = match self.preempted_at {
                    0 => at,
                    before if before == at => at,
                    _ => SEVERAL,
                };
                false
            }
            (true, phase::ASLEEP) => {
                self.switches += 1;
                false
            }
            (true, _) => self.is_no_longer_seen(),
            (false, _) => false,
        }
    }

    /// The thread is woken.
    #[inline(always)]
    pub fn is_woken(&mut self, now_ns: u64) {
        if self.phase == phase::ASLEEP && self.woken_ns == 0 {
            self.woken_ns = now_ns;
        }
    }

    /// From when until when it was in line in its last sleep, which ended at [`Wait::end_ns`] with that result: whoever let go of the GIL had to make a futex
    /// call to wake it.
    #[inline(always)]
    pub fn was_in_line(&self, result: i64) -> (u64, u64) {
        match self.word {
            // It is counted as a waiter from before its first futex call to behind the last (glibc `nptl/sem_waitcommon.c`, 2.21+).
            word::SEMAPHORE => (self.start_ns, self.end_ns),
            // Nobody has signalled it.
            word::COND if result == ETIMEDOUT => (self.sleep_ns, self.end_ns),
            word::COND if result == 0 => (self.sleep_ns, self.woken_ns),
            _ => (0, 0),
        }
    }

    /// The thread gets a processor.
    #[inline(always)]
    pub fn enters_cpu(&mut self, now_ns: u64, runnable_ns: u64) {
        if self.phase == phase::ASLEEP {
            self.end_ns = now_ns;
            self.runnable_ns = runnable_ns;
        }
    }

    /// What is open, if anything, ends at its last sleep's exit.
    #[inline(always)]
    fn finish(&mut self) -> bool {
        let is_interval = self.phase == phase::AWAKE && self.slept != 0;
        if is_interval {
            self.finished = Finished {
                kind: self.kind,
                gil_id: self.gil_id,
                start_ns: self.start_ns,
                end_ns: self.end_ns,
                timeouts: self.timeouts,
                futile_wakeups: self.futile_wakeups,
                switches: self.switches,
                cut_at_start: self.cut_at_start,
                on_cpu_ns: self.cpu_ns.saturating_sub(self.start_cpu_ns),
                runnable_ns: self.runnable_ns.saturating_sub(self.start_runnable_ns),
                after: self.after,
                padding: 0,
            };
        }
        self.phase = phase::IDLE;
        for field in [
            &mut self.kind,
            &mut self.timeouts,
            &mut self.futile_wakeups,
            &mut self.switches,
            &mut self.woken,
            &mut self.cut_at_start,
            &mut self.slept,
            &mut self.timed,
        ] {
            clear(field);
        }
        is_interval
    }
}

/// Of neighbours set to 0 the compiler makes one `memset`, which for a kernel's program is a loop over bytes.
#[inline(always)]
fn clear(field: &mut u32) {
    // SAFETY: a reference is valid for writes.
    unsafe { core::ptr::write_volatile(field, 0) };
}
