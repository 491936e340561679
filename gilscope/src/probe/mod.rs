//! The kernel's side: loads the programs, attaches them, fills and reads their maps.
//!
//! The only room that knows aya. Everything is released by the kernel when the process goes, in
//! whatever way: nothing is pinned.

mod attach;
mod btf;
mod callers;
mod capabilities;
mod error;
mod load;
mod plan;
mod tracefs;

pub use attach::{Probe, fields_of};
pub use callers::{Libraries, Library, library};
pub use capabilities::check_permission;
pub use error::ProbeError;
pub use load::Limits;
pub use plan::{Hooks, hooks};
