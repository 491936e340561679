//! The pipe, wired once: a process and its interpreter, the probe, the records, the analysis.

mod begin;
mod clock;
mod error;
mod host;
mod process;
mod session;

pub use error::WatchError;
pub use session::{Options, Session};
