//! From a thread state through the frames of its functions, from the innermost on.

use super::layout::{NO_FUNCTION_FROM, Position};
use super::object::{Block, Objects};

/// The low bits of a reference to an object may be marks (3.14+: `Include/internal/pycore_stackref.h`).
pub(super) const MARKS: u64 = 3;

/// A frame that may be a function's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RawFrame {
    pub(super) address: u64,
    /// Address of its code object.
    pub(super) code: u64,
    /// As [`Position`] says.
    pub(super) instruction: u64,
    /// Who owns it, where that is told.
    pub(super) owner: Option<u8>,
}

/// The frames of a thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) frames: Vec<RawFrame>,
    /// There are more.
    pub(super) truncated: bool,
    /// It ended where nothing can be read.
    pub(super) broken: bool,
}

impl Walk {
    /// Whether the thread is where it was, but for the instruction of the innermost function.
    pub(super) fn is_same(&self, other: &Walk) -> bool {
        let place = |frame: &RawFrame| (frame.address, frame.code);
        let (first, others) = (self.frames.first(), self.frames.get(1..));
        (first.map(place), others) == (other.frames.first().map(place), other.frames.get(1..))
            && (self.truncated, self.broken) == (other.truncated, other.broken)
    }
}

impl Objects {
    /// The frames of the thread with this state, `most` at most, without those that are the interpreter's own.
    pub(super) fn walk(&self, state: u64, most: usize) -> Walk {
        let mut walk = Walk::default();
        let Some(mut next) = self.innermost(state) else {
            walk.broken = true;
            return walk;
        };
        // Frames that are left out are no more than the others, so this bounds a circle.
        for _ in 0..most.saturating_mul(2) {
            if next == 0 || walk.frames.len() >= most {
                break;
            }
            let Some((frame, previous)) = self.frame(next) else {
                walk.broken = true;
                return walk;
            };
            if frame.owner.is_none_or(|owner| owner < NO_FUNCTION_FROM) {
                walk.frames.push(frame);
            }
            next = previous;
        }
        walk.truncated = next != 0;
        walk
    }

    /// Address of the innermost frame; 0 where there is none.
    pub(super) fn innermost(&self, state: u64) -> Option<u64> {
        let frame = self.word(state, self.layout.frame.into())?;
        match self.layout.cframe_frame {
            Some(offset) => self.word(frame, offset.into()),
            None => Some(frame),
        }
    }

    /// A frame, and the address of its caller's.
    fn frame(&self, address: u64) -> Option<(RawFrame, u64)> {
        let layout = &self.layout;
        let offsets = [
            layout.previous,
            layout.code,
            layout.instruction,
            layout.owner.unwrap_or(0),
        ];
        let block = self.block(address, &offsets.map(u64::from))?;
        let frame = RawFrame {
            address,
            code: block.word(layout.code.into())? & !MARKS,
            instruction: self.instruction(&block)?,
            owner: layout.owner.and_then(|owner| block.byte(owner.into())),
        };
        Some((frame, block.word(layout.previous.into())?))
    }

    fn instruction(&self, block: &Block) -> Option<u64> {
        let at = self.layout.instruction.into();
        match self.layout.position {
            Position::Index { .. } => block.int(at).map(|index| i64::from(index).cast_unsigned()),
            Position::Address { .. } => block.word(at),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::interpreter::{Version, layout};
    use crate::target::Memory;

    const WORDS: usize = 16;

    fn objects(minor: u8) -> Objects {
        Objects {
            memory: Memory::new(std::process::id()),
            layout: layout::frames(Version::of(3, minor), false).unwrap(),
            code_type: 0,
        }
    }

    /// A frame that is its own caller, in the test's own memory, with every byte of its last words the same; and a state that it is the innermost of.
    fn walk_in_a_circle(minor: u8, owner: u8) -> Walk {
        let objects = objects(minor);
        let mut frame = [0_u64; WORDS];
        frame[7..].fill(u64::from_ne_bytes([owner; 8]));
        let at = frame.as_ptr() as u64;
        frame[objects.layout.previous as usize / 8] = at;
        let mut state = [0_u64; WORDS];
        state[objects.layout.frame as usize / 8] = at;
        let walk = objects.walk(std::hint::black_box(&state).as_ptr() as u64, 1024);
        std::hint::black_box(&frame);
        walk
    }

    #[test]
    fn a_circle_ends() {
        let walk = walk_in_a_circle(8, 0);
        assert_eq!(
            (walk.frames.len(), walk.truncated, walk.broken),
            (1024, true, false)
        );
    }

    /// Frames of the interpreter's own are no functions, however many there are.
    #[test]
    fn a_circle_of_frames_that_are_left_out_ends() {
        let walk = walk_in_a_circle(13, 3);
        assert_eq!(
            (walk.frames.len(), walk.truncated, walk.broken),
            (0, true, false)
        );
    }

    #[test]
    fn nothing_is_there() {
        for state in [0, 8, u64::MAX] {
            let walk = objects(12).walk(state, 1024);
            assert_eq!((walk.frames.len(), walk.broken), (0, true));
        }
    }
}
