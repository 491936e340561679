//! From a thread state through the frames of its Python functions, from the innermost on.
//!
//! All that is read is the target's: it may be hostile, and it may run meanwhile. So each step is bounded, what cannot be read is
//! counted, and a walk counts only if the thread is where it was when it is over.

use crate::{maps::FrameOffsets, records::Header};

/// Functions of one stack.
pub const MAX_FRAMES: usize = 96;

/// Frames that are looked at: the interpreter's own are left out, and are no more than the others.
pub const MAX_STEPS: usize = 120;

/// The low bits of a reference to an object may be marks (CPython 3.14+: `Include/internal/pycore_stackref.h`).
const MARKS: u64 = 3;

/// Bytes of a frame, or of a code object, that are read at a time: each read has its price, however little it reads.
pub const SPAN: usize = 128;

/// So many, as words.
pub type Span = [u64; SPAN / 8];

/// Reads a target's memory.
pub trait Memory {
    /// The eight bytes at an address; 0 if they cannot be read, as the kernel's helper leaves them. Not an option: each branch
    /// is one more way that the verifier has to go, in each round.
    fn word(&self, address: u64) -> u64;

    /// Its `length` bytes from an address on, [`SPAN`] at most, to the beginning of a span; zeros if not all can be read.
    fn span(&self, address: u64, length: u32, into: &mut Span);
}

/// What is at this offset in a span, and to its right in that word.
#[inline(always)]
const fn at(span: &Span, offset: u32) -> u64 {
    span[(offset / 8) as usize % span.len()] >> (offset % 8 * 8)
}

/// A frame of a Python function.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Where it is.
    pub address: u64,
    /// Address of its code object.
    pub code: u64,
    /// Its instruction: the index of the last one (`f_lasti`), or an address.
    pub instruction: u64,
    /// What tells this code object from another one in the same place at another time, as [`identity`] says.
    pub identity: u32,
    /// Who owns it, where that is told.
    pub owner: u32,
}

/// A stack; what the ring buffer carries of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Whose, and when.
    pub header: Header,
    /// A number for all that follows; never 0.
    pub id: u64,
    /// While it is walked: the next frame; then that of the first that was left out, 0 if none was.
    pub next: u64,
    /// Frames that could not be read.
    pub unreadable: u32,
    /// How many [`Stack::frames`] there are.
    pub count: u32,
    /// Room for what is just being read.
    pub span: Span,
    /// The functions, the innermost first.
    pub frames: [Frame; MAX_FRAMES],
}

/// A number that differs for two code objects that lie in one place one after the other: pointers to file and name, the name's own hash (which
/// is kept with it: `PyASCIIObject.hash`, 2.7: `ob_shash`; names are interned, so it is there), and the first line.
#[inline(always)]
pub const fn identity(file: u64, name: u64, name_hash: u64, first_line: u32) -> u32 {
    let mixed = mix(mix(mix(file, name), name_hash), first_line as u64);
    (mixed >> 32) as u32
}

#[inline(always)]
pub(crate) const fn mix(sum: u64, value: u64) -> u64 {
    // The golden ratio's bits: odd, and without a pattern.
    (sum.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Stack {
    /// Begins a walk.
    #[inline(always)]
    pub fn begin(&mut self, header: Header, innermost: u64) {
        self.header = header;
        self.id = mix(header.tgid as u64, 1);
        self.next = innermost;
        (self.unreadable, self.count) = (0, 0);
    }

    /// There is no frame left to look at, or no room for one.
    #[inline(always)]
    pub fn is_over(&self) -> bool {
        self.next == 0 || self.count as usize >= MAX_FRAMES
    }

    /// Looks at one frame, if there is one.
    #[inline(always)]
    pub fn step(&mut self, memory: &impl Memory, offsets: &FrameOffsets) {
        let at = self.count as usize;
        if self.next == 0 || at >= MAX_FRAMES {
            return;
        }
        let (frame, previous) = frame(memory, offsets, self.next, &mut self.span);
        if frame.code == 0 {
            self.unreadable += 1;
            self.next = 0;
            return;
        }
        self.next = previous;
        if frame.owner >= offsets.no_function_from {
            return;
        }
        self.id = mix(self.id, mix(frame.code, frame.instruction));
        self.id = mix(self.id, (frame.identity as u64) << 32 | frame.owner as u64);
        self.frames[at] = frame;
        self.count += 1;
    }

    /// Whether the thread, whose innermost frame is now `innermost`, is where it was: in the same function, which is called from the same
    /// instruction. In the former it may have gone on.
    #[inline(always)]
    pub fn is_still_there(
        &mut self,
        memory: &impl Memory,
        offsets: &FrameOffsets,
        innermost: u64,
    ) -> bool {
        let [first, second, ..] = &self.frames;
        let (now, previous) = frame(memory, offsets, innermost, &mut self.span);
        // The innermost may be one of the interpreter's own (3.12+): the next is a function's.
        let now = match now.owner < offsets.no_function_from {
            true => now,
            false => frame(memory, offsets, previous, &mut self.span).0,
        };
        if self.count == 0 || (now.address, now.code) != (first.address, first.code) {
            return false;
        }
        self.count == 1 || frame(memory, offsets, second.address, &mut self.span).0 == *second
    }

    /// The walk is over: gives it its number.
    #[inline(always)]
    pub fn end(&mut self) {
        let rest = (self.unreadable as u64) << 1 | (self.next != 0) as u64;
        self.id = mix(self.id, rest) | 1;
    }
}

/// The innermost frame of the thread with this state; 0: it runs no function, or cannot be read.
#[inline(always)]
pub fn innermost(memory: &impl Memory, offsets: &FrameOffsets, state: u64) -> u64 {
    let frame = memory.word(state.wrapping_add(offsets.frame.into()));
    if offsets.has_cframe == 0 {
        return frame;
    }
    memory.word(frame.wrapping_add(offsets.cframe_frame.into()))
}

/// The frame at an address, without a code object where it cannot be read, and where the caller's is.
#[inline(always)]
fn frame(
    memory: &impl Memory,
    offsets: &FrameOffsets,
    address: u64,
    span: &mut Span,
) -> (Frame, u64) {
    memory.span(address, offsets.frame_length, span);
    let previous = at(span, offsets.previous);
    let code = at(span, offsets.code) & !MARKS;
    // `f_lasti` is an `int`, whose sign goes into the rest.
    let unused_bits = offsets.instruction_unused_bits & 63;
    let instruction = (at(span, offsets.instruction) << unused_bits) as i64 >> unused_bits;
    let owner = at(span, offsets.owner) as u32 & offsets.owner_mask;
    let code_from = code.wrapping_add(offsets.code_from.into());
    memory.span(code_from, offsets.code_length, span);
    let (file, name) = (at(span, offsets.file), at(span, offsets.name));
    let first_line = at(span, offsets.first_line) as u32;
    let name_hash = memory.word(name.wrapping_add(offsets.name_hash.into()));
    let frame = Frame {
        address,
        code,
        instruction: instruction as u64,
        identity: identity(file, name, name_hash, first_line),
        owner,
    };
    (frame, previous)
}

const _: () = {
    assert!(size_of::<Frame>() == 32);
    assert!(size_of::<Stack>() == 48 + SPAN + 32 * MAX_FRAMES);
};

#[cfg(test)]
mod tests;
