//! The pipe, wired once: a process and its interpreter, the probe, the records, the analysis. [`dump`] needs no probe.

mod begin;
mod clock;
mod collections;
mod dump;
mod error;
mod host;
mod locks;
mod native_code;
mod on_cpu;
mod options;
mod process;
mod samples;
mod session;
mod supported;

pub use dump::take as dump;
pub use error::WatchError;
pub use options::Options;
pub use session::Session;
