//! The words that every other room speaks: what a report holds, what an event is, where a GIL lies.
//!
//! Plain data without I/O, so that what is measured, decoded from a file or made up by a test walks
//! the same road.

mod call;
mod collections;
mod dump;
mod event;
mod finding;
mod gil;
mod lock;
mod on_cpu;
mod progress;
mod report;
mod sample;
mod stack;
mod storm;

pub use call::{Call, system_call};
pub use collections::{Collections, Generation};
pub use dump::{
    DUMP_SCHEMA, DUMP_SCHEMA_VERSION, Deadlock, Doing, Dump, DumpGil, DumpLock, DumpThread, Owner,
    Resource,
};
pub use event::{
    Blocking, Event, GilTotals, HolderSleeps, Interval, IntervalKind, Look, ThreadEnd, ThreadFacts,
    ThreadStart, ThreadTotals, WaitedAt,
};
pub use finding::{Evidence, Finding, Rule};
pub use gil::{CondvarLock, FoundBy, Gil, GilLock, GilOwner, WaitSource};
pub use lock::{LockId, LockKind, LockTotals, LockWait, Purpose};
pub use on_cpu::{NativeAt, NativeCallers, NativeFunction, OnCpuSamples};
pub use progress::Progress;
pub use report::{
    AsleepWithGil, BlockedAt, BlockedBy, CpuTime, ExitStatus, GilInfo, GilWaits, HistogramSummary,
    Host, LockReport, LockWaits, Loss, OtherBlockedAt, OtherLocks, OtherThreads, ProcessEnd,
    ProcessReport, Report, SCHEMA, SCHEMA_VERSION, StackReads, ThreadReport, TickSource,
    Unfinished, WaitLoss, WaitParts, WaitsAfter,
};
pub use sample::{GilSamples, Held, HeldAt, Sample, Sampled};
pub use stack::{Frame, PythonStack, Stack};
pub use storm::{
    OtherStorms, Storm, StormHolder, StormKind, StormNews, StormThread, StormThresholds, WhatIf,
};
