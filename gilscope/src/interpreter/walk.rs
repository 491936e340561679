//! From a thread state through the frames of its functions, from the innermost on.

use super::layout::{NO_FUNCTION_FROM, Position};
use super::object::{Block, Objects};

/// The low bits of a reference to an object may be marks (3.14+: `Include/internal/pycore_stackref.h`).
const MARKS: u64 = 3;

/// A frame that may be a function's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawFrame {
    address: u64,
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
