//! What the command line asks for: a file a verb.

mod failure;
mod launch;
mod report;
pub mod trace;
