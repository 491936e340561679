//! Why a process cannot be watched.

use crate::{interpreter::InterpreterError, probe::ProbeError, target::TargetError};

/// Why a process cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The process itself.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Its interpreter.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// The kernel's side.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Process ids here are not the kernel's own.
    #[error(
        "gilscope runs in a PID namespace of its own, where process ids are not the kernel's; \
         run it on the host, or in a container with the host's PID namespace (--pid=host)"
    )]
    PidNamespace,
    /// A C library whose waiters do not sleep on the lock's own words.
    #[error(
        "musl's futex calls do not tell which lock a thread waits for; leave out --source futex, and uprobes are used"
    )]
    Musl,
    /// Neither glibc nor musl.
    #[error(
        "not supported yet: a C library that is neither glibc nor musl, or is linked statically; \
         gilscope must know how its condition variables wait"
    )]
    UnknownLibc,
}
