//! 3.7 – 3.12: nothing in the target tells the offsets, so here they are, for x86-64.

use super::super::version::Version;
use super::{GilFields, GilPlace, Layout, collector};

/// One family of releases.
struct Known {
    minor: u8,
    /// From this micro version on.
    since_micro: u8,
    interpreters_head: u64,
    id: u64,
    gil: GilPlace,
}

/// The last entry that is not newer than a version is its own. `next` is at 0 in all and a thread
/// state's `interp` at 16.
///
/// From DWARF (`ptype /o struct pyruntimestate`, `struct _is`, `PyThreadState`) of 3.7.16, 3.8.18,
/// 3.9.18, 3.10.13, 3.11.7 and 3.12.1; also measured live on Debian's stripped 3.9.2 and 3.11.2.
const KNOWN: &[Known] = &[
    // Derived, not measured: 3.7.4 aligned `PyGC_Head` to 16 bytes (bpo-27987, GH-13335), which moved all that
    // follows `gc` in `_PyRuntime` by 8+8+3·16+8+16 = 88 bytes; py-spy's offsets of
    // `gilstate.tstate_current` (1392 to 3.7.3, 1480 from 3.7.4) differ by the same 88.
    known(7, 0, 24, 16, GilPlace::InRuntime(0x498)),
    known(7, 4, 24, 16, GilPlace::InRuntime(0x4f0)),
    known(8, 0, 32, 16, GilPlace::InRuntime(0x480)),
    known(9, 0, 32, 24, GilPlace::InRuntime(0x160)),
    known(10, 0, 32, 24, GilPlace::InRuntime(0x160)),
    known(11, 0, 40, 48, GilPlace::InRuntime(0x168)),
    // Measured on 3.12.1 only. A release that moved these would fail the check that a GIL lies where
    // an interpreter in the list owns it, and be refused.
    known(
        12,
        0,
        40,
        8,
        GilPlace::ByInterpreter {
            pointer: 384,
            own: 1040,
        },
    ),
];

const fn known(minor: u8, since_micro: u8, head: u64, id: u64, gil: GilPlace) -> Known {
    Known {
        minor,
        since_micro,
        interpreters_head: head,
        id,
        gil,
    }
}

/// The layout of 3.7 – 3.12; `None` for any other. A micro version that is not known counts as the
/// newest.
pub fn of_version(version: Version) -> Option<Layout> {
    let micro = version.micro.unwrap_or(u8::MAX);
    let fits =
        |k: &&Known| version.major == 3 && k.minor == version.minor && k.since_micro <= micro;
    KNOWN.iter().rev().find(fits).map(|known| Layout {
        interpreters_head: known.interpreters_head,
        next: 0,
        id: known.id,
        tstate_interpreter: 16,
        gil: known.gil,
        fields: GilFields::NORMAL,
        free_threaded: false,
        collector: collector::of_version(version),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn gil(hex: u32) -> Option<GilPlace> {
        of_version(Version::from_hex(hex)?).map(|layout| layout.gil)
    }

    #[test]
    fn every_release_from_3_7_to_3_12_and_no_other() {
        for minor in 0..=u8::MAX {
            let known = of_version(Version::of(3, minor));
            assert_eq!(known.is_some(), (7..=12).contains(&minor), "3.{minor}");
            assert!(known.is_none_or(|layout| layout.collector.is_some()));
        }
        assert_eq!(of_version(Version::of(2, 7)), None);
        assert_eq!(of_version(Version::of(4, 7)), None);
    }

    #[test]
    fn early_3_7_differs() {
        assert_eq!(gil(0x0307_00F0), Some(GilPlace::InRuntime(0x498)));
        assert_eq!(gil(0x0307_03F0), Some(GilPlace::InRuntime(0x498)));
        assert_eq!(gil(0x0307_04F0), Some(GilPlace::InRuntime(0x4f0)));
        assert_eq!(
            of_version(Version::of(3, 7)),
            of_version(Version::from_hex(0x0307_10F0).unwrap())
        );
    }

    #[test]
    fn entries_are_sorted() {
        let keys: Vec<_> = KNOWN.iter().map(|k| (k.minor, k.since_micro)).collect();
        assert!(keys.is_sorted());
    }
}
