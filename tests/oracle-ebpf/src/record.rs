//! What the two sides of the oracle say to each other; the host includes this file by path.

/// Value of [`Call::kind`]: a call of `take_gil`.
pub const TAKE: u32 = 0;
/// Value of [`Call::kind`]: a call of `drop_gil`.
pub const DROP: u32 = 1;

/// Offsets in the tracepoints' records; the host refuses a kernel whose `format` files disagree.
pub mod offsets {
    /// `sched_switch`: `long prev_state`.
    pub const PREV_STATE: usize = 32;
    /// `sched_switch`: `pid_t next_pid`.
    pub const NEXT_PID: usize = 56;
    /// `sys_enter_futex`: `u32 *uaddr`.
    pub const UADDR: usize = 16;
    /// `sys_enter_futex`: `int op`.
    pub const OP: usize = 24;
    /// `sys_exit_futex`: `long ret`.
    pub const RET: usize = 16;
}

/// Indices of the `COUNTS` map.
pub mod counts {
    /// Records that found no room in the ring buffer.
    pub const RECORDS_LOST: u32 = 0;
    /// Calls of threads that found no room in the `CALLS` map.
    pub const UNTRACKED: u32 = 1;
    /// Calls whose return was not seen before the thread's next call; not in the figures. Measured: at most one a run.
    pub const UNRETURNED: u32 = 2;
    /// How many there are.
    pub const LEN: u32 = 3;
}

/// One call of `take_gil` or `drop_gil` that waited on a condvar or left the CPU. Times are of `CLOCK_MONOTONIC`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Call {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// [`TAKE`] or [`DROP`].
    pub kind: u32,
    /// Entries of `pthread_cond_*wait` inside; of a semaphore, futex waits on it.
    pub cond_waits: u32,
    /// Times it left the CPU asleep.
    pub voluntary: u32,
    /// Times it left the CPU runnable.
    pub involuntary: u32,
    /// Time off the CPU of those that came within 10 µs of a futex call's entry or exit: another program on the same tracepoint
    /// may have seen it on the other side.
    pub disturbed_ns: u64,
    /// Since when it is off the CPU so, or 0.
    pub disturbed_since_ns: u64,
    /// Entry of the call.
    pub start_ns: u64,
    /// Its return.
    pub end_ns: u64,
    /// Entry of the first `pthread_cond_*wait`, or 0.
    pub first_cond_wait_ns: u64,
    /// First time off the CPU asleep, or 0.
    pub first_off_ns: u64,
    /// Last time back on it after having slept, or 0.
    pub last_on_ns: u64,
    /// The condvar of the last `pthread_cond_*wait`, or 0; the semaphore that the GIL is.
    pub cond: u64,
    /// Its mutex, or 0.
    pub mutex: u64,
    /// What the futex tracepoints saw; all 0 unless they are attached.
    pub futex: Futex,
}

/// The futex calls inside a [`Call`].
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Futex {
    /// Entry of the first `FUTEX_WAIT*`.
    pub first_enter_ns: u64,
    /// Exit of the last.
    pub last_exit_ns: u64,
    /// Entry of the first that was not refused with `EAGAIN` (or `EINTR` before sleeping).
    pub first_sleep_ns: u64,
    /// Exit of the last such one.
    pub last_wake_ns: u64,
    /// Time inside all such ones.
    pub sleep_ns: u64,
    /// Such `FUTEX_WAIT_BITSET`: sleeps on the condvar's signal words.
    pub cond_sleeps: u32,
    /// Such plain `FUTEX_WAIT` on `plain_addr`: the mutex, or a condvar's internal lock.
    pub plain_sleeps: u32,
    /// Such plain `FUTEX_WAIT` on another word.
    pub other_sleeps: u32,
    /// Waits refused with `EAGAIN`.
    pub refused: u32,
    /// The word of the first plain `FUTEX_WAIT`, or 0.
    pub plain_addr: u64,
    /// The word of the last other plain `FUTEX_WAIT`, or 0.
    pub other_addr: u64,
}

/// A thread's present call; the value of the `CALLS` map, whose key is the tid.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Thread {
    /// The call under way, or the last one.
    pub call: Call,
    /// Calls of `take_gil` that returned, contended or not.
    pub takes: u64,
    /// 1 while inside the call.
    pub inside: u32,
    /// The futex operation under way, plus 1; 0 for none.
    pub futex_op: u32,
    /// Its entry.
    pub futex_enter_ns: u64,
    /// Its word.
    pub futex_addr: u64,
    /// The last entry or exit of one.
    pub futex_seen_ns: u64,
}
