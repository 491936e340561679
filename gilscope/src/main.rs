//! gilscope.
fn main() {}
