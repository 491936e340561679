//! What the command line asks for: a file a verb.

pub mod dump;
mod failure;
mod launch;
pub mod options;
mod progress;
mod report;
mod signals;
pub mod trace;
