//! A process and its files: what it is, which threads it has, what is mapped, what its memory holds.
//!
//! Everything read here is hostile: each length is bounded, each sum is checked, nothing is mapped
//! into gilscope, and a file is read only once it is known to be a regular one. This room knows
//! nothing of Python or of probes.

pub mod elf;
pub mod function;
pub mod maps;
pub mod memory;
pub mod module;
pub mod process;

pub use elf::{Elf, ElfError};
pub use memory::{Memory, MemoryError};
pub use module::{Module, ModuleError};
pub use process::{PidNamespace, Process, RunQueues, SystemCall, TargetError, Thread};
