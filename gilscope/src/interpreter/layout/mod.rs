//! All that is known of each version's memory, as data, with how it was obtained.
//!
//! A version that is not here is refused. What is here is checked again in every target before it
//! is believed ([`locate`](super::locate)), and by the tests in `tests/interpreters.rs` against the
//! futex that a waiting thread sleeps on.

use super::version::Version;

mod collector;
mod debug_offsets;
mod frame_table;
mod frames;
mod gil;
mod instances;
mod library;
mod runtime;
mod statics;

pub use collector::{
    BUFFERED, COLLECTING_VARIABLE, COUNTED, Collecting, Collections, Collector, GENERATIONS,
};
pub use debug_offsets::{DEBUG_OFFSETS_SIZE, from_debug_offsets};
pub use frame_table::frames;
pub use frames::{
    CodeLayout, FrameLayout, LineFormat, NO_FUNCTION_FROM, OF_GENERATOR, PauseLayout, Position,
    RLock, Text, Values,
};
pub use gil::GilFields;
pub use instances::{INLINE_VALUES, InstanceLayout, Kept, KeyTable, MANAGED_DICT, instances};
pub use library::{CONTENDING, IDLE};
pub use runtime::of_version;
pub use statics::{
    CHECK_INTERVAL, CURRENT_THREAD, DROPS_GIL, GIL_VARIABLE_SIZES, GIL_VARIABLES,
    INTERPRETERS_USER, LOCK, NEVER_RETURN, READS_INTERVAL, READS_LOCKED, SEMAPHORE_POINTER,
    SEMAPHORE_USERS, SIGNAL, TAKES_GIL, TICKER, TIMED_WAIT, WAIT, is_semaphore,
};

/// The first version with a parking lot (`Python/parking_lot.c`, `Python/lock.c`).
const PARKING_LOT_FROM: Version = Version::of(3, 13);

/// Whether locks may wait in a parking lot: then the waiter sleeps on a word on its own stack, and the lock's address is in the 8
/// bytes before it (`struct wait_entry`; measured 3.13.0 – 3.15.2).
pub fn has_parking_lot(version: Version) -> bool {
    version >= PARKING_LOT_FROM
}

/// Where the GIL of an interpreter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GilPlace {
    /// One for all interpreters, this far into `_PyRuntime` (to 3.11).
    InRuntime(u64),
    /// Each interpreter has a pointer (3.12+).
    ByInterpreter {
        /// Offset of the pointer (`ceval.gil`).
        pointer: u64,
        /// Offset of the GIL that the interpreter owns, or would if it did not share (`_gil`).
        own: u64,
    },
}

/// The way from `_PyRuntime` to every GIL: offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `_PyRuntime` → pointer to the newest interpreter.
    pub interpreters_head: u64,
    /// Interpreter → pointer to the next older one.
    pub next: u64,
    /// Interpreter → its id (int64_t).
    pub id: u64,
    /// Thread state → pointer to its interpreter.
    pub tstate_interpreter: u64,
    /// The GIL.
    pub gil: GilPlace,
    /// Its fields.
    pub fields: GilFields,
    /// Built with `--disable-gil`.
    pub free_threaded: bool,
    /// What it tells of its garbage collector; `None` where that is not known.
    pub collector: Option<Collector>,
}
