//! Python stacks that the kernel has read, to functions and lines.

use super::Interpreter;
use super::code::{Codes, Unreadable};
use super::object::Objects;
use crate::model::PythonStack;
use crate::target::Memory;
use gilscope_common::frames;

/// Reads what the frames of recorded stacks lead to, and remembers it: a code object may be gone by the next time.
#[derive(Debug)]
pub struct RecordedStacks {
    codes: Codes,
}

impl Interpreter {
    /// The reader of the stacks that the kernel records of its threads; `None` where this version's are not known.
    pub fn recorded_stacks(&self, memory: Memory) -> Option<RecordedStacks> {
        let objects: Objects = self.objects(memory)?;
        Some(RecordedStacks {
            codes: Codes::new(objects),
        })
    }
}

impl RecordedStacks {
    /// Gives back what may be spent on reading and looking through tables. To be called about once a second.
    pub fn renew(&mut self) {
        self.codes.renew();
    }

    /// The functions of a stack. One whose code object is not what it was as the stack was recorded is counted as unreadable.
    pub fn read(&mut self, stack: &frames::Stack) -> PythonStack {
        let count = usize::try_from(stack.count).unwrap_or(usize::MAX);
        let recorded = stack.frames.get(..count).unwrap_or(&stack.frames);
        let mut read = PythonStack {
            frames: Vec::with_capacity(recorded.len()),
            truncated: stack.next != 0,
            unreadable: stack.unreadable.into(),
        };
        for frame in recorded {
            match self.codes.recorded(frame) {
                Ok(frame) => read.frames.extend(frame),
                Err(Unreadable) => read.unreadable += 1,
            }
        }
        read
    }
}
