//! What happened in a target, one event at a time, as the analysis sees it.

use super::call::Call;
use super::lock::{LockTotals, LockWait};
use super::report::TickSource;
use super::sample::Sample;
use super::stack::PythonStack;

/// What an interval was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalKind {
    /// A contended acquisition of the GIL.
    Wait,
    /// A forced switch: gave way in `drop_gil` and slept until another thread took the GIL.
    Yield,
}

/// A finished wait or forced switch. Times are `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Index of the GIL in its process.
    pub gil_id: u32,
    /// Wait or forced switch.
    pub kind: IntervalKind,
    /// First sleep's entry.
    pub start_ns: u64,
    /// Last sleep's exit.
    pub end_ns: u64,
    /// What the thread came back from before.
    pub after: Call,
}

/// A thread was there when tracing began, or has begun since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadStart {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// When.
    pub at_ns: u64,
}

/// A thread has ended; its totals are final.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadEnd {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// When.
    pub at_ns: u64,
    /// The thread's name at its end (the kernel's `comm`).
    pub os_name: Option<String>,
}

/// What `/proc` said of a thread. A field that is `None` leaves what was known before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThreadFacts {
    /// Thread id inside the innermost PID namespace.
    pub ns_tid: Option<u32>,
    /// Python's own name.
    pub name: Option<String>,
    /// The operating system's name (the kernel's `comm`).
    pub os_name: Option<String>,
    /// User time since the thread is followed.
    pub user_ns: Option<u64>,
    /// System time since the thread is followed.
    pub system_ns: Option<u64>,
    /// Where the two come from.
    pub split: Option<TickSource>,
}

/// What the kernel itself counted of a thread: complete even where events were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadTotals {
    /// Running.
    pub on_cpu_ns: u64,
    /// Ready to run, without a processor.
    pub runnable_ns: u64,
    /// Times it went to sleep by itself.
    pub voluntary_switches: u64,
    /// Times it was taken off the processor.
    pub involuntary_switches: u64,
}

/// What the kernel itself counted of one thread's waits for one GIL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GilTotals {
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
    /// Woken by a release, slept again in the same wait.
    pub futile_wakeups: u64,
    /// Voluntary switches made to wait for this GIL.
    pub voluntary_switches: u64,
    /// Time of a wait that was under way when tracing began.
    pub unfinished_at_start_ns: u64,
    /// Time of a wait that is under way now.
    pub unfinished_at_end_ns: u64,
    /// Since when it is, if one is: seen from its beginning or not.
    pub waiting_since_ns: Option<u64>,
}

/// A thread that had a GIL while another waited for it, as the kernel has counted it so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Thread that waited.
    pub waiter: u32,
    /// When that began to be followed; tells apart threads that had the same id one after the other.
    pub started_ns: u64,
    /// Index of the GIL in its process.
    pub gil_id: u32,
    /// Thread that had it; `None`: nobody, it was dropped and not yet taken.
    pub holder: Option<u32>,
    /// Parts of waits, each without a break.
    pub parts: u64,
    /// Their time.
    pub sum_ns: u64,
    /// The longest, if it is known.
    pub max_ns: Option<u64>,
    /// Of their time, that in which the holder was on the CPU.
    pub on_cpu_ns: u64,
    /// In which it was runnable.
    pub runnable_ns: u64,
    /// In which it was asleep.
    pub asleep_ns: u64,
}

/// How a thread slept with a GIL held while another waited for it, as the kernel has counted it so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderSleeps {
    /// Thread that waited.
    pub waiter: u32,
    /// When that began to be followed.
    pub started_ns: u64,
    /// Index of the GIL.
    pub gil_id: u32,
    /// Thread that slept.
    pub holder: u32,
    /// What in.
    pub call: Call,
    /// Sleeps that the waiter has met.
    pub count: u64,
    /// Time that it has waited for them.
    pub sum_ns: u64,
}

/// How long threads that were at one place in Python waited for one that was at another, as far as both were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitedAt {
    /// Index of the GIL in its process.
    pub gil_id: u32,
    /// Thread that had it; `None`: it had been dropped, and not yet taken.
    pub holder: Option<u32>,
    /// Number of the stack that waited, as [`Event::Stack`] has told it; 0: not read.
    pub waiter_stack: u64,
    /// That of the holder, or of the thread that had dropped it.
    pub holder_stack: u64,
    /// Stretches of waits that have been added.
    pub count: u64,
    /// Their time.
    pub sum_ns: u64,
}

/// A look at a process, several a second: what came before of each thread's totals was counted at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub at_ns: u64,
    /// The process's system time so far, where it could be read.
    pub system_ns: Option<u64>,
    /// Records lost so far, of all processes.
    pub events_lost: u64,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A wait or forced switch has finished.
    Interval(Interval),
    /// A thread is there.
    ThreadStart(ThreadStart),
    /// A thread is gone.
    ThreadEnd(ThreadEnd),
    /// What `/proc` said of a thread (its id first).
    ThreadFacts(u32, ThreadFacts),
    /// What the kernel counted of a thread (its id first) so far; replaces what it said before.
    ThreadTotals(u32, ThreadTotals),
    /// What the kernel counted of a thread's waits for a GIL (their ids first) so far; replaces what it said before.
    GilTotals(u32, u32, GilTotals),
    /// A wait for a lock that is no GIL has finished.
    Lock(LockWait),
    /// What the kernel counted of a thread's waits for such locks (its id first) so far; replaces what it said before.
    LockTotals(u32, LockTotals),
    /// Who had a GIL while a thread waited; replaces what was said of the two before.
    Blocking(Blocking),
    /// How the holder slept while a thread waited; replaces what was said of the same before.
    HolderSleeps(HolderSleeps),
    /// A Python stack has been read; it has this number from now on.
    Stack(u64, PythonStack),
    /// Threads have waited so much more at a place.
    WaitedAt(WaitedAt),
    /// A look at the process.
    Look(Look),
    /// A look at who has a GIL.
    Sample(Sample),
}
