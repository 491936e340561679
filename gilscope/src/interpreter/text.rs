//! Names as CPython keeps them, from a target's memory.

use super::layout::Text;
use crate::target::Memory;

/// More characters of a name are not read.
const MAX_TEXT: u64 = 4096;

/// The name that is kept at an address; what is cut off, `…` says, and what is no character becomes `�`. `None` where there
/// is no name.
pub(super) fn read(memory: Memory, address: u64, text: Text) -> Option<String> {
    let (length_at, kept) = match text {
        Text::Bytes { length, characters } => (length, Kept::bytes(characters)),
        Text::Unicode {
            length,
            state,
            ascii,
            other,
        } => {
            let state = memory.read_i32(address.wrapping_add(state)).ok()?;
            (length, Kept::of(state, ascii, other)?)
        }
    };
    let length = memory.read_u64(address.wrapping_add(length_at)).ok()?;
    let size = usize::try_from(length.min(MAX_TEXT)).ok()? * kept.width;
    let bytes = memory.read_bytes(address.wrapping_add(kept.at), size);
    let mut name = (kept.decode)(&bytes.ok()?);
    if length > MAX_TEXT {
        name.push('…');
    }
    Some(name)
}

/// Where the characters are, how many bytes each has, and what they mean.
struct Kept {
    at: u64,
    width: usize,
    decode: fn(&[u8]) -> String,
}

impl Kept {
    fn bytes(at: u64) -> Kept {
        Kept {
            at,
            width: 1,
            decode: |bytes| String::from_utf8_lossy(bytes).into_owned(),
        }
    }

    /// By `state` (`Include/cpython/unicodeobject.h`), whose bits are the same in 3.6 – 3.15 (measured). A string that is not compact is none of
    /// a code object's names.
    fn of(state: i32, ascii: u64, other: u64) -> Option<Kept> {
        let (is_compact, is_ascii) = (state & 0x20 != 0, state & 0x40 != 0);
        let at = if is_ascii { ascii } else { other };
        let (width, decode): (usize, fn(&[u8]) -> String) = match (state >> 2) & 7 {
            1 => (1, latin_1),
            2 => (2, ucs_2),
            4 => (4, ucs_4),
            _ => return None,
        };
        is_compact.then_some(Kept { at, width, decode })
    }
}

fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// A file name may have halves of surrogate pairs in it, for bytes that are not UTF-8 (PEP 383).
fn ucs_2(bytes: &[u8]) -> String {
    let characters = bytes.as_chunks().0.iter();
    characters
        .map(|bytes| character(u16::from_le_bytes(*bytes).into()))
        .collect()
}

fn ucs_4(bytes: &[u8]) -> String {
    let characters = bytes.as_chunks().0.iter();
    characters
        .map(|bytes| character(u32::from_le_bytes(*bytes)))
        .collect()
}

fn character(code: u32) -> char {
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(state: i32, bytes: &[u8]) -> Option<(u64, String)> {
        let kept = Kept::of(state, 40, 56)?;
        Some((kept.at, (kept.decode)(bytes)))
    }

    /// The states are of strings in a 3.12.
    #[test]
    fn every_kind() {
        let cases: [(i32, &[u8], u64, &str); 4] = [
            (0x64, b"f", 40, "f"),
            (0x24, b"\xe9", 56, "é"),
            (0x28, b"\xe5\x5d\x3c\xdc", 56, "工\u{fffd}"),
            (0x30, b"\x00\xf6\x01\x00\x00\x00\x11\x00", 56, "😀\u{fffd}"),
        ];
        for (state, bytes, at, text) in cases {
            assert_eq!(decoded(state, bytes), Some((at, text.to_owned())));
        }
        // Not compact; no such kind.
        assert_eq!((decoded(0x44, b"f"), decoded(0x6c, b"f")), (None, None));
    }
}
