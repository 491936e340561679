//! What threads run with a GIL held, as a clock saw it.

use serde::Serialize;

/// Ticks of the processors' clocks at which a thread of the process ran with a GIL held: an estimate of how it divides that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OnCpuSamples {
    /// How many.
    pub taken: u64,
    /// In the file that the interpreter is in: Python, and what of it is written in C. Or in the C library, known to be called by that.
    pub python: u64,
    /// In another file: an extension, or a library.
    pub native: u64,
    /// In none that is known, such as code made at run time.
    pub unknown: u64,
}

/// A function that is not in the interpreter's file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NativeFunction {
    /// Name of the file that it is in.
    pub library: String,
    /// Its name; `None` where the file has no symbol for it.
    pub function: Option<String>,
}

/// A native function that a thread ran with a GIL held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NativeAt {
    /// Thread id.
    pub holder: u32,
    /// Which.
    #[serde(flatten)]
    pub at: NativeFunction,
    /// How often it was seen there.
    pub samples: u64,
    /// Who called it, most often first, 10 at most. What is missing to the samples is not known, or of others.
    pub callers: Vec<NativeCallers>,
}

/// Who called a native function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NativeCallers {
    /// From its own caller to the function that Python called; none if Python called it itself.
    pub functions: Vec<NativeFunction>,
    /// How often it was seen, called so.
    pub samples: u64,
}
