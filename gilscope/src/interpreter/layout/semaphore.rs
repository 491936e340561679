//! What tells whether a thread of CPython 2.7 has had its GIL, which is a semaphore: offsets in bytes.

use super::super::version::Version;

/// Where that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SemaphoreLayout {
    /// Thread state → `thread_id`, the thread's `pthread_t`.
    pub thread_id: u32,
    /// Thread state → `tick_counter` (int), which grows each time that the thread has run a check interval of instructions.
    pub ticks: u32,
    /// Thread state → pointer to the innermost frame.
    pub frame: u32,
    /// Frame → `f_lasti` (int), the instruction that runs.
    pub instruction: u32,
}

/// `Include/pystate.h`, `Include/frameobject.h`, `Python/ceval.c` (2.7.18); measured on 2.7.18, x86-64.
const OF_2_7: SemaphoreLayout = SemaphoreLayout {
    thread_id: 144,
    ticks: 128,
    frame: 16,
    instruction: 120,
};

/// The layout of a version whose GIL is a semaphore; `None` of others.
pub fn semaphore(version: Version) -> Option<SemaphoreLayout> {
    ((version.major, version.minor) == (2, 7)).then_some(OF_2_7)
}
