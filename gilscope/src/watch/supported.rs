//! Which interpreters can be traced truthfully, and by what.

use super::WatchError;
use crate::interpreter::{Interpreter, Libc};
use crate::model::WaitSource;

/// What the waits for this interpreter's GIL are measured by: as wanted, else by the cheapest that is true. musl's waiters
/// sleep on their own stacks, so a futex call does not tell what for (musl 1.2.3, `src/thread/pthread_cond_timedwait.c`).
///
/// # Errors
/// [`WatchError::Musl`], [`WatchError::UnknownLibc`].
pub fn source(
    interpreter: &Interpreter,
    wanted: Option<WaitSource>,
) -> Result<WaitSource, WatchError> {
    match (interpreter.libc, wanted) {
        (Libc::Musl, Some(WaitSource::Futex)) => Err(WatchError::Musl),
        (Libc::Musl, _) => Ok(WaitSource::Uprobe),
        (Libc::Glibc, wanted) => Ok(wanted.unwrap_or(WaitSource::Futex)),
        (Libc::Unknown, _) => Err(WatchError::UnknownLibc),
    }
}
