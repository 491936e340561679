//! Garbage collections.

use serde::Serialize;

/// Collections of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Generation {
    /// How many.
    pub count: u64,
    /// How long they took in all; `None` where the interpreter does not tell (to 3.14).
    pub sum_ns: Option<u64>,
}

/// Collections between two looks, as the interpreter counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Collections {
    /// The first look, since tracing began.
    pub from_ns: u64,
    /// The last one.
    pub until_ns: u64,
    /// Those of the youngest generation first.
    pub generations: [Generation; 3],
}
