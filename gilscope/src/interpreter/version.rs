//! Which CPython a mapped file is.

use crate::target::{Memory, MemoryError, Module};
use std::fmt;
use std::os::unix::fs::FileExt;

/// How finished a release is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// `a`
    Alpha,
    /// `b`
    Beta,
    /// `rc`
    Candidate,
    /// Released.
    Final,
}

/// A version of CPython.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 3
    pub major: u8,
    /// 11
    pub minor: u8,
    /// 2; `None` where the file does not tell it.
    pub micro: Option<u8>,
    /// How finished.
    pub level: Level,
    /// The number after `a`, `b` or `rc`.
    pub serial: u8,
}

impl Version {
    /// A release of which only this much is known.
    pub const fn of(major: u8, minor: u8) -> Version {
        Version {
            major,
            minor,
            micro: None,
            level: Level::Final,
            serial: 0,
        }
    }

    /// From `PY_VERSION_HEX` (Include/patchlevel.h); `None` if it is none.
    pub fn from_hex(hex: u32) -> Option<Version> {
        let [low, micro, minor, major] = hex.to_le_bytes();
        let level = match low >> 4 {
            0xA => Level::Alpha,
            0xB => Level::Beta,
            0xC => Level::Candidate,
            0xF => Level::Final,
            _ => return None,
        };
        Some(Version {
            major,
            minor,
            micro: Some(micro),
            level,
            serial: low & 15,
        })
    }

    /// From what follows `3.9.` in `PY_VERSION`: `18`, `0rc1`, `2+`.
    fn with_rest(self, rest: &str) -> Option<Version> {
        let rest = rest.strip_suffix('+').unwrap_or(rest);
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let (micro, tail) = rest.split_at_checked(digits.unwrap_or(rest.len()))?;
        let levels = [
            ("a", Level::Alpha),
            ("b", Level::Beta),
            ("rc", Level::Candidate),
        ];
        let tagged = levels
            .iter()
            .find_map(|&(tag, level)| Some((level, tail.strip_prefix(tag)?)));
        let (level, serial) = match tagged {
            Some((level, serial)) => (level, serial.parse().ok()?),
            None if tail.is_empty() => (Level::Final, 0),
            None => return None,
        };
        let micro = Some(micro.parse().ok()?);
        Some(Version {
            micro,
            level,
            serial,
            ..self
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if let Some(micro) = self.micro {
            write!(f, ".{micro}")?;
        }
        match self.level {
            Level::Alpha => write!(f, "a{}", self.serial),
            Level::Beta => write!(f, "b{}", self.serial),
            Level::Candidate => write!(f, "rc{}", self.serial),
            Level::Final => Ok(()),
        }
    }
}

/// The newest of these exported functions tells the minor version, where `Py_Version` (3.11+) is
/// missing. From "New in version" of the C API's manual; checked with `nm -D` on 2.7.18, 3.6.15,
/// 3.7.16, 3.8.18, 3.9.2, 3.9.18 and 3.10.13.
const NEW_IN: &[(&str, u8, u8)] = &[
    ("PyModule_AddObjectRef", 3, 10),
    ("PyFrame_GetCode", 3, 9),
    ("PyVectorcall_Call", 3, 8),
    ("_PyRuntime", 3, 7),
    ("PyOS_FSPath", 3, 6),
    ("PyODict_New", 3, 5),
    ("PyMem_RawMalloc", 3, 4),
    ("PyUnicode_AsUTF8", 3, 3),
    ("PyString_FromString", 2, 7),
];

/// The version of the CPython in this file; `None` if it says nonsense.
pub(super) fn of_module(module: &Module, memory: Memory) -> Result<Option<Version>, MemoryError> {
    if let Some(symbol) = module.symbol("Py_Version") {
        let hex = u32::from_le_bytes(memory.read_array(symbol.address)?);
        return Ok(Version::from_hex(hex));
    }
    Ok(Some(with_micro(of_names(module), module)))
}

/// Major and minor version by the names that a file exports. Costs little.
pub(super) fn of_names(module: &Module) -> Version {
    let known = NEW_IN
        .iter()
        .find(|(name, ..)| module.elf.symbol(name).is_some());
    // Nothing of the kind: 3.2, whose names end in UCS2 or UCS4, is the last with the same lock.
    known.map_or(Version::of(3, 2), |&(_, major, minor)| {
        Version::of(major, minor)
    })
}

/// How much is read of a file at once, and in all, to find `PY_VERSION`.
const CHUNK: usize = 1 << 20;
const MAX_SCAN: u64 = 64 << 20;
/// `PY_VERSION` is shorter than this; chunks overlap by it.
const OVERLAP: u64 = 32;

/// Completes a version with `PY_VERSION` from the file's read-only data, if it is there without doubt.
fn with_micro(version: Version, module: &Module) -> Version {
    let mut found = Vec::new();
    let mut budget = MAX_SCAN;
    let mut chunk = vec![0; CHUNK];
    for segment in module.elf.segments.iter().filter(|s| !s.writable) {
        let end = segment.offset.saturating_add(segment.file_size.min(budget));
        budget = budget.saturating_sub(segment.file_size);
        let mut at = segment.offset;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let Some(bytes) = chunk.get_mut(..len) else {
                break;
            };
            if module.file().read_exact_at(bytes, at).is_err() {
                break;
            }
            found.extend(versions_in(bytes, version));
            at = at.saturating_add((CHUNK as u64).saturating_sub(OVERLAP));
        }
    }
    choose(&found).unwrap_or(version)
}

/// A string that ends in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    version: Version,
    /// The string is nothing else, as `PY_VERSION` is.
    is_whole: bool,
}

/// The linker may let `PY_VERSION` share the end of a longer string (measured: pyenv's prefix
/// `…/versions/3.10.13`), so without a whole one the end of another counts; with two there is doubt.
fn choose(found: &[Found]) -> Option<Version> {
    let any_whole = found.iter().any(|f| f.is_whole);
    let mut candidates = found
        .iter()
        .filter(|f| f.is_whole == any_whole)
        .map(|f| f.version);
    let first = candidates.next()?;
    candidates.all(|version| version == first).then_some(first)
}

/// Every C string in `bytes` that ends in a version of the known minor. The first may have begun
/// before `bytes`; the last, without its end, does not count.
fn versions_in(bytes: &[u8], known: Version) -> Vec<Found> {
    let needle = format!("{}.{}.", known.major, known.minor);
    let version_at_end = |string: &[u8]| -> Option<Found> {
        string
            .last()
            .filter(|b| b.is_ascii_digit() || **b == b'+')?;
        let tail = string.get(string.len().saturating_sub(OVERLAP as usize)..)?;
        let start = tail
            .windows(needle.len())
            .rposition(|w| w == needle.as_bytes())?;
        let (before, version) = tail.split_at_checked(start)?;
        let rest = std::str::from_utf8(version).ok()?.strip_prefix(&needle)?;
        let cuts_a_number = before
            .last()
            .is_some_and(|b| b.is_ascii_digit() || *b == b'.');
        let version = known.with_rest(rest).filter(|_| !cuts_a_number)?;
        let is_whole = before.is_empty();
        Some(Found { version, is_whole })
    };
    let mut strings: Vec<&[u8]> = bytes.split(|&b| b == 0).collect();
    strings.pop();
    strings.into_iter().filter_map(version_at_end).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn hex_and_display() {
        for (hex, text) in [
            (0x030B_02F0, "3.11.2"),
            (0x030E_00C1, "3.14.0rc1"),
            (0x030F_00B4, "3.15.0b4"),
            (0x0310_00A2, "3.16.0a2"),
        ] {
            assert_eq!(Version::from_hex(hex).unwrap().to_string(), text);
        }
        assert_eq!(Version::from_hex(0), None);
        assert_eq!(Version::from_hex(0x030B_0210), None);
        assert_eq!(Version::of(3, 8).to_string(), "3.8");
    }

    fn found(bytes: &[u8]) -> Vec<String> {
        let found = versions_in(bytes, Version::of(3, 9));
        let mark = |f: &Found| format!("{}{}", if f.is_whole { "" } else { "…" }, f.version);
        found.iter().map(mark).collect()
    }

    #[test]
    fn version_strings() {
        assert_eq!(found(b"x\x003.9.18\0y"), ["3.9.18"]);
        assert_eq!(
            found(b"3.9.0rc1\x003.9.2+\x003.9.1a3\0"),
            ["3.9.0rc1", "3.9.2", "3.9.1a3"]
        );
        assert_eq!(found(b"\0/opt/3.9.7/versions/3.9.18\0"), ["…3.9.18"]);
        // Cut off at the end of what was read, or within a number, or followed by something.
        assert!(found(b"\x003.9.1").is_empty());
        assert!(found(b"13.9.18\x003.9.x\x003.9.\x003.9.999\x003.9.1.2\x003.90.1\0").is_empty());
        assert!(found(b"3.9.1rc\x003.9.1c1\x003.9.\xff\x002.3.9.1\x003.9.1/lib\0").is_empty());
    }

    #[test]
    fn doubt_is_no_version() {
        let choice = |bytes| choose(&versions_in(bytes, Version::of(3, 9))).map(|v| v.to_string());
        assert_eq!(
            choice(b"a/3.9.7\x003.9.18\x003.9.18\0").as_deref(),
            Some("3.9.18")
        );
        assert_eq!(choice(b"a/3.9.7\0b/3.9.7\0").as_deref(), Some("3.9.7"));
        assert_eq!(choice(b"a/3.9.7\0b/3.9.8\0"), None);
        assert_eq!(choice(b"3.9.7\x003.9.8\0"), None);
        assert_eq!(choice(b""), None);
    }

    #[test]
    fn releases_are_ordered() {
        let v = |hex| Version::from_hex(hex).unwrap();
        assert!(v(0x0307_03F0) < v(0x0307_04F0));
        assert!(v(0x030E_00C1) < v(0x030E_00F0));
    }
}
