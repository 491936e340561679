//! 3.13+: `_PyRuntime` begins with `_Py_DebugOffsets`, which tells the offsets. Only its own order
//! has to be known; it differs between minor versions.

use super::super::version::Version;
use super::{GilFields, GilPlace, Layout};

/// The most that is read of it: enough for every field used here.
pub const DEBUG_OFFSETS_SIZE: usize = 256;
/// `_Py_Debug_Cookie` (Include/internal/pycore_debug_offsets.h).
const COOKIE: &[u8; 8] = b"xdebugpy";

/// Where the fields are in the table itself. Measured on 3.13.0, 3.13.5, 3.14.10 and 3.15.2.
struct Order {
    minor: u8,
    /// `interpreter_state.ceval_gil`; `gil_runtime_state`, `_enabled`, `_locked`, `_holder` follow.
    ceval_gil: usize,
    /// `thread_state.interp`.
    thread_interp: usize,
}

const ORDERS: &[Order] = &[
    Order {
        minor: 13,
        ceval_gil: 112,
        thread_interp: 176,
    },
    // 3.14 put `threads_main` before, and two generations after the GIL's fields.
    Order {
        minor: 14,
        ceval_gil: 120,
        thread_interp: 200,
    },
    Order {
        minor: 15,
        ceval_gil: 120,
        thread_interp: 200,
    },
];

// The same in all.
const VERSION: usize = 8;
const FREE_THREADED: usize = 16;
const RUNTIME_HEAD: usize = 40;
const INTERPRETER_ID: usize = 56;
const INTERPRETER_NEXT: usize = 64;

/// No offset in a runtime, interpreter or thread state is larger: an interpreter is about 400 KB.
const MAX_OFFSET: u64 = 16 << 20;

/// Reads the table at the start of `_PyRuntime`. `Ok(None)`: this minor version is not known. `Err`
/// names the check that failed.
pub fn from_debug_offsets(table: &[u8], version: Version) -> Result<Option<Layout>, String> {
    let known = ORDERS
        .iter()
        .find(|o| version.major == 3 && o.minor == version.minor);
    let Some(order) = known else {
        return Ok(None);
    };
    let word = |at: usize| -> Result<u64, String> {
        let bytes = table.get(at..).and_then(|rest| rest.first_chunk::<8>());
        bytes
            .map(|b| u64::from_le_bytes(*b))
            .ok_or_else(|| "_Py_DebugOffsets is cut short".into())
    };
    let offset = |at: usize| -> Result<u64, String> {
        let value = word(at)?;
        let failed = || format!("_Py_DebugOffsets+{at} is {value:#x}, which is no offset");
        (value < MAX_OFFSET).then_some(value).ok_or_else(failed)
    };
    if !table.starts_with(COOKIE) {
        return Err("_Py_DebugOffsets has no cookie".into());
    }
    let said = u32::try_from(word(VERSION)?)
        .ok()
        .and_then(Version::from_hex);
    if said != Some(version) {
        return Err("_Py_DebugOffsets tells another version than Py_Version".into());
    }
    let free_threaded = word(FREE_THREADED)? != 0;
    let gil = GilPlace::ByInterpreter {
        pointer: offset(order.ceval_gil)?,
        own: offset(order.ceval_gil + 8)?,
    };
    let own = offset(order.ceval_gil + 8)?;
    let fields = if free_threaded {
        GilFields::FREE_THREADED
    } else {
        GilFields::NORMAL
    };
    // These two count from the interpreter's start, through the GIL that it owns.
    let locked = offset(order.ceval_gil + 24)?.checked_sub(own);
    let holder = offset(order.ceval_gil + 32)?.checked_sub(own);
    if (locked, holder) != (Some(fields.locked), Some(fields.last_holder)) {
        return Err("_Py_DebugOffsets has the GIL's fields in another order".into());
    }
    Ok(Some(Layout {
        interpreters_head: offset(RUNTIME_HEAD)?,
        next: offset(INTERPRETER_NEXT)?,
        id: offset(INTERPRETER_ID)?,
        tstate_interpreter: offset(order.thread_interp)?,
        gil,
        fields,
        free_threaded,
    }))
}
