//! 3.13+: `_PyRuntime` begins with `_Py_DebugOffsets`, which tells the offsets. Only its own order
//! has to be known; it differs between minor versions.

use super::super::version::Version;
use super::{GilFields, GilPlace, Layout, collector};

/// The most that is read of it: enough for every field used here.
pub const DEBUG_OFFSETS_SIZE: usize = 792;
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
pub(super) const MAX_OFFSET: u64 = 16 << 20;

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
        collector: collector::from_debug_offsets(table, version),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// As 3.14.10 has it, where it is used.
    fn table(hex: u32) -> Vec<u8> {
        let mut table = vec![0; DEBUG_OFFSETS_SIZE];
        table[..8].copy_from_slice(COOKIE);
        for (at, word) in [
            (8, u64::from(hex)),
            (40, 808),
            (56, 7280),
            (64, 7272),
            (120, 16),
            (128, 7784),
            (144, 7800),
            (152, 7792),
            (200, 16),
        ] {
            put(&mut table, at, word);
        }
        table
    }

    fn put(table: &mut [u8], at: usize, word: u64) {
        table[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    const HEX: u32 = 0x030E_0AF0;

    fn version() -> Version {
        Version::from_hex(HEX).unwrap()
    }

    #[test]
    fn a_good_table() {
        let layout = from_debug_offsets(&table(HEX), version()).unwrap().unwrap();
        assert_eq!(layout.interpreters_head, 808);
        assert_eq!((layout.next, layout.id), (7272, 7280));
        let (pointer, own) = (16, 7784);
        assert_eq!(layout.gil, GilPlace::ByInterpreter { pointer, own });
        assert_eq!(layout.fields, GilFields::NORMAL);
        assert!(!layout.free_threaded);
        let mut free_threaded = table(HEX);
        put(&mut free_threaded, 16, 1);
        put(&mut free_threaded, 144, 7784 + 24);
        put(&mut free_threaded, 152, 7784 + 16);
        let layout = from_debug_offsets(&free_threaded, version())
            .unwrap()
            .unwrap();
        assert!(layout.free_threaded);
        assert_eq!(layout.fields, GilFields::FREE_THREADED);
    }

    #[test]
    fn every_word_that_is_used_is_checked() {
        for at in [0, 8, 40, 56, 64, 120, 128, 144, 152, 200] {
            let mut bad = table(HEX);
            put(&mut bad, at, u64::MAX);
            assert!(from_debug_offsets(&bad, version()).is_err(), "{at}");
        }
        for len in 0..208 {
            assert!(
                from_debug_offsets(&table(HEX)[..len], version()).is_err(),
                "{len}"
            );
        }
        assert!(from_debug_offsets(&table(0x030E_0BF0), version()).is_err());
        let mut other_order = table(HEX);
        put(&mut other_order, 144, 7784);
        assert!(from_debug_offsets(&other_order, version()).is_err());
    }

    #[test]
    fn unknown_versions_are_not_read() {
        for minor in (0..=u8::MAX).filter(|m| !(13..=15).contains(m)) {
            let unknown = Version::of(3, minor);
            assert_eq!(from_debug_offsets(&table(HEX), unknown), Ok(None));
        }
    }
}
