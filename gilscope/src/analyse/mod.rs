//! Events in, findings out: how often, how long and what share of its life each thread waited.
//!
//! Pure: no clock, no files, no threads, so that a live target, a recording and a test walk one
//! road. [`Process`] takes the events of one process and gives its [`Findings`]; [`Histogram`] keeps
//! a thread's times small, [`Merged`] sums them up, [`Contended`] measures when anybody waited.
//! [`circles`] finds who waits for each other; `storms` when it was bad, and `what_if` what there is to gain. `samples` adds up looks at
//! who has a GIL; [`judge`] says what is wrong.

mod after;
mod asleep;
mod blocked;
mod bucket;
mod contended;
mod deadlock;
mod histogram;
mod locks;
mod merged;
mod others;
mod process;
mod samples;
mod storms;
mod thread;
mod verdict;
mod waited_at;
mod what_if;

pub use contended::Contended;
pub use deadlock::circles;
pub use histogram::Histogram;
pub use locks::DEFAULT_MAX_LOCKS;
pub use merged::{Counted, Merged};
pub use process::{DEFAULT_MAX_THREADS, Findings, Process};
pub use samples::Samples;
pub use verdict::judge;
