//! What the end-to-end tests share: the program under test, real interpreters, guards that end what
//! they start, and waits for conditions. A failure is a panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

pub mod accuracy;
mod binary;
mod cache;
mod condition;
mod held;
mod judge;
pub mod kernel;
mod privilege;
mod program;
mod python;
mod report;
mod running;
mod tracer;

pub use binary::{gil_oracle, gilscope, use_gilscope};
pub use cache::environment_with;
pub use condition::{DEADLINE, until};
pub use held::Held;
pub use judge::{Judgement, RULES, RUNS, Said, judge};
pub use privilege::{for_anybody, need_root};
pub use program::{FINDINGS, HEALTHY, INCIDENTS, Program, Truth};
pub use python::{
    Python, builds, free_threaded, interpreters, python, python_2_7, python_with_packages,
};
pub use report::{Finding, Histogram, Lock, Process, Report, Thread};
pub use running::{Ended, Running};
pub use tracer::{Traced, Tracer, run};
