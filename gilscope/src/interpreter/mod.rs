//! The CPython in a process: which mapped file it is, its version, where its GILs lie.
//!
//! What is known of each version is data in [`layout`]; [`locate`] follows it through the target's
//! memory ([`statics`], [`semaphore`] where there is nothing to follow) and believes nothing that fails a check. Its threads are in
//! [`threads`], the functions that they run in [`stacks`], those that the kernel saw them run in [`recorded`], whether it collects
//! garbage in [`collecting`], how often it has in [`collections`], what it calls its threads in [`names`], and which locks they hold by
//! `with` in [`with_blocks`]. Attaching to what is found is not this room's job.

mod code;
mod collecting;
mod collections;
mod detect;
mod error;
mod find;
mod function;
mod hidden;
mod holder;
mod instance;
pub mod layout;
mod lines;
mod locate;
mod names;
mod object;
mod recorded;
mod rlock;
mod running;
mod semaphore;
mod stacks;
mod statics;
mod statics_code;
mod text;
mod threads;
pub mod version;
mod walk;
mod with_blocks;

pub use detect::Libc;
pub use error::InterpreterError;
pub use find::Interpreter;
pub use function::{Function, purpose};
pub use recorded::RecordedStacks;
pub use stacks::{MAX_FRAMES, Stacks};
pub use threads::ThreadState;
pub use version::{Level, Version};
pub use with_blocks::{WithBlock, WithBlocks};
