//! The report that other programs rely on, version 1. Its JSON Schema is `docs/report.schema.json`.
//!
//! Fields are only added within a version. Times are nanoseconds (`_ns`); `_at_ns` counts from
//! [`Report::started_at`]. An `Option` is `null` where the figure is not known.

use super::collections::Collections;
use super::finding::Finding;
use super::gil::{FoundBy, WaitSource};
use super::lock::{LockKind, Purpose};
use super::on_cpu::{NativeAt, OnCpuSamples};
use super::sample::{GilSamples, HeldAt};
use super::stack::PythonStack;
use super::storm::{OtherStorms, Storm, WhatIf};
use serde::Serialize;

/// The value of [`Report::schema`].
pub const SCHEMA: &str = "gilscope.report";
/// The value of [`Report::schema_version`].
pub const SCHEMA_VERSION: u32 = 1;

/// One run of gilscope.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Always [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The gilscope that wrote this.
    pub gilscope_version: &'static str,
    /// RFC 3339, UTC, milliseconds.
    pub started_at: String,
    /// From the first probe attached to the last detached.
    pub duration_ns: u64,
    /// The machine.
    pub host: Host,
    /// What was lost in all.
    pub loss: Loss,
    /// Of how many looks at Python stacks in the kernel there is one.
    pub stack_reads: StackReads,
    /// One entry per process followed.
    pub processes: Vec<ProcessReport>,
}

/// The machine that was traced on.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// `uname -n`.
    pub hostname: String,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub arch: String,
    /// Processors online.
    pub cpus: u32,
}

/// What was lost between the kernel and the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Records of any kind that did not fit the ring buffer.
    pub events_lost: u64,
    /// Waits among them: counted and summed by the kernel, absent from the quantiles.
    pub waits_lost: u64,
    /// Their time.
    pub wait_lost_ns: u64,
}

/// Looks at the Python stacks of those who wait for a GIL, and of those who have it, in all processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StackReads {
    /// Stacks that were read.
    pub read: u64,
    /// Not the same any more when they had been read.
    pub moved: u64,
    /// No room for them between the kernel and gilscope.
    pub lost: u64,
    /// Not looked at, as that would have been too often.
    pub refused: u64,
}

/// One process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProcessReport {
    /// Process id as gilscope's own `/proc` shows it.
    pub pid: u32,
    /// Process id inside the innermost PID namespace.
    pub ns_pid: u32,
    /// Path of the executable as the target sees it.
    pub exe: String,
    /// Arguments.
    pub cmdline: Vec<String>,
    /// The container it runs in, where that is known.
    pub container: Option<String>,
    /// How long this process was followed.
    pub observed_ns: u64,
    /// When and how it ended, if it did.
    pub ended: Option<ProcessEnd>,
    /// What is wrong with it, most important first; never empty.
    pub findings: Vec<Finding>,
    /// Its GILs.
    pub gils: Vec<GilInfo>,
    /// Those that were not traced, as there was no room for them: the most at a time.
    pub gils_not_traced: u64,
    /// Waits of all threads for any of its GILs.
    pub gil_wait: HistogramSummary,
    /// Time in which at least one thread waited.
    pub contended_ns: u64,
    /// Threads, most waited first.
    pub threads: Vec<ThreadReport>,
    /// Threads merged beyond the row limit.
    pub other_threads: Option<OtherThreads>,
    /// Who had a GIL while others waited for it, longest first.
    pub blocked_by: Vec<BlockedBy>,
    /// Of all time waited, that in which nobody had the GIL: it was dropped and not yet taken.
    pub blocked_by_nobody_ns: u64,
    /// Of all time waited, that in which it is not known who had the GIL.
    pub blocked_by_unknown_ns: u64,
    /// Who slept with a GIL held while others waited for it, and what in; longest first.
    pub asleep_with_gil: Vec<AsleepWithGil>,
    /// Recorded waits by what the thread came back from before; longest first.
    pub waits_after: Vec<WaitsAfter>,
    /// Where in Python threads waited, and where the one was that had the GIL; longest first. Stacks are read at a bounded rate: this is
    /// the part of the time waited for which at least one of the two is known.
    pub waited_at: Vec<BlockedAt>,
    /// Of that, with all rows, the time for which both are.
    pub waited_at_both_ns: u64,
    /// Rows beyond the limit.
    pub other_waited_at: Option<OtherBlockedAt>,
    /// Looks at who has its GILs, waited for or not.
    pub gil_samples: GilSamples,
    /// Where in Python threads were seen to have a GIL, most often first; 100 places at most.
    pub held_at: Vec<HeldAt>,
    /// What its threads ran with a GIL held, by a clock; `None` where the machine refused its clocks.
    pub on_cpu_samples: Option<OnCpuSamples>,
    /// Of that, the native functions, most often first; 100 at most.
    pub native_at: Vec<NativeAt>,
    /// Garbage collections of its main interpreter; `None` where it does not tell.
    pub collections: Option<Collections>,
    /// The stacks that are named here, by their index.
    pub stacks: Vec<PythonStack>,
    /// Locks that are no GIL, most waited for first.
    pub locks: Vec<LockReport>,
    /// Waits for locks merged beyond the row limit.
    pub other_locks: Option<OtherLocks>,
    /// What was lost of the waits for locks.
    pub lock_loss: WaitLoss,
    /// Stretches of time in which it lost more than it should, most waited in first.
    pub storms: Vec<Storm>,
    /// Storms beyond the limit.
    pub other_storms: Option<OtherStorms>,
    /// What it could gain if its threads had not to wait for each other; `None` if none was seen to wait.
    pub what_if: Option<WhatIf>,
}

/// A thread that had a GIL while another waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BlockedBy {
    /// Id of the thread that waited.
    pub waiter: u32,
    /// Index of the GIL.
    pub gil_id: u32,
    /// Id of the thread that had it.
    pub holder: u32,
    /// Parts of waits, each without a break.
    pub count: u64,
    /// Their time.
    pub sum_ns: u64,
    /// The longest; `None` if it is not known, where it was one of many of which only the sum is.
    pub max_ns: Option<u64>,
    /// Of their time, that in which the holder was on the CPU.
    pub on_cpu_ns: u64,
    /// In which it was runnable: preempted, or woken and not yet scheduled.
    pub runnable_ns: u64,
    /// In which it was asleep.
    pub asleep_ns: u64,
    /// In which it is not known what it did.
    pub unknown_ns: u64,
}

/// A thread that slept with a GIL held while others waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AsleepWithGil {
    /// Its id.
    pub holder: u32,
    /// Index of the GIL.
    pub gil_id: u32,
    /// The system call that it slept in, or `no-syscall`; `None` where that is not known.
    pub syscall: Option<&'static str>,
    /// The system call's number.
    pub syscall_number: Option<u16>,
    /// Sleeps that waiters have met, each of them.
    pub count: u64,
    /// Time that they have waited for it.
    pub sum_ns: u64,
}

/// Waits of threads that had come back from the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WaitsAfter {
    /// A system call in which the thread had slept, `no-syscall`, or `eval-loop`; `None` where that is not known.
    pub after: Option<&'static str>,
    /// The system call's number.
    pub syscall_number: Option<u16>,
    /// Waits.
    pub count: u64,
    /// Their time.
    pub sum_ns: u64,
}

/// What threads did in their finished waits for a GIL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WaitParts {
    /// Asleep.
    pub asleep_ns: u64,
    /// Woken, or preempted, and not yet scheduled.
    pub runnable_ns: u64,
    /// On the CPU, on the way to the next sleep.
    pub on_cpu_ns: u64,
    /// Not known.
    pub unknown_ns: u64,
}

impl WaitParts {
    /// Adds another's.
    pub fn add(&mut self, other: WaitParts) {
        self.asleep_ns = self.asleep_ns.saturating_add(other.asleep_ns);
        self.runnable_ns = self.runnable_ns.saturating_add(other.runnable_ns);
        self.on_cpu_ns = self.on_cpu_ns.saturating_add(other.on_cpu_ns);
        self.unknown_ns = self.unknown_ns.saturating_add(other.unknown_ns);
    }
}

/// A place in Python at which threads waited, and the one at which another had the GIL meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BlockedAt {
    /// Index of the GIL.
    pub gil_id: u32,
    /// Index of the stack that waited in [`ProcessReport::stacks`].
    pub waiter_stack: Option<usize>,
    /// Id of the thread that had the GIL; `None`: it had been dropped, and not yet taken.
    pub holder: Option<u32>,
    /// Index of its stack, or of that of the thread that had dropped it.
    pub holder_stack: Option<usize>,
    /// Stretches of waits.
    pub count: u64,
    /// Their time.
    pub sum_ns: u64,
}

/// Places that have no row of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OtherBlockedAt {
    /// How many rows were merged.
    pub rows: u64,
    /// Stretches of waits.
    pub count: u64,
    /// Their time.
    pub sum_ns: u64,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessEnd {
    /// When.
    pub at_ns: u64,
    /// How, where that could be learned.
    pub status: Option<ExitStatus>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitStatus {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// One GIL of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GilInfo {
    /// Index in [`ProcessReport::gils`].
    pub id: u32,
    /// `0x…`, in the target's memory.
    pub address: String,
    /// Ids of the interpreters that share it.
    pub interpreters: Vec<i64>,
    /// CPython's version.
    pub python: String,
    /// Built with `--disable-gil`.
    pub free_threaded: bool,
    /// Whether the GIL is in use.
    pub enabled: bool,
    /// How it was found.
    pub found_by: FoundBy,
    /// What its waits were measured by.
    pub source: WaitSource,
    /// From when its waits are measured; waits before that are in no figure.
    pub measured_from_ns: u64,
}

/// A distribution of times. `count`, `sum_ns` and `max_ns` are the kernel's and complete; the rest
/// covers `recorded` of them. Empty: count 0, quantiles and `hdr` null.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HistogramSummary {
    /// Waits that finished.
    pub count: u64,
    /// Their time.
    pub sum_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// How many of them reached the histogram.
    pub recorded: u64,
    /// The shortest recorded.
    pub min_ns: Option<u64>,
    /// Mean of the recorded.
    pub mean_ns: Option<u64>,
    /// Median.
    pub p50_ns: Option<u64>,
    /// 90th percentile.
    pub p90_ns: Option<u64>,
    /// 99th percentile.
    pub p99_ns: Option<u64>,
    /// 99.9th percentile.
    pub p99_9_ns: Option<u64>,
    /// Base64 of HdrHistogram's V2 + DEFLATE encoding, 3 significant digits, in nanoseconds.
    pub hdr: Option<String>,
}

/// One thread.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ThreadReport {
    /// Thread id as gilscope's own `/proc` shows it.
    pub tid: u32,
    /// Thread id inside the innermost PID namespace, where that could be read.
    pub ns_tid: Option<u32>,
    /// Python's own name.
    pub name: Option<String>,
    /// The operating system's name (15 bytes at most), where it could be read.
    pub os_name: Option<String>,
    /// 0 for a thread that was there when tracing began.
    pub started_at_ns: u64,
    /// How long it was followed.
    pub observed_ns: u64,
    /// When it ended, if it did.
    pub ended_at_ns: Option<u64>,
    /// One entry per GIL that it ever waited for.
    pub gil: Vec<GilWaits>,
    /// The processor's side.
    pub cpu: CpuTime,
    /// What was lost of its waits.
    pub loss: WaitLoss,
    /// One entry per lock, other than a GIL, that it waited for.
    pub locks: Vec<LockWaits>,
    /// What was lost of its waits for locks.
    pub lock_loss: WaitLoss,
}

impl ThreadReport {
    /// Time it waited for any GIL while it was followed: finished waits and unfinished ones.
    pub fn waited_ns(&self) -> u64 {
        (self.gil.iter()).fold(0, |sum, gil| sum.saturating_add(gil.waited_ns()))
    }
}

/// A thread's waits for one GIL.
#[derive(Clone, Debug, Default, Serialize)]
pub struct GilWaits {
    /// [`GilInfo::id`].
    pub gil_id: u32,
    /// Contended acquisitions.
    pub wait: HistogramSummary,
    /// What the thread did in them.
    pub wait_parts: WaitParts,
    /// Forced switches: gave way and slept until another took the GIL.
    #[serde(rename = "yield")]
    pub forced_switch: HistogramSummary,
    /// Waits under way when tracing began or ended; in no histogram.
    pub unfinished: Unfinished,
    /// Timed sleeps that ended by themselves.
    pub timeouts: u64,
    /// Woken by a release, slept again in the same wait.
    pub futile_wakeups: u64,
    /// Of the thread's voluntary switches, those made to wait for this GIL.
    pub voluntary_switches: u64,
}

impl GilWaits {
    /// Time waited: finished waits and unfinished ones.
    pub fn waited_ns(&self) -> u64 {
        self.unfinished.total_ns().saturating_add(self.wait.sum_ns)
    }
}

/// Waits that were cut off by the start or the end of tracing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    /// From the start of tracing to the end of a wait that was under way.
    pub at_start_ns: u64,
    /// From its beginning to the end of tracing.
    pub at_end_ns: u64,
}

impl Unfinished {
    /// Both together.
    pub fn total_ns(&self) -> u64 {
        self.at_start_ns.saturating_add(self.at_end_ns)
    }

    /// Adds another's.
    pub fn add(&mut self, other: Unfinished) {
        self.at_start_ns = self.at_start_ns.saturating_add(other.at_start_ns);
        self.at_end_ns = self.at_end_ns.saturating_add(other.at_end_ns);
    }
}

/// Where user and system time come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TickSource {
    /// Sampled at the timer tick.
    Tick,
    /// Measured at each crossing.
    Exact,
}

/// A thread's time on and for the processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuTime {
    /// Running; exact, from the scheduler's events.
    pub on_cpu_ns: u64,
    /// Ready to run, without a processor; exact.
    pub runnable_ns: u64,
    /// The kernel's own accounting of user time.
    pub user_ns: Option<u64>,
    /// The kernel's own accounting of system time.
    pub system_ns: Option<u64>,
    /// Where `user_ns` and `system_ns` come from.
    pub split: Option<TickSource>,
    /// Times it went to sleep by itself.
    pub voluntary_switches: u64,
    /// Times it was taken off the processor.
    pub involuntary_switches: u64,
}

/// A thread's lost waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WaitLoss {
    /// How many.
    pub waits_lost: u64,
    /// Their time.
    pub wait_lost_ns: u64,
}

impl WaitLoss {
    /// Adds another's.
    pub fn add(&mut self, other: WaitLoss) {
        self.waits_lost = self.waits_lost.saturating_add(other.waits_lost);
        self.wait_lost_ns = self.wait_lost_ns.saturating_add(other.wait_lost_ns);
    }
}

/// Threads that have no row of their own.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OtherThreads {
    /// How many threads.
    pub threads: u64,
    /// Their waits.
    pub wait: HistogramSummary,
    /// What they did in them.
    pub wait_parts: WaitParts,
    /// Their forced switches.
    #[serde(rename = "yield")]
    pub forced_switch: HistogramSummary,
    /// Their waits cut off by the start or the end of tracing.
    pub unfinished: Unfinished,
    /// Their timed sleeps that ended by themselves.
    pub timeouts: u64,
    /// Their futile wake-ups.
    pub futile_wakeups: u64,
    /// Their time on and for the processor.
    pub cpu: CpuTime,
    /// What was lost of their waits.
    pub loss: WaitLoss,
}

impl OtherThreads {
    /// Time they waited: finished waits and unfinished ones.
    pub fn waited_ns(&self) -> u64 {
        self.unfinished.total_ns().saturating_add(self.wait.sum_ns)
    }
}

/// A lock that is no GIL.
#[derive(Clone, Debug, Serialize)]
pub struct LockReport {
    /// Index in [`ProcessReport::locks`].
    pub id: u32,
    /// `0x…`, in the target's memory; `None` of a pause.
    pub address: Option<String>,
    /// Of a pause, the thread that asked for it, by its id in its PID namespace; `None` of all else, and where it is not known.
    pub requested_by: Option<u32>,
    /// What it is.
    pub kind: LockKind,
    /// What is waited for.
    pub purpose: Purpose,
    /// How many threads waited for it.
    pub threads: u64,
    /// Waits of all threads.
    pub wait: HistogramSummary,
    /// Their waits cut off by the start or the end of tracing.
    pub unfinished: Unfinished,
}

impl LockReport {
    /// Time waited: finished waits and unfinished ones.
    pub fn waited_ns(&self) -> u64 {
        self.unfinished.total_ns().saturating_add(self.wait.sum_ns)
    }
}

/// A thread's waits for one lock.
#[derive(Clone, Debug, Serialize)]
pub struct LockWaits {
    /// [`LockReport::id`].
    pub lock_id: u32,
    /// Contended acquisitions.
    pub wait: HistogramSummary,
    /// Waits cut off by the start or the end of tracing; in no histogram.
    pub unfinished: Unfinished,
}

/// Waits for locks that have no row of their own.
#[derive(Clone, Debug, Serialize)]
pub struct OtherLocks {
    /// How many rows, each of a thread and a lock, were merged.
    pub rows: u64,
    /// Their waits.
    pub wait: HistogramSummary,
    /// Their waits cut off by the start or the end of tracing.
    pub unfinished: Unfinished,
}
