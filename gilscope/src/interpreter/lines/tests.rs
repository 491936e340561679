#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

/// The tables of one function, as these versions' compilers wrote them, and what their own `PyCode_Addr2Line` said: each line, and
/// from which index on; 0 for none. The function's parts lie 200 lines apart, and it goes back to lines that it has left.
struct Told {
    format: LineFormat,
    table: &'static str,
    length: i32,
    lines: &'static [(i32, u32)],
}

const V3_6: Told = Told {
    format: LineFormat::SignedDeltas,
    table: "0004027f004a060108010a01020112030a01",
    length: 60,
    lines: &[
        (0, 5),
        (2, 206),
        (8, 207),
        (16, 208),
        (26, 209),
        (28, 210),
        (46, 213),
        (56, 214),
    ],
};
const V3_9: Told = Told {
    format: LineFormat::SignedDeltas,
    table: "0004027f004a060102ff028000b7047f004c0801020110030e01",
    length: 60,
    lines: &[
        (0, 5),
        (2, 206),
        (8, 207),
        (10, 206),
        (12, 5),
        (16, 208),
        (24, 209),
        (26, 210),
        (42, 213),
        (56, 214),
    ],
};
const V3_10: Told = Told {
    format: LineFormat::Ranges,
    table: "02800204007f064a020102ff008104b6007f084c020110010c030401",
    length: 60,
    lines: &[
        (0, 0),
        (2, 5),
        (4, 206),
        (10, 207),
        (12, 206),
        (14, 5),
        (18, 208),
        (26, 209),
        (28, 210),
        (44, 213),
        (56, 214),
    ],
};
const V3_11: Told = Told {
    format: LineFormat::Locations,
    table: "f8e800e8008000f008000a0bf05206000708876382638821d80203f103010705f400010705f053064a0309068041f05606000e0ff000050512f0000505128801f002040912f002011405f000011405f000011405f000011405f000010d06f000010d06f000010d06f00600111288418841f8900188418845884588458845d80b0c8048",
    length: 104,
    lines: &[
        (0, 0),
        (2, 1),
        (8, 5),
        (10, 206),
        (36, 207),
        (38, 206),
        (52, 5),
        (56, 208),
        (64, 209),
        (66, 210),
        (80, 213),
        (86, 0),
        (88, 213),
        (100, 214),
    ],
};
const V3_13: Told = Told {
    format: LineFormat::Locations,
    table: "f8e9008000f008000a0bf05206000708876381638821d80203f303010705f053064a0309068041f35606000e0f8801f002040912f402011405f200010d06f0060011128a41f10b000e0ff00c000c0d8048f8f0030011128941fc",
    length: 110,
    lines: &[
        (0, 0),
        (2, 1),
        (8, 5),
        (10, 206),
        (34, 207),
        (36, 206),
        (44, 5),
        (48, 208),
        (58, 209),
        (60, 210),
        (76, 213),
        (84, 208),
        (88, 214),
        (92, 0),
        (94, 213),
        (100, 0),
    ],
};

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2).map(str::from_utf8);
    pairs
        .map(|pair| u8::from_str_radix(pair.unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn as_the_interpreters_themselves() {
    for told in [V3_6, V3_9, V3_10, V3_11, V3_13] {
        let table = bytes(told.table);
        for index in (0..told.length).step_by(2) {
            let expected = told.lines.iter().rev().find(|(from, _)| *from <= index);
            let expected = expected.map(|(_, line)| *line).filter(|line| *line != 0);
            let found = line(told.format, &table, 1, index);
            assert_eq!(found, expected, "{:?} {index}", told.format);
        }
    }
}

/// `co_lnotab` before 3.6 has no negative deltas.
#[test]
fn lines_of_old_only_grow() {
    let table = [0, 1, 6, 255, 0, 1, 6, 200, 255, 0, 2, 1];
    let at = |index| line(LineFormat::GrowingDeltas, &table, 10, index);
    let lines = [-1, 0, 5, 6, 12, 268, 269].map(at);
    assert_eq!(
        lines,
        [10, 11, 11, 267, 467, 467, 468].map(Some),
        "{lines:?}"
    );
}

#[test]
fn before_the_first_instruction_it_is_the_first_line() {
    for format in FORMATS {
        assert_eq!(line(format, &[1, 1, 1, 1], 7, -2), Some(7), "{format:?}");
    }
}

const FORMATS: [LineFormat; 4] = [
    LineFormat::GrowingDeltas,
    LineFormat::SignedDeltas,
    LineFormat::Ranges,
    LineFormat::Locations,
];

/// Any bytes are answered, in time that is in proportion to their number.
#[test]
fn hostile_tables() {
    let mut random = 0x1234_5678_9abc_def1_u64;
    let mut byte = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()[0]
    };
    for length in 0..400 {
        let table: Vec<u8> = (0..length).map(|_| byte()).collect();
        for format in FORMATS {
            for index in [i32::MIN, -1, 0, 1, 77, i32::MAX] {
                for first_line in [i32::MIN, -1, 0, i32::MAX] {
                    let _ = line(format, &table, first_line, index);
                }
            }
        }
    }
    for table in [[0xff; 1 << 16], [0x7f; 1 << 16], [0; 1 << 16]] {
        for format in FORMATS {
            let _ = line(format, &table, i32::MAX, i32::MAX);
            let _ = line(format, &table, i32::MIN, i32::MAX);
        }
    }
}
