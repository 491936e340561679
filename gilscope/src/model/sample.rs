//! Looks at who has a GIL, waited for or not.

use super::stack::PythonStack;
use serde::Serialize;

/// One look at one GIL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at_ns: u64,
    /// Index of the GIL in its process.
    pub gil_id: u32,
    /// What was seen.
    pub seen: Sampled,
}

/// What a look at a GIL has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sampled {
    /// No thread has it.
    Free,
    /// A thread has it.
    Held(Held),
    /// It went from one thread to another meanwhile, or could not be read.
    Unknown,
}

/// A thread that has a GIL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Thread id.
    pub holder: u32,
    /// It sleeps.
    pub is_asleep: bool,
    /// It is collecting garbage; `None` where that is not known.
    pub is_collecting: Option<bool>,
    /// Where it is in Python, where that could be read.
    pub stack: Option<PythonStack>,
}

/// Looks at a process's GILs, about ten a second at each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GilSamples {
    /// How many.
    pub taken: u64,
    /// Those in which a thread had the GIL.
    pub held: u64,
    /// Those that do not tell, as the GIL went from one thread to another meanwhile.
    pub unknown: u64,
    /// Of [`GilSamples::held`], those in which that thread was asleep.
    pub asleep: u64,
    /// Those in which it was collecting garbage; `None` where no look could tell.
    pub collecting: Option<u64>,
}

/// A place in Python at which a thread was seen to have a GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeldAt {
    /// Thread id.
    pub holder: u32,
    /// Index of its stack in the process's stacks.
    pub stack: usize,
    /// How often it was seen there.
    pub samples: u64,
}
