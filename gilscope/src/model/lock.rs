//! Locks other than a GIL, as they are told apart.

use serde::Serialize;

/// What a lock is, as far as the function that waits for it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockKind {
    /// A POSIX semaphore: `threading.Lock` to CPython 3.13.0.
    Semaphore,
    /// A POSIX condition variable.
    Condvar,
    /// A POSIX mutex.
    Mutex,
    /// A POSIX read-write lock.
    Rwlock,
    /// CPython's `PyMutex`, or what else waits in its parking lot (3.13+).
    PyMutex,
    /// A pause of all threads in a free-threaded build.
    StopTheWorld,
    /// Not known.
    Unknown,
}

/// Whether a thread that waits is hindered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// It wants what another has.
    Contention,
    /// It has nothing to do, and waits for something to be done or to happen.
    Idle,
    /// Not known.
    Unknown,
}

/// A lock, as waits for it are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockId {
    /// Where it is in the target's memory; of a pause, the id of the thread that asked for it in its PID namespace, 0 if that
    /// is not known.
    pub address: u64,
    /// What it is.
    pub kind: LockKind,
    /// What is waited for.
    pub purpose: Purpose,
}

/// A finished wait for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockWait {
    /// Thread.
    pub tid: u32,
    /// Which lock.
    pub lock: LockId,
    /// Time asleep in it.
    pub slept_ns: u64,
    /// It was under way when tracing began.
    pub cut_at_start: bool,
}

/// What the kernel itself counted of a thread's waits for locks, and what it is in now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockTotals {
    /// Finished waits.
    pub waits: u64,
    /// Their time.
    pub sum_ns: u64,
    /// The one under way, and its time so far; whether it was under way when tracing began.
    pub open: Option<(LockId, u64, bool)>,
}
