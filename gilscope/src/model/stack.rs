//! What a thread is doing in Python.

use serde::Serialize;

/// A Python function that a thread is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// `co_name`.
    pub name: String,
    /// `co_qualname`, which has the class or the function that it is in (3.11+).
    pub qualified_name: Option<String>,
    /// `co_filename`.
    pub file: String,
    /// The line of the instruction that it is at; `None` where it has none.
    pub line: Option<u32>,
}

/// The Python functions of a thread in one interpreter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stack {
    /// Id of the interpreter; 0 is the main one.
    pub interpreter: i64,
    /// The innermost first.
    pub frames: Vec<Frame>,
    /// There are more.
    pub truncated: bool,
    /// Frames that could not be read, and are not among [`Stack::frames`].
    pub unreadable: u64,
    /// It was the same before and after it was read. What runs meanwhile may not be, and then its functions may be of different moments.
    pub consistent: bool,
}
