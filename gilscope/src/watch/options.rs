//! What a run is asked to do.

use crate::{
    model::{StormThresholds, WaitSource},
    probe::Limits,
};

/// How a run is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the kernel sets aside.
    pub limits: Limits,
    /// Rows for threads in the report of a process.
    pub max_threads: usize,
    /// Rows for locks, each of a thread and a lock, in the report of a process.
    pub max_locks: usize,
    /// Processes that a target forks are followed too.
    pub follow_children: bool,
    /// What the waits are measured by.
    pub source: Option<WaitSource>,
    /// What is a storm.
    pub storms: StormThresholds,
}
