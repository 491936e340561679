//! gilscope's figures against the oracle's: both trace the same run of a workload, and every difference has a bound.
//!
//! `python` lists the interpreters, `run` makes a run, `compare` judges it, `table` prints many. docs/accuracy.md has the
//! definitions.

mod child;
mod compare;
mod holders;
mod python;
mod report;
mod run;
mod table;

pub use compare::{Comparison, Figure, Pair};
pub use holders::Holders;
pub use python::{Python, list};
pub use run::Programs;
pub use table::{between_markers, markdown};

/// The workloads that waits are judged on, in the order of the table.
pub const WORKLOADS: [&str; 6] = ["spin", "crowd", "pipe", "churn", "convoy", "pollers"];

/// Fewer waits than this say nothing of percentiles, nor of a thread.
pub const JUDGED_FROM: u64 = 1_000;
