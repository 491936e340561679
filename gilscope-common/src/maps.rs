//! Keys and values of the BPF maps.

use crate::{
    holder::{BlockedKey, Division},
    lock::Lock,
    parts::Slept,
    sched::Sched,
    wait::{Finished, GilAddresses, Wait, kind},
};

/// Value of `TARGETS`, by process id (the kernel's own, of the initial PID namespace).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Where the C library's `pthread_mutex_lock` begins in the target; 0 if that is not known.
    pub mutex_lock: u64,
    /// How many bytes it has.
    pub mutex_lock_size: u64,
    /// Device of its PID namespace's file, as `bpf_get_ns_current_pid_tgid` wants it.
    pub pidns_dev: u64,
    /// Inode of its PID namespace's file.
    pub pidns_ino: u64,
    /// Not 0: processes that it forks become targets too.
    pub follow_children: u32,
    /// One of [`source`].
    pub source: u32,
    /// The lowest address in the target that a waiting function of its C library is returned into.
    pub library: u64,
    /// From there to just behind the highest; 0 if they are not known.
    pub library_size: u64,
    /// [`CallerKey::library`].
    pub library_id: u32,
    /// Not 0: its CPython has a parking lot, whose waiters sleep on a word on their own stack, before which the
    /// lock's address is.
    pub has_parking_lot: u32,
    /// Where the code of the interpreter's file begins in the target.
    pub python: u64,
    /// How many bytes it has; 0 if that is not known.
    pub python_size: u64,
    /// Where a thread's Python functions are.
    pub frames: FrameOffsets,
    /// Where a thread that waits for a semaphore is in its Python program.
    pub semaphore: SemaphoreOffsets,
}

/// What tells whether a thread has had a GIL that is a semaphore (CPython 2.7): offsets in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SemaphoreOffsets {
    /// Thread state → `thread_id`; 0: nothing here is known.
    pub thread_id: u32,
    /// Thread state → `tick_counter`.
    pub ticks: u32,
    /// Thread state → pointer to the innermost frame.
    pub frame: u32,
    /// Frame → `f_lasti`.
    pub instruction: u32,
    /// Address of `_Py_Ticker`, which counts the check interval down; 0: not known.
    pub ticker: u64,
    /// Of `_Py_CheckInterval`, from which it starts anew; 0: not known.
    pub check_interval: u64,
}

/// The way from a GIL to the Python functions that a thread runs: offsets in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameOffsets {
    /// Address of the first GIL's `last_holder`; 0 if that is not known.
    pub last_holder: u64,
    /// Address of its `locked`; 0: nobody is the last holder while nobody has it.
    pub locked: u64,
    /// Thread state → `thread_id`; 0: nothing here is known.
    pub thread_id: u32,
    /// Thread state → pointer to the innermost frame, or to the C frame.
    pub frame: u32,
    /// Not 0: to the C frame.
    pub has_cframe: u32,
    /// C frame → pointer to the innermost frame.
    pub cframe_frame: u32,
    /// Frame → pointer to the caller's.
    pub previous: u32,
    /// Frame → pointer to its code object.
    pub code: u32,
    /// Thread state → `state`, where a thread waits for the end of a stop-the-world pause; 0 where it never does, or that is not known.
    pub state: u32,
    /// Thread state → pointer to its interpreter.
    pub interpreter: u32,
    /// Interpreter → pointer to the thread state that asked for the pause.
    pub requester: u32,
    /// Thread state → the thread's id in its PID namespace; 0 where there is none.
    pub native_id: u32,
    /// Address of the same pointer for a pause of all interpreters; 0: not known.
    pub runtime_requester: u64,
    /// Frame → its instruction.
    pub instruction: u32,
    /// Its highest bits that are not used: 32 of an index (int), none of an address.
    pub instruction_unused_bits: u32,
    /// Frame → who owns it.
    pub owner: u32,
    /// The bits that tell it; 0: that is not told.
    pub owner_mask: u32,
    /// Owners from this number on run no function of the program's.
    pub no_function_from: u32,
    /// How many bytes of a frame all this is in, [`crate::frames::SPAN`] at most.
    pub frame_length: u32,
    /// Code object → the span of it in which what follows is,
    pub code_from: u32,
    /// of so many bytes, [`crate::frames::SPAN`] at most.
    pub code_length: u32,
    /// That span → pointer to the name of its file.
    pub file: u32,
    /// That span → pointer to its name.
    pub name: u32,
    /// A name → its hash.
    pub name_hash: u32,
    /// That span → its first line (int).
    pub first_line: u32,
}

/// Key of `CALLERS`, whose values are of [`crate::lock::kind`]: a place in a C library where a function that waits is
/// returned into.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerKey {
    /// Its distance from [`Target::library`].
    pub distance: u64,
    /// The library's number; never 0.
    pub library: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// What the sleeps on a target's condition variables are measured by.
pub mod source {
    /// Futex calls on their words.
    pub const FUTEX: u32 = 0;
    /// Uprobes on the functions that wait and signal; `WORDS` then holds the addresses of the
    /// condition variables themselves. The mutexes are futex words all the same.
    pub const UPROBE: u32 = 1;
}

/// Key of `WORDS`: a futex word of one of a target's GILs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordKey {
    /// Its address in the target.
    pub address: u64,
    /// The process.
    pub tgid: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// Value of `WORDS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordInfo {
    /// Where the GIL's fields are.
    pub fields: GilAddresses,
    /// Where the id of the sub-interpreter is that the GIL goes with; 0 where it lasts as long as the program.
    pub interpreter_id_address: u64,
    /// That id.
    pub interpreter_id: i64,
    /// Address of the mutex's owner (glibc's `__data.__owner`).
    pub owner_address: u64,
    /// The GIL's index in its process.
    pub gil_id: u32,
    /// One of [`crate::wait::word`].
    pub word: u32,
}

/// Value of `THREADS`, by thread id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Tells apart threads that had the same id one after the other.
    pub started_ns: u64,
    /// When it ended; 0 while it lives.
    pub ended_ns: u64,
    /// Its scheduling.
    pub sched: Sched,
    /// The number of the turn in which it has dropped a GIL last, where others were woken for that.
    pub dropped: u64,
    /// When it came back from the call by which it released a semaphore at the end of its check interval, to take it again at once; 0: it has not done that last,
    /// or has slept on it since.
    pub takes_again_ns: u64,
    /// Whose its present wait for a GIL is.
    pub division: Division,
    /// The row of `BLOCKED` that is written. Here and not on the stack, which the verifier follows: in each round of the division
    /// it would see another one.
    pub blocked: BlockedKey,
    /// Likewise that of `STACK_TIMES`.
    pub stacks: StackKey,
    /// Its present wait for a GIL.
    pub wait: Wait,
    /// Its present wait for another lock.
    pub lock: Lock,
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Its id in its PID namespace, once it is known; 0 before.
    pub ns_tid: u32,
    /// Explicit padding.
    pub padding: u32,
    /// What it slept in last.
    pub slept: Slept,
}

/// Key of `TIDS`: a thread, by its id in its PID namespace, where that is another than the initial one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TidKey {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub ns_tid: u32,
}

/// Key of `TURNS`: a GIL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GilKey {
    /// The process.
    pub tgid: u32,
    /// The GIL's index in its process.
    pub gil_id: u32,
}

/// Key of `TOTALS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TotalsKey {
    /// [`Thread::started_ns`].
    pub started_ns: u64,
    /// The thread.
    pub tid: u32,
    /// The GIL's index in its process.
    pub gil_id: u32,
}

/// Value of `TOTALS`: what the kernel counted of a thread's finished waits for a GIL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Finished waits.
    pub waits: u64,
    /// Their time.
    pub wait_sum_ns: u64,
    /// The longest.
    pub wait_max_ns: u64,
    /// Of their time, that on the CPU.
    pub wait_on_cpu_ns: u64,
    /// Of their time, that runnable.
    pub wait_runnable_ns: u64,
    /// Finished forced switches.
    pub yields: u64,
    /// Their time.
    pub yield_sum_ns: u64,
    /// The longest.
    pub yield_max_ns: u64,
    /// Timed sleeps that ended by themselves.
    pub timeouts: u64,
    /// Futile wake-ups.
    pub futile_wakeups: u64,
    /// Voluntary switches made in these sleeps.
    pub switches: u64,
    /// Time of a wait that was under way when tracing began.
    pub cut_at_start_ns: u64,
}

impl Totals {
    /// Counts a finished interval.
    #[inline(always)]
    pub fn add(&mut self, finished: &Finished) {
        let length_ns = finished.end_ns.saturating_sub(finished.start_ns);
        self.timeouts += u64::from(finished.timeouts);
        self.futile_wakeups += u64::from(finished.futile_wakeups);
        self.switches += u64::from(finished.switches);
        if finished.cut_at_start != 0 {
            self.cut_at_start_ns += length_ns;
        } else if finished.kind == kind::WAIT {
            self.waits += 1;
            self.wait_sum_ns += length_ns;
            if length_ns > self.wait_max_ns {
                self.wait_max_ns = length_ns;
            }
            // Where its end went unseen, what is known of the thread is from another moment.
            let on_cpu_ns = finished.on_cpu_ns.min(length_ns);
            self.wait_on_cpu_ns += on_cpu_ns;
            self.wait_runnable_ns += finished.runnable_ns.min(length_ns - on_cpu_ns);
        } else if finished.kind == kind::YIELD {
            self.yields += 1;
            self.yield_sum_ns += length_ns;
            if length_ns > self.yield_max_ns {
                self.yield_max_ns = length_ns;
            }
        }
    }
}

/// Key of `STACK_TIMES`: where a thread was that waited for a GIL, and where the one was that had it meanwhile, or that had dropped it while nobody had it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StackKey {
    /// [`crate::frames::Stack::id`] of the waiter; 0: not read.
    pub waiter: u64,
    /// That of the holder; 0: not read.
    pub holder: u64,
    /// The process.
    pub tgid: u32,
    /// The GIL's index in its process.
    pub gil_id: u32,
    /// The thread that had it, by its id in its PID namespace, or [`crate::holder::NOBODY`].
    pub holder_tid: u32,
    /// Explicit padding.
    pub padding: u32,
}

impl StackKey {
    /// Of nobody.
    pub const NONE: Self = Self {
        waiter: 0,
        holder: 0,
        tgid: 0,
        gil_id: 0,
        holder_tid: 0,
        padding: 0,
    };
}

/// Value of `STACK_TIMES`. Several waiters add to it at a time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackTime {
    /// Stretches of waits.
    pub count: u64,
    /// Their time.
    pub sum_ns: u64,
}

/// Value of `COUNTERS` (per processor), index 0: what could not be reported.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that did not fit the ring buffer.
    pub records_lost: u64,
    /// Threads and totals that did not fit their map.
    pub entries_lost: u64,
    /// The GIL's fields, or the owner of its mutex, could not be read.
    pub reads_failed: u64,
    /// Entries of functions that wait for a GIL.
    pub condvar_waits: u64,
    /// Their returns.
    pub condvar_returns: u64,
    /// Python stacks that were read.
    pub stacks: u64,
    /// Stacks that were not the same any more when they had been read.
    pub stacks_moved: u64,
    /// Stacks that did not fit the ring buffer.
    pub stacks_lost: u64,
    /// Times that somebody would have read stacks, had that not been too often.
    pub stacks_refused: u64,
}

#[cfg(feature = "user")]
mod user {
    macro_rules! pod {
        ($($type:ty),* $(,)?) => {$(
            // SAFETY: `repr(C)` plain integers with explicit padding: any bytes are a value.
            unsafe impl aya::Pod for $type {}
        )*};
    }
    pod!(
        super::Target,
        super::WordKey,
        super::CallerKey,
        super::WordInfo,
        super::Thread,
        super::TotalsKey,
        super::Totals,
        super::Counters,
        super::GilKey,
        super::TidKey,
        crate::holder::SleepKey,
        crate::holder::Sleeps,
        crate::holder::Turns,
        crate::holder::BlockedKey,
        crate::holder::Blocked,
        crate::history::Checkpoint,
        crate::history::CheckpointKey,
        crate::records::Header,
        crate::records::IntervalRecord,
        crate::records::ThreadEndRecord,
        crate::records::ForkRecord,
        crate::records::LockRecord,
        crate::records::OnCpuRecord,
        crate::records::NativeRecord,
        crate::frames::Stack,
        super::StackKey,
        super::StackTime,
    );
}

const _: () = {
    assert!(size_of::<Target>() == 224);
    assert!(size_of::<WordKey>() == 16);
    assert!(size_of::<WordInfo>() == 64);
    assert!(size_of::<Sched>() == 64);
    assert!(size_of::<Wait>() == 272);
    assert!(size_of::<Lock>() == 112);
    assert!(size_of::<Thread>() == 832);
    assert!(size_of::<TidKey>() == 8);
    assert!(size_of::<StackKey>() == 32);
    assert!(size_of::<StackTime>() == 16);
    assert!(size_of::<TotalsKey>() == 16);
    assert!(size_of::<Totals>() == 96);
    assert!(size_of::<Counters>() == 72);
};
