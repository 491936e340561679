//! Why no GIL was found.

use super::version::Version;
use crate::target::{MemoryError, ModuleError, TargetError};
use std::path::PathBuf;
use thiserror::Error;

/// Why no GIL was found.
#[derive(Debug, Error)]
pub enum InterpreterError {
    /// The process cannot be looked at.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Its memory cannot be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A file that may be the interpreter cannot be read.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// No mapped file is a CPython.
    #[error(
        "process {pid} ({exe}) is not Python: no file that it has mapped exports CPython's _PyRuntime, and the program itself has no such symbol; pass the process that runs Python, perhaps one of its children"
    )]
    NotPython {
        /// Process.
        pid: u32,
        /// What it runs.
        exe: String,
    },
    /// A Python, but another one.
    #[error("process {pid} is not CPython: PyPy ({}), whose lock gilscope does not know; run the program with CPython", path.display())]
    PyPy {
        /// Process.
        pid: u32,
        /// The file.
        path: PathBuf,
    },
    /// Older or newer than what gilscope knows.
    #[error(
        "not supported yet: CPython {version} (gilscope reads 2.7 and 3.2 to 3.15); run the program with one of those"
    )]
    Unsupported {
        /// Its version.
        version: Version,
    },
    /// It has no symbols that tell where the GIL is, and its code is not as expected.
    #[error(
        "not supported yet: CPython {version} in a stripped file ({}) whose code does not tell where the GIL is; run the program with an unstripped one",
        path.display()
    )]
    Stripped {
        /// Its version.
        version: Version,
        /// The file.
        path: PathBuf,
    },
    /// The interpreter is mapped but has not made its GIL yet, or has destroyed it.
    #[error("CPython in process {pid} has no GIL: it is starting or ending; try again in a moment")]
    NotInitialised {
        /// Process.
        pid: u32,
    },
    /// The memory is not laid out as this version's is.
    #[error(
        "the runtime at {address:#x} does not look like CPython {version}: {failed}; a build with its own changes is not supported, please report it"
    )]
    Unrecognised {
        /// Address of `_PyRuntime`; before 3.7 of `gil_locked`, in 2.7 of `interpreter_lock`.
        address: u64,
        /// The version that it says it is.
        version: Version,
        /// The check that failed.
        failed: String,
    },
}

impl InterpreterError {
    /// Whether a process that has just started may yet become a CPython with a GIL: ask again.
    pub fn may_be_too_early(&self) -> bool {
        use InterpreterError::{NotInitialised, NotPython};
        matches!(self, NotPython { .. } | NotInitialised { .. })
    }
}
