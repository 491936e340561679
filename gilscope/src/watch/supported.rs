//! Which interpreters can be traced truthfully.

use super::WatchError;
use crate::interpreter::{Interpreter, Libc};

/// Whether the waits for this interpreter's GIL can be told truthfully.
///
/// # Errors
/// [`WatchError::Musl`], [`WatchError::UnknownLibc`].
pub fn check_supported(interpreter: &Interpreter) -> Result<(), WatchError> {
    match interpreter.libc {
        Libc::Musl => Err(WatchError::Musl),
        Libc::Unknown => Err(WatchError::UnknownLibc),
        Libc::Glibc => Ok(()),
    }
}
