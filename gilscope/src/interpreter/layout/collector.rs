//! `int collecting`: 1 from the beginning of a garbage collection to its end, else 0 (2.7 – 3.15: Modules/gcmodule.c to 3.12, Python/gc.c
//! and Python/gc_free_threading.c from 3.13 on). In free-threaded builds too, where a collection has several stop-the-world pauses. From 3.7 on it is
//! known as well where collections are counted.

use super::super::version::{Level, Version};
use super::debug_offsets::MAX_OFFSET;

/// Where an interpreter keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collecting {
    /// One for all interpreters, this far into `_PyRuntime` (3.7, 3.8).
    InRuntime(u64),
    /// Each interpreter has one, this far into it (3.9+).
    InInterpreter(u64),
}

/// Where an interpreter counts its collections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collections {
    /// As [`COUNTED`] says, so far before `collecting`.
    Before(u64),
    /// As [`BUFFERED`] says, by a pointer that lies so far before it.
    PointerBefore(u64),
}

/// What is known of a version's collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Whether it is at work.
    pub collecting: Collecting,
    /// How often it has been; `None` where that is not known.
    pub collections: Option<Collections>,
}

/// Generations (`NUM_GENERATIONS`).
pub const GENERATIONS: usize = 3;

/// `struct gc_generation_stats generation_stats[3]`, right before `collecting` (3.7 – 3.14: the headers and the DWARF named below).
pub struct Counted {
    /// Bytes of each.
    pub size: usize,
    /// `collections` in each.
    pub collections: usize,
}

/// To 3.14.
pub const COUNTED: Counted = Counted {
    size: 24,
    collections: 0,
};

/// `struct gc_stats` (Include/internal/pycore_interp_structs.h, the DWARF of Debian's 3.15.2): the last collections of each generation in a ring,
/// where each has the sums up to it.
pub struct Buffered {
    /// Bytes in all.
    pub size: usize,
    /// Where the ring of each generation is, and how many it has.
    pub rings: [(usize, usize); GENERATIONS],
    /// `update_seq`, which changes while one is written.
    pub update: usize,
    /// Bytes of each.
    pub item_size: usize,
    /// `collections` in each.
    pub collections: usize,
    /// `duration` in each: seconds, as a double.
    pub duration: usize,
}

/// From 3.15 on.
pub const BUFFERED: Buffered = Buffered {
    size: 1120,
    rings: [(0, 11), (712, 3), (912, 3)],
    update: 1112,
    item_size: 64,
    collections: 16,
    duration: 48,
};

/// To 3.6, `static int` of Modules/gcmodule.c: only an unstripped file names it. Checked live on 2.7.18 and 3.6.15.
pub const COLLECTING_VARIABLE: &str = "collecting";

/// One family of releases.
struct Known {
    minor: u8,
    /// From this micro version on.
    since_micro: u8,
    collecting: Collecting,
}

/// The last entry that is not newer than a version is its own.
///
/// `offsetof(_PyRuntimeState, gc.collecting)`, from 3.9 on `offsetof(PyInterpreterState, gc.collecting)`, compiled with the headers of
/// 3.7.16, 3.8.18, 3.9.18, 3.10.13, 3.11.7 and 3.12.1 (x86-64); the same in the DWARF of Debian's 3.9.2 and 3.11.2.
const KNOWN: &[Known] = &[
    // Compiled with 3.7.16's headers and the `PyGC_Head` of before 3.7.4 (bpo-27987, GH-13335: Include/objimpl.h), which also puts the
    // GIL where `runtime.rs` has it.
    known(7, 0, Collecting::InRuntime(544)),
    known(7, 4, Collecting::InRuntime(632)),
    known(8, 0, Collecting::InRuntime(544)),
    known(9, 0, Collecting::InInterpreter(816)),
    known(10, 0, Collecting::InInterpreter(816)),
    known(11, 0, Collecting::InInterpreter(848)),
    // It lies before the pointer to the GIL, by which a release that moved these is refused.
    known(12, 0, Collecting::InInterpreter(312)),
];

const fn known(minor: u8, since_micro: u8, collecting: Collecting) -> Known {
    Known {
        minor,
        since_micro,
        collecting,
    }
}

/// Where `_Py_DebugOffsets` has what leads to it.
struct Order {
    minor: u8,
    /// `interpreter_state.gc`.
    gc: usize,
    /// `gc.size`; `gc.collecting` follows.
    gc_size: usize,
    /// `gc.generation_stats_size`, which `gc.generation_stats` follows, where they are.
    statistics_size: Option<usize>,
}

/// 3.13: compiled with the headers of 3.13.0 and 3.13.5 (normal, musl, free-threaded). All: the DWARF of Debian's 3.13.5, 3.14.8 and
/// 3.15.2 (`struct _Py_DebugOffsets`, Include/internal/pycore_debug_offsets.h; 3.13: pycore_runtime.h).
const ORDERS: &[Order] = &[
    Order {
        minor: 13,
        gc: 80,
        gc_size: 568,
        statistics_size: None,
    },
    // Has `threads_main` before the first, and more between the two; 3.15 more yet.
    Order {
        minor: 14,
        gc: 88,
        gc_size: 648,
        statistics_size: None,
    },
    Order {
        minor: 15,
        gc: 88,
        gc_size: 752,
        statistics_size: Some(776),
    },
];

/// `interpreter_state.size`, the same in all.
const INTERPRETER_SIZE: usize = 48;

/// The place in 3.7 – 3.12; `None` for any other. A micro version that is not known counts as the newest.
pub(super) fn of_version(version: Version) -> Option<Collector> {
    let micro = version.micro.unwrap_or(u8::MAX);
    let fits =
        |k: &&Known| version.major == 3 && k.minor == version.minor && k.since_micro <= micro;
    let known = KNOWN.iter().rev().find(fits)?;
    Some(Collector {
        collecting: known.collecting,
        collections: Some(COUNTED_BEFORE),
    })
}

const COUNTED_BEFORE: Collections = Collections::Before((GENERATIONS * COUNTED.size) as u64);

/// The place in 3.13+, by the `_Py_DebugOffsets` of the target; `None` where that is not known or cannot be. The table may change from
/// one pre-release to the next, but not between releases of a minor version (Python/remote_debugging.c, 3.14).
pub(super) fn from_debug_offsets(table: &[u8], version: Version) -> Option<Collector> {
    let is_its = |o: &&Order| version.major == 3 && o.minor == version.minor;
    let order = ORDERS.iter().find(is_its)?;
    let offset = |at: usize| {
        let bytes = table.get(at..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*bytes)).filter(|value| *value < MAX_OFFSET)
    };
    let gc = offset(order.gc)?;
    let gc_size = offset(order.gc_size)?;
    let within = offset(order.gc_size + 8)?;
    let fits = version.level == Level::Final
        && within + size_of::<i32>() as u64 <= gc_size
        && gc + gc_size <= offset(INTERPRETER_SIZE)?;
    let collections = match order.statistics_size {
        None => Some(COUNTED_BEFORE),
        Some(at) => pointer_before(offset(at)?, offset(at + 8)?, within),
    };
    fits.then_some(Collector {
        collecting: Collecting::InInterpreter(gc + within),
        collections,
    })
}

/// Another size has other members.
fn pointer_before(size: u64, pointer: u64, collecting: u64) -> Option<Collections> {
    let before = collecting.checked_sub(pointer)?;
    (size == BUFFERED.size as u64).then_some(Collections::PointerBefore(before))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::DEBUG_OFFSETS_SIZE;
    use super::*;

    fn put(table: &mut [u8], at: usize, word: u64) {
        table[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    /// As Debian's 3.14.8 has it, where it is used.
    const WORDS: [(usize, u64); 4] = [
        (INTERPRETER_SIZE, 225_864),
        (88, 7408),
        (648, 264),
        (656, 192),
    ];
    const HEX: u32 = 0x030E_08F0;

    fn table() -> Vec<u8> {
        let mut table = vec![0; DEBUG_OFFSETS_SIZE];
        for (at, word) in WORDS {
            put(&mut table, at, word);
        }
        table
    }

    fn version(hex: u32) -> Version {
        Version::from_hex(hex).unwrap()
    }

    #[test]
    fn every_version_has_one_answer() {
        for minor in 0..=u8::MAX {
            let known = of_version(Version::of(3, minor)).is_some();
            let told = ORDERS.iter().filter(|o| o.minor == minor).count();
            let expected = usize::from((7..=15).contains(&minor));
            assert_eq!(usize::from(known) + told, expected, "3.{minor}");
        }
        for other in [Version::of(2, 7), Version::of(4, 7)] {
            assert_eq!(of_version(other), None);
        }
        assert_eq!(from_debug_offsets(&table(), Version::of(4, 14)), None);
    }

    #[test]
    fn entries_are_sorted() {
        let keys = KNOWN.iter().map(|k| (k.minor, k.since_micro));
        assert!(keys.is_sorted_by(|one, next| one < next));
        let keys = ORDERS.iter().map(|o| o.minor);
        assert!(keys.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn early_3_7_differs() {
        let place = |hex| of_version(version(hex)).map(|it| it.collecting);
        assert_eq!(place(0x0307_03F0), Some(Collecting::InRuntime(544)));
        assert_eq!(place(0x0307_04F0), Some(Collecting::InRuntime(632)));
        let latest = of_version(Version::of(3, 7)).unwrap().collecting;
        assert_eq!(Some(latest), place(0x0307_10F0));
    }

    #[test]
    fn a_good_table() {
        let place = from_debug_offsets(&table(), version(HEX));
        let collecting = Collecting::InInterpreter(7600);
        let collections = Some(Collections::Before(72));
        assert_eq!(
            place,
            Some(Collector {
                collecting,
                collections
            })
        );
    }

    /// As Debian's 3.15.2 has it.
    #[test]
    fn buffers_of_another_size_are_not_read() {
        let place = |size| {
            let mut table = vec![0; DEBUG_OFFSETS_SIZE];
            let words = [(752, 176), (760, 112), (776, size), (784, 104)];
            for (at, word) in [(INTERPRETER_SIZE, 225_864), (88, 7408)]
                .into_iter()
                .chain(words)
            {
                put(&mut table, at, word);
            }
            let found = from_debug_offsets(&table, version(0x030F_02F0)).unwrap();
            assert_eq!(found.collecting, Collecting::InInterpreter(7520));
            found.collections
        };
        assert_eq!(place(1120), Some(Collections::PointerBefore(8)));
        assert_eq!(place(1112), None);
    }

    #[test]
    fn hostile_tables() {
        let [(_, size), (_, gc), (_, gc_size), _] = WORDS;
        for (at, word) in [
            (48, gc + gc_size - 1),
            (88, size - gc_size + 1),
            (648, size - gc + 1),
            (648, 0),
            (656, gc_size - 3),
        ]
        .into_iter()
        .chain(WORDS.map(|(at, _)| (at, MAX_OFFSET)))
        .chain(WORDS.map(|(at, _)| (at, u64::MAX)))
        {
            let mut bad = table();
            put(&mut bad, at, word);
            assert_eq!(from_debug_offsets(&bad, version(HEX)), None, "{at}: {word}");
        }
        for len in 0..664 {
            let cut = &table()[..len];
            assert_eq!(from_debug_offsets(cut, version(HEX)), None, "{len}");
        }
        // 3.14.0rc3 and 3.15.
        for other in [0x030E_00C3, 0x030F_02F0] {
            assert_eq!(from_debug_offsets(&table(), version(other)), None);
        }
    }

    /// All of them are read.
    #[test]
    fn the_places_are_in_what_is_read() {
        for order in ORDERS {
            assert!(order.gc_size + 16 <= DEBUG_OFFSETS_SIZE);
            let statistics = order.statistics_size.unwrap_or(0);
            assert!(statistics + 16 <= DEBUG_OFFSETS_SIZE);
        }
    }
}
