//! Not yet furnished.

pub mod function;
