//! Where the fields of the kernel's structures lie, from its BTF (`/sys/kernel/btf/vmlinux`).
//!
//! Two or three member offsets are all that is wanted. Parsing the whole of it into types takes
//! tens of megabytes (measured with two libraries), more than the rest of gilscope, so this walks the bytes once.
//! Format: `Documentation/bpf/btf.rst`, `include/uapi/linux/btf.h`.

use super::ProbeError;
use std::ops::Range;

pub const PATH: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNCTION_PROTOTYPE: u32 = 13;

/// The kernel's type information.
pub struct Btf {
    /// The whole file, some megabytes: its sections are not copied.
    bytes: Vec<u8>,
    types: Range<usize>,
    strings: Range<usize>,
}

impl Btf {
    /// The running kernel's.
    pub fn of_kernel() -> Result<Self, ProbeError> {
        let no_btf = |reason: String| ProbeError::NoBtf { path: PATH, reason };
        let bytes = std::fs::read(PATH).map_err(|error| no_btf(error.to_string()))?;
        Self::parse(bytes).ok_or_else(|| no_btf("not BTF".to_owned()))
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        if u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = word(&bytes, 4)? as usize;
        let section = |at: usize| -> Option<Range<usize>> {
            let start = header.checked_add(word(&bytes, at)? as usize)?;
            let end = start.checked_add(word(&bytes, at + 4)? as usize)?;
            bytes.get(start..end).map(|_| start..end)
        };
        let (types, strings) = (section(8)?, section(16)?);
        Some(Self {
            bytes,
            types,
            strings,
        })
    }

    fn section(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    /// Byte offset of a member of a structure; `None` if there is no such member, or it is a bit
    /// field.
    pub fn member_offset(&self, structure: &str, member: &str) -> Option<u32> {
        let found = self
            .types()
            .find(|found| found.kind == KIND_STRUCT && self.is_named(found.name, structure))?;
        self.member(&found, member)
    }

    /// How many arguments a raw tracepoint's programs get: its `btf_trace_…` is a pointer to a
    /// function whose first parameter is not theirs (`include/trace/bpf_probe.h`).
    pub fn tracepoint_arguments(&self, tracepoint: &str) -> Option<usize> {
        let name = format!("btf_trace_{tracepoint}");
        let alias = self
            .types()
            .find(|found| found.kind == KIND_TYPEDEF && self.is_named(found.name, &name))?;
        let function = self.by_id(self.by_id(alias.size_or_type)?.size_or_type)?;
        if function.kind != KIND_FUNCTION_PROTOTYPE {
            return None;
        }
        function.count.checked_sub(1)
    }

    /// Types are numbered from 1.
    fn by_id(&self, id: u32) -> Option<Type> {
        self.types().nth((id as usize).checked_sub(1)?)
    }

    fn types(&self) -> impl Iterator<Item = Type> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let found = Type::read(self.section(&self.types), at)?;
            at = found.members_at + found.trailer()?;
            Some(found)
        })
    }

    fn member(&self, structure: &Type, name: &str) -> Option<u32> {
        let types = self.section(&self.types);
        let at = (0..structure.count)
            .map(|index| structure.members_at + index * 12)
            .find(|at| word(types, *at).is_some_and(|offset| self.is_named(offset, name)))?;
        let offset = word(types, at + 8)?;
        // With bit sizes the upper byte is the size of a bit field, 0 for a plain member.
        if structure.bit_sizes && offset >> 24 != 0 || offset % 8 != 0 {
            return None;
        }
        Some(offset / 8)
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        self.section(&self.strings)
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// One type, as `struct btf_type` has it.
struct Type {
    name: u32,
    kind: u32,
    count: usize,
    bit_sizes: bool,
    size_or_type: u32,
    members_at: usize,
}

impl Type {
    fn read(types: &[u8], at: usize) -> Option<Self> {
        let info = word(types, at.checked_add(4)?)?;
        Some(Self {
            name: word(types, at)?,
            kind: (info >> 24) & 0x1f,
            count: (info & 0xffff) as usize,
            bit_sizes: info >> 31 != 0,
            size_or_type: word(types, at.checked_add(8)?)?,
            members_at: at.checked_add(12)?,
        })
    }

    /// Bytes that follow the common ones; `None` for a kind that is not known.
    fn trailer(&self) -> Option<usize> {
        Some(match self.kind {
            // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
            2 | 7..=12 | 16 | 18 => 0,
            // Integer, variable, declaration tag.
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 | 19 => self.count * 12,
            6 | 13 => self.count * 8,
            _ => return None,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// `struct a { int x; }; struct task { int:3 state; int pid; }`
    fn sample() -> Vec<u8> {
        let strings = b"\0a\0x\0task\0state\0pid\0int\0";
        let types: Vec<u32> = vec![
            21,
            1 << 24,
            4,
            32, // int
            1,
            KIND_STRUCT << 24 | 1,
            4,
            3,
            1,
            0, // struct a
            5,
            1 << 31 | KIND_STRUCT << 24 | 2,
            8,
            10,
            1,
            3 << 24,
            16,
            1,
            32, // struct task
        ];
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let length = (types.len() * 4) as u32;
        for value in [24, 0, length, length, strings.len() as u32] {
            bytes.extend(u32::to_le_bytes(value));
        }
        types
            .iter()
            .for_each(|value| bytes.extend(value.to_le_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn finds_a_plain_member_and_refuses_a_bit_field() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.member_offset("task", "pid"), Some(4));
        assert_eq!(btf.member_offset("a", "x"), Some(0));
        assert_eq!(btf.member_offset("task", "state"), None);
        assert_eq!(btf.member_offset("tas", "pid"), None);
        assert_eq!(btf.member_offset("task", "pi"), None);
    }

    #[test]
    fn truncated_bytes_are_no_panic() {
        let whole = sample();
        for length in 0..whole.len() {
            if let Some(btf) = Btf::parse(whole[..length].to_vec()) {
                assert_eq!(btf.member_offset("task", "nowhere"), None);
            }
        }
    }
}
