//! The CPython in a process: which mapped file it is, its version, where its GILs lie.
//!
//! What is known of each version is data in [`layout`]; [`locate`] follows it through the target's
//! memory ([`statics`], [`semaphore`] where there is nothing to follow) and believes nothing that fails a check. Attaching to what is found is not this room's job.

mod detect;
mod error;
mod find;
mod function;
mod hidden;
pub mod layout;
mod locate;
mod running;
mod semaphore;
mod statics;
mod statics_code;
pub mod version;

pub use detect::Libc;
pub use error::InterpreterError;
pub use find::Interpreter;
pub use function::{Function, purpose};
pub use version::{Level, Version};
