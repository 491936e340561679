//! The oracle.
fn main() {}
