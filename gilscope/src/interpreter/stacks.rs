//! Whole Python stacks of a process that runs meanwhile.

use super::Interpreter;
use super::code::{Codes, Unreadable};
use super::object::Objects;
use super::threads::ThreadState;
use super::walk::Walk;
use crate::model::{Frame, Stack};
use crate::target::Memory;

/// The most functions of one stack.
pub const MAX_FRAMES: usize = 1024;
/// The most of all stacks together, so that no program keeps gilscope busy for long.
const MAX_ALL_FRAMES: usize = 1 << 18;
/// The most bytes of names in them.
const MAX_ALL_TEXT: usize = 64 << 20;
/// A thread that runs may be elsewhere by the time that its stack is read: read again.
const ATTEMPTS: u32 = 5;

/// Reads stacks, and remembers the functions that it has met.
#[derive(Debug)]
pub struct Stacks {
    objects: Objects,
    codes: Codes,
    frames_left: usize,
    text_left: usize,
}

impl Interpreter {
    /// The reader of its threads' stacks; `None` where this version's are not known.
    pub fn stacks(&self, memory: Memory) -> Option<Stacks> {
        let objects = self.objects(memory)?;
        Some(Stacks {
            objects,
            codes: Codes::new(objects),
            frames_left: MAX_ALL_FRAMES,
            text_left: MAX_ALL_TEXT,
        })
    }
}

impl Stacks {
    /// The functions that a thread is in. The thread is not stopped: what is read is believed once it is there before and after its
    /// names are read, and is not [`Stack::consistent`] if that does not come about.
    pub fn read(&mut self, thread: &ThreadState) -> Stack {
        let most = MAX_FRAMES.min(self.frames_left);
        let mut walk = self.objects.walk(thread.address, most);
        let mut attempt = 1;
        let stack = loop {
            let stack = self.functions(thread, &walk);
            let now = self.objects.walk(thread.address, most);
            let consistent = walk.is_same(&now);
            if consistent || attempt == ATTEMPTS {
                break Stack {
                    consistent,
                    ..stack
                };
            }
            (walk, attempt) = (now, attempt + 1);
        };
        self.frames_left -= stack.frames.len().min(self.frames_left);
        self.text_left -= text(&stack.frames).min(self.text_left);
        stack
    }

    fn functions(&mut self, thread: &ThreadState, walk: &Walk) -> Stack {
        let mut stack = Stack {
            interpreter: thread.interpreter,
            frames: Vec::with_capacity(walk.frames.len()),
            truncated: walk.truncated,
            unreadable: walk.broken.into(),
            consistent: false,
        };
        let mut text_left = self.text_left;
        for frame in &walk.frames {
            if text_left == 0 {
                stack.truncated = true;
                break;
            }
            match self.codes.frame(frame) {
                Ok(frame) => {
                    text_left = text_left.saturating_sub(text(frame.as_slice()));
                    stack.frames.extend(frame);
                }
                Err(Unreadable) => stack.unreadable += 1,
            }
        }
        stack
    }
}

/// Bytes of their names.
fn text(frames: &[Frame]) -> usize {
    let of = |frame: &Frame| {
        let qualified_name = frame.qualified_name.as_ref().map_or(0, String::len);
        frame.name.len() + frame.file.len() + qualified_name
    };
    frames.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::interpreter::{Version, layout, walk::RawFrame};

    /// A program with endless names cannot make gilscope's memory endless.
    #[test]
    fn no_more_is_read_than_fits() {
        let objects = Objects {
            memory: Memory::new(std::process::id()),
            layout: layout::frames(Version::of(3, 12), false).unwrap(),
            code_type: 0,
        };
        let mut stacks = Stacks {
            objects,
            codes: Codes::new(objects),
            frames_left: 1,
            text_left: 1,
        };
        let thread = ThreadState::default();
        let walk = Walk {
            frames: vec![RawFrame::default()],
            ..Walk::default()
        };
        let read = stacks.functions(&thread, &walk);
        assert_eq!((read.unreadable, read.truncated), (1, false));
        stacks.text_left = 0;
        let read = stacks.functions(&thread, &walk);
        assert_eq!((read.unreadable, read.truncated), (0, true));
    }
}
