//! Every rule on hand-made code, then a real libc against other tools, then a damaged one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod code;
mod elf;
mod hostile;
mod real;
mod rules;
mod tables;
