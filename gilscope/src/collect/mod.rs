//! From the kernel's records and counters to the events that the analysis knows.

mod decode;

pub use decode::{DecodeError, EndedThread, Record, call, decode, gil_totals, thread_totals};
