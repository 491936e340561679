//! How far a run has come, for those who watch it.

/// What has been seen so far, in all followed processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since tracing began.
    pub elapsed_ns: u64,
    /// Threads that are alive.
    pub threads: u64,
    /// Finished waits that were recorded.
    pub waits: u64,
    /// Their time.
    pub waited_ns: u64,
    /// Time in which at least one thread waited.
    pub contended_ns: u64,
    /// Records that did not fit the ring buffer.
    pub events_lost: u64,
}
