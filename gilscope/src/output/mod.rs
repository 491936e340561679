//! Findings to something that can be read: one file a format, each writing to a `Write`.
//!
//! Nothing here decides what matters, looks at a process or prints by itself: [`json`] and [`text`]
//! write a whole report, [`folded`] and [`flamegraph`] its stacks, [`progress`] makes the line of a second, [`storm`] that of a storm, and [`Destination`] puts a report
//! where it belongs, whole or not at all.

mod destination;
pub mod flamegraph;
pub mod folded;
pub mod json;
pub mod progress;
#[cfg(test)]
mod sample;
mod shown;
pub mod storm;
pub mod text;

pub use destination::{Destination, DestinationError, Owner};
pub use shown::sentence;
