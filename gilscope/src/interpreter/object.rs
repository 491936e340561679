//! Python's objects in a target's memory.

use super::Interpreter;
use super::layout::FrameLayout;
use crate::target::Memory;

/// What it takes to read them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Objects {
    pub(super) memory: Memory,
    pub(super) layout: FrameLayout,
    /// Address of `PyCode_Type`.
    pub(super) code_type: u64,
}

impl Interpreter {
    /// The reader of its objects; `None` where this version's are not known.
    pub(super) fn objects(&self, memory: Memory) -> Option<Objects> {
        Some(Objects {
            memory,
            layout: self.frames()?,
            code_type: self.module.symbol("PyCode_Type")?.address,
        })
    }
}

impl Objects {
    /// The pointer or long that is so far into what is at an address.
    pub(super) fn word(&self, base: u64, offset: u64) -> Option<u64> {
        self.memory.read_u64(base.wrapping_add(offset)).ok()
    }

    /// What is at an address, so far that all these offsets can be read.
    pub(super) fn block(&self, address: u64, offsets: &[u64]) -> Option<Block> {
        let last = offsets.iter().copied().max()?;
        let length = usize::try_from(last).ok()?.checked_add(8)?;
        self.memory.read_bytes(address, length).ok().map(Block)
    }
}

/// A part of an object, read at once.
#[derive(Debug)]
pub(super) struct Block(Vec<u8>);

impl Block {
    pub(super) fn word(&self, at: u64) -> Option<u64> {
        self.bytes(at).map(u64::from_le_bytes)
    }

    pub(super) fn int(&self, at: u64) -> Option<i32> {
        self.bytes(at).map(i32::from_le_bytes)
    }

    pub(super) fn byte(&self, at: u64) -> Option<u8> {
        self.bytes(at).map(|[byte]| byte)
    }

    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let rest = self.0.get(usize::try_from(at).ok()?..)?;
        rest.first_chunk().copied()
    }
}
