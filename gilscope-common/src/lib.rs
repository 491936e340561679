//! What gilscope's kernel and user space share.
//!
//! [`records`] are the bytes that cross the ring buffer, [`maps`] the keys and values of the BPF
//! maps; the other modules are what runs in the kernel and is tested in
//! user space. No allocation, no panics: everything here must pass the kernel's verifier.
#![no_std]
#![deny(missing_docs)]

pub mod frames;
pub mod history;
pub mod holder;
pub mod lock;
pub mod maps;
pub mod parts;
pub mod records;
pub mod sched;
pub mod wait;

#[cfg(test)]
mod tests;
