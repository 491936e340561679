//! Each version's [`FrameLayout`], by what differs from the one before.
//!
//! Measured on 2.7.18, 3.6.15, 3.7.16, 3.8.18, 3.9.2, 3.9.18, 3.10.13, 3.11.2, 3.11.7, 3.12.1, 3.13.0, 3.13.5, 3.14.8, 3.15.2, and 3.13.5
//! free-threaded and on musl (x86-64): `tests/tests/dump.rs` holds them against what these interpreters tell themselves.

use super::super::version::Version;
use super::{CodeLayout, FrameLayout, LineFormat, PauseLayout, Position, RLock, Text, Values};

const V2_7: FrameLayout = FrameLayout {
    threads: 8,
    next_thread: 0,
    interpreter: 8,
    thread_id: 144,
    has_native_id: false,
    ticks: Some(128),
    pause: None,
    frame: 16,
    cframe_frame: None,
    previous: 24,
    code: 32,
    instruction: 120,
    position: Position::Index { unit: 1 },
    owner: None,
    object_type: 8,
    type_name: 24,
    in_code: CodeLayout {
        file: 80,
        name: 88,
        qualified_name: None,
        first_line: 96,
        stack_size: 24,
        lines: 104,
        first_traceable: None,
    },
    lines: LineFormat::GrowingDeltas,
    text: Text::Bytes {
        length: 16,
        characters: 36,
    },
    bytes_length: 16,
    bytes: 36,
    rlock: RLock::Python {
        local: 376,
        dict: 16,
        mask: 32,
        table: 40,
        int: 16,
        lock: 16,
    },
    values: Values::At { first: 64 },
    exit_comes_first: true,
};
const V3_6: FrameLayout = FrameLayout {
    next_thread: 8,
    interpreter: 16,
    ticks: None,
    thread_id: 152,
    frame: 24,
    in_code: CodeLayout {
        file: 96,
        name: 104,
        first_line: 36,
        stack_size: 28,
        lines: 112,
        ..V2_7.in_code
    },
    lines: LineFormat::SignedDeltas,
    text: Text::Unicode {
        length: 16,
        state: 32,
        ascii: 48,
        other: 72,
    },
    bytes: 32,
    rlock: RLock::C {
        lock: 16,
        is_pointer: true,
        owner: 24,
    },
    ..V2_7
};
const V3_7: FrameLayout = FrameLayout {
    thread_id: 176,
    instruction: 104,
    ..V3_6
};
const V3_8: FrameLayout = FrameLayout {
    in_code: CodeLayout {
        file: 104,
        name: 112,
        first_line: 40,
        stack_size: 32,
        lines: 120,
        ..V3_7.in_code
    },
    ..V3_7
};
const V3_10: FrameLayout = FrameLayout {
    instruction: 96,
    position: Position::Index { unit: 2 },
    lines: LineFormat::Ranges,
    ..V3_8
};
const V3_11: FrameLayout = FrameLayout {
    threads: 16,
    thread_id: 152,
    has_native_id: true,
    frame: 56,
    cframe_frame: Some(8),
    previous: 48,
    instruction: 56,
    position: Position::Address {
        first: 184,
        units: 16,
    },
    owner: Some(69),
    in_code: CodeLayout {
        file: 112,
        name: 120,
        qualified_name: Some(128),
        first_line: 72,
        stack_size: 68,
        lines: 136,
        first_traceable: Some(168),
    },
    lines: LineFormat::Locations,
    values: Values::BehindLocals {
        locals: 72,
        count: 76,
        end: None,
    },
    ..V3_10
};
const V3_12: FrameLayout = FrameLayout {
    threads: 72,
    thread_id: 136,
    cframe_frame: Some(0),
    previous: 8,
    code: 0,
    position: Position::Address {
        first: 192,
        units: 16,
    },
    owner: Some(70),
    in_code: CodeLayout {
        first_line: 68,
        stack_size: 64,
        first_traceable: Some(176),
        ..V3_11.in_code
    },
    text: Text::Unicode {
        length: 16,
        state: 32,
        ascii: 40,
        other: 56,
    },
    values: Values::BehindLocals {
        locals: 72,
        count: 72,
        end: None,
    },
    exit_comes_first: false,
    ..V3_11
};
const V3_13: FrameLayout = FrameLayout {
    threads: 7344,
    thread_id: 152,
    frame: 72,
    cframe_frame: None,
    position: Position::Address {
        first: 200,
        units: 16,
    },
    in_code: CodeLayout {
        first_traceable: Some(184),
        ..V3_12.in_code
    },
    ..V3_12
};
const V3_14: FrameLayout = FrameLayout {
    position: Position::Address {
        first: 208,
        units: 16,
    },
    owner: Some(74),
    in_code: CodeLayout {
        first_traceable: Some(192),
        ..V3_13.in_code
    },
    rlock: RLock::C {
        lock: 16,
        is_pointer: false,
        owner: 24,
    },
    values: Values::BehindLocals {
        locals: 80,
        count: 72,
        end: Some(64),
    },
    exit_comes_first: true,
    ..V3_13
};
const V3_15: FrameLayout = FrameLayout {
    threads: 7336,
    thread_id: 176,
    ..V3_14
};

/// By the headers of 3.13.5 (`pycore_interp.h`, `pycore_runtime.h`, free-threaded).
const PAUSE_3_13: PauseLayout = PauseLayout {
    state: 40,
    requester: 10_760,
    runtime_requester: 10_352,
};

/// What a free-threaded build puts before an object's type, and so before all that follows (`Include/object.h`).
pub(super) const FREE_THREADED_HEAD: u64 = 16;

/// The layout of a version; `None` where it is not known.
pub fn frames(version: Version, free_threaded: bool) -> Option<FrameLayout> {
    let layout = match (version.major, version.minor) {
        (2, 7) => V2_7,
        (3, 6) => V3_6,
        (3, 7) => V3_7,
        (3, 8 | 9) => V3_8,
        (3, 10) => V3_10,
        (3, 11) => V3_11,
        (3, 12) => V3_12,
        (3, 13) => V3_13,
        (3, 14) => V3_14,
        (3, 15) => V3_15,
        _ => return None,
    };
    match (free_threaded, version.minor) {
        (false, _) => Some(layout),
        (true, 13) => Some(FrameLayout {
            pause: Some(PAUSE_3_13),
            ..layout.with_head(FREE_THREADED_HEAD)
        }),
        // Their instructions may lie in a thread's own copy of the code; not measured.
        (true, _) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use gilscope_common::frames::SPAN;

    #[test]
    fn every_supported_version_and_no_other() {
        for minor in 0..=u8::MAX {
            let known = |major| frames(Version::of(major, minor), false).is_some();
            assert_eq!(known(3), (6..=15).contains(&minor), "3.{minor}");
            assert_eq!(known(2), minor == 7, "2.{minor}");
            let free_threaded = frames(Version::of(3, minor), true);
            assert_eq!(free_threaded.is_some(), minor == 13, "3.{minor}t");
        }
    }

    /// The kernel's side reads no more at a time, and takes fields out of whole words.
    #[test]
    fn what_is_read_together_lies_together() {
        let versions = (6..=15).map(|minor| (3, minor, false));
        for (major, minor, free_threaded) in versions.chain([(2, 7, false), (3, 13, true)]) {
            let layout = frames(Version::of(major, minor), free_threaded).unwrap();
            let (code, of_code) = (layout.in_code, layout.in_code.identity_span());
            assert!(layout.frame_span() <= SPAN as u64, "{major}.{minor}");
            assert!(
                of_code.end - of_code.start <= SPAN as u64,
                "{major}.{minor}"
            );
            let pointers = [layout.previous, layout.code, layout.instruction];
            let pointers = pointers.into_iter().map(u64::from);
            for pointer in pointers.chain([code.file, code.name]) {
                assert_eq!(pointer % 8, 0, "{major}.{minor}");
            }
            assert_eq!(code.first_line % 4, 0, "{major}.{minor}");
        }
    }

    /// As measured in 3.13.5.
    #[test]
    fn a_free_threaded_build_has_a_longer_head() {
        let layout = frames(Version::of(3, 13), true);
        let offsets = layout.map(|it| (it.object_type, it.in_code.file, it.position, it.bytes));
        let position = Position::Address {
            first: 216,
            units: 32,
        };
        assert_eq!(offsets, Some((24, 128, position, 48)));
    }
}
