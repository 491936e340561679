//! What the user asked for, in plain values.

pub use crate::model::StormThresholds;
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// What the waits are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// The futex tracepoints, wherever they can name the lock
    Auto,
    /// The futex tracepoints
    Futex,
    /// Uprobes on the C library's condition variables: every wait costs the target several traps
    Uprobe,
}

/// Whose stacks are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StacksOf {
    /// The threads that had the GIL while others waited for it
    Holder,
    /// The threads that waited
    Waiter,
}

/// What is traced.
#[derive(Clone, Debug)]
pub enum Subject {
    /// Live processes.
    Processes(Vec<u32>),
    /// A command, from its start.
    Command(Vec<OsString>),
}

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is traced.
    pub subject: Subject,
    /// How long; `None`: until a signal or the targets' end.
    pub duration: Option<Duration>,
    /// Where the JSON report goes.
    pub json: Option<PathBuf>,
    /// Where the folded stacks go.
    pub folded: Option<PathBuf>,
    /// Where the flame graph goes.
    pub flamegraph: Option<PathBuf>,
    /// Whose stacks those are of.
    pub stacks_of: StacksOf,
    /// Read Python stacks.
    pub stacks: bool,
    /// What the waits are measured by.
    pub source: Source,
    /// No limit on the text report's threads.
    pub all_threads: bool,
    /// Rows for threads.
    pub max_threads: usize,
    /// Rows for locks.
    pub max_locks: usize,
    /// What is a storm.
    pub storms: StormThresholds,
    /// Follow what the targets fork.
    pub children: bool,
    /// No progress.
    pub quiet: bool,
    /// Show what the programs in the kernel have to say.
    pub kernel_log: bool,
}

impl Options {
    /// Every file that is asked for.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.json, &self.folded, &self.flamegraph]
            .into_iter()
            .flatten()
    }
}
