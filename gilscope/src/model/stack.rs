//! What a thread is doing in Python.

use serde::Serialize;

/// A Python function that a thread is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
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

/// Python functions of a thread, as the kernel has read them while it waited for a GIL or had it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PythonStack {
    /// The innermost first.
    pub frames: Vec<Frame>,
    /// There are more.
    pub truncated: bool,
    /// Functions that could not be read, or whose code was gone before its names were: not among [`PythonStack::frames`].
    pub unreadable: u64,
}

impl From<Stack> for PythonStack {
    fn from(stack: Stack) -> Self {
        Self {
            frames: stack.frames,
            truncated: stack.truncated,
            unreadable: stack.unreadable,
        }
    }
}
