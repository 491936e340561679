//! Drives gilscope on real Python processes.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod accuracy;
