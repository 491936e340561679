//! Which line of the source an instruction belongs to: the four ways in which code objects have told that, as pure functions over
//! the bytes of the table.
//!
//! The bytes are hostile: each loop takes at least one of them, and no sum overflows.

use super::layout::LineFormat;

/// The line of the instruction at `index`, in bytes from the first; negative before that. `None` where it has none.
pub(super) fn line(format: LineFormat, table: &[u8], first_line: i32, index: i32) -> Option<u32> {
    let line = match format {
        LineFormat::GrowingDeltas => by_deltas(table, first_line, index, u8::into),
        LineFormat::SignedDeltas => {
            by_deltas(table, first_line, index, |delta| delta.cast_signed().into())
        }
        // `PyCode_Addr2Line` (`Objects/codeobject.c`, 3.10+).
        _ if index < 0 => Some(first_line),
        LineFormat::Ranges => by_ranges(table, first_line, index),
        LineFormat::Locations => by_locations(table, first_line, index),
    };
    u32::try_from(line?).ok()
}

/// `Objects/codeobject.c`, 3.9: `PyCode_Addr2Line`.
fn by_deltas(table: &[u8], first_line: i32, index: i32, delta: fn(u8) -> i32) -> Option<i32> {
    let (mut address, mut line) = (0_i32, first_line);
    for &[length, lines] in table.as_chunks().0 {
        address = address.saturating_add(length.into());
        if address > index {
            break;
        }
        line = line.saturating_add(delta(lines));
    }
    Some(line)
}

/// `Objects/lnotab_notes.txt`, 3.10: pairs of a range's length and its line's distance from the last range with a line; −128 for a
/// range without.
fn by_ranges(table: &[u8], first_line: i32, index: i32) -> Option<i32> {
    let (mut end, mut line) = (0_i32, first_line);
    for &[length, delta] in table.as_chunks().0 {
        end = end.saturating_add(length.into());
        let delta = delta.cast_signed();
        if delta != i8::MIN {
            line = line.saturating_add(delta.into());
        }
        if index < end {
            return (delta != i8::MIN).then_some(line);
        }
    }
    None
}

/// Bytes of a code unit.
const UNIT: i32 = 2;

/// `Objects/locations.md`, 3.11: each entry begins with a byte that has its highest bit set, and tells in it its kind and length.
fn by_locations(table: &[u8], first_line: i32, index: i32) -> Option<i32> {
    let (mut end, mut line, mut rest) = (0_i32, first_line, table);
    while let [head, tail @ ..] = rest {
        let length = tail.iter().position(|byte| byte & 0x80 != 0);
        let (body, next) = tail.split_at(length.unwrap_or(tail.len()));
        let kind = (head >> 3) & 15;
        end = end.saturating_add((i32::from(head & 7) + 1) * UNIT);
        line = line.saturating_add(line_delta(kind, body));
        if index < end {
            return (kind != NO_LOCATION).then_some(line);
        }
        rest = next;
    }
    None
}

const NO_LOCATION: u8 = 15;

fn line_delta(kind: u8, body: &[u8]) -> i32 {
    match kind {
        10..=12 => i32::from(kind) - 10,
        13 | 14 => signed(body),
        _ => 0,
    }
}

/// A number in groups of six bits, the lowest first; the lowest bit of all is its sign.
fn signed(body: &[u8]) -> i32 {
    let mut value = 0_u32;
    for (at, byte) in (0_u32..6).zip(body) {
        value |= u32::from(byte & 63) << (6 * at);
        if byte & 64 == 0 {
            break;
        }
    }
    let magnitude = (value >> 1).cast_signed();
    if value & 1 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

#[cfg(test)]
mod tests;
