//! Stretches of time in which a process lost more than it should: what they are, and what is said of each.

use serde::Serialize;

/// What makes a storm. `docs/report.md` says how the thresholds were chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StormThresholds {
    /// Percent of the time in which at least one thread waits.
    pub contended_percent: f64,
    /// Time waited, in percent of the time on processors.
    pub lost_percent: f64,
    /// Voluntary context switches a second, where many are to wait for a GIL, and some of these in vain.
    pub switches_per_second: f64,
    /// And so many threads wait.
    pub threads: u32,
    /// For how long that has to be so at least.
    pub length_ns: u64,
    /// How long nobody who waits gets the GIL in a pause, at least.
    pub pause_ns: u64,
}

impl Default for StormThresholds {
    fn default() -> Self {
        Self {
            contended_percent: 20.0,
            lost_percent: 25.0,
            switches_per_second: 2_000.0,
            threads: 16,
            length_ns: 1_000_000_000,
            pause_ns: 100_000_000,
        }
    }
}

/// What a storm was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StormKind {
    /// Threads waited for a GIL for much of the time, or were woken in vain very often.
    Contention,
    /// Threads waited for a GIL, and none of them got it.
    Pause,
}

/// A storm. What follows `figures_ns` is of whole stretches between two looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Storm {
    /// What it was.
    pub kind: StormKind,
    /// Of a pause, the GIL; `None` of contention, which is for any.
    pub gil_id: Option<u32>,
    /// When it began.
    pub started_at_ns: u64,
    /// How long it lasted.
    pub length_ns: u64,
    /// Under way when tracing, or the process, ended.
    pub unfinished: bool,
    /// The time that the figures below are of.
    pub figures_ns: u64,
    /// The most threads that were seen to wait at once.
    pub waiters_peak: u64,
    /// Time that threads waited.
    pub waited_ns: u64,
    /// Time that threads ran.
    pub on_cpu_ns: u64,
    /// Time that threads were ready to run, without a processor.
    pub runnable_ns: u64,
    /// System time, from the process's `/proc/PID/stat`, where that could be read.
    pub system_ns: Option<u64>,
    /// Woken by a release, slept again in the same wait.
    pub futile_wakeups: u64,
    /// Voluntary context switches.
    pub voluntary_switches: u64,
    /// Those among them that were made to wait for a GIL.
    pub gil_switches: u64,
    /// How many threads waited.
    pub threads_waited: u64,
    /// Those that waited longest, longest first.
    pub threads: Vec<StormThread>,
    /// Who had a GIL longest while others waited, where that is known of anybody.
    pub top_holder: Option<StormHolder>,
    /// Records lost meanwhile, of all processes.
    pub events_lost: u64,
}

/// A thread that waited in a storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StormThread {
    /// Thread id.
    pub tid: u32,
    /// Time that it waited.
    pub waited_ns: u64,
}

/// A thread that had a GIL in a storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StormHolder {
    /// Thread id.
    pub tid: u32,
    /// Time that others waited while it had the GIL. Who waits tells as it wakes up, which in 2.7 may be late: then time from before the storm may be in it,
    /// but no more in all than was waited.
    pub blocked_ns: u64,
    /// Where it was longest meanwhile, as an index in the process's stacks; `None` where that was not read.
    pub stack: Option<usize>,
}

/// Storms that have no entry of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OtherStorms {
    /// How many.
    pub storms: u64,
    /// Their lengths, added up.
    pub length_ns: u64,
    /// Time waited in them.
    pub waited_ns: u64,
}

/// A storm that has just been noticed, or that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StormNews {
    /// It, so far.
    pub storm: Storm,
    /// Whether it is over.
    pub is_over: bool,
}

/// The most that a process could gain if its threads had not to wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WhatIf {
    /// Processors online.
    pub cpus: u32,
    /// Threads that wanted to go on at once while at least one waited, on average: those that waited and those that had a GIL.
    pub wanted_at_once: f64,
    /// Without a GIL: how many times as fast at most.
    pub without_gil_at_most: f64,
    /// So many processes, each with a GIL of its own, could gain the same at most, and more of them no more.
    pub processes: u32,
    /// The thread that could gain most, of those that have a row.
    pub tid: Option<u32>,
    /// How many times as fast that one at most.
    pub thread_at_most: Option<f64>,
}
