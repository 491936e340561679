//! gilscope as a library: a live CPython in, a truthful report of who waited for its GIL out.
//!
//! The road that data takes: [`target`] (a process and its files) → [`interpreter`] (where its GIL
//! lies) → [`probe`] (the kernel's side) → [`collect`] (records to events) → [`analyse`] (events to
//! findings) → [`output`] (findings to text and JSON), in the words of [`model`]. [`watch`] wires it.

pub mod analyse;
pub mod cli;
pub mod collect;
pub mod commands;
pub mod interpreter;
pub mod model;
pub mod output;
pub mod probe;
pub mod target;
pub mod watch;
