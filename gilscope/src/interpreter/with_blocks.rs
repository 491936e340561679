//! Which locks a thread holds by `with`: a plain lock does not record who has it, but a function that is inside a `with` on it keeps the lock's
//! `__exit__` for the end of the block, among the values that its instructions work with.

use super::Interpreter;
use super::layout::Values;
use super::object::{Block, Objects};
use super::threads::ThreadState;
use super::walk::{MARKS, RawFrame};
use crate::target::Memory;

/// The name of the method.
const EXIT: &[u8; 9] = b"__exit__\0";
/// Functions of a thread that are looked at, from the innermost on.
const MAX_FRAMES: usize = 1_024;
/// Values of a function that are looked at.
const MAX_VALUES: i32 = 256;
/// Local variables of a function, beyond which its values are not looked for.
const MAX_LOCALS: i32 = 1 << 16;
/// Values of all threads together that are looked at, so that no program keeps gilscope busy for long.
const MAX_ALL_VALUES: usize = 1 << 17;

/// A method of C's that is bound to an object (`PyCFunctionObject`, `Include/methodobject.h`, 2.7; `Include/cpython/methodobject.h`, 3.14): from
/// behind the head that any object has to the pointers to its definition, which begins with a pointer to its name, and to the object.
const BOUND_DEFINITION: u64 = 0;
const BOUND_TO: u64 = 8;
/// One that is not bound (`PyMethodDescrObject`, `Include/descrobject.h`): to the pointer to its definition. The object is the next value.
const UNBOUND_DEFINITION: u64 = 24;

/// Reads them.
#[derive(Debug)]
pub struct WithBlocks {
    objects: Objects,
    /// Address of `PyCFunction_Type`.
    bound_type: u64,
    /// Address of `PyMethodDescr_Type`; 2.7 does not export it, nor need it.
    unbound_type: Option<u64>,
    values_left: usize,
}

/// A `with` block that a thread is inside of, or about to enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WithBlock {
    /// Address of the object that it is on.
    pub object: u64,
    /// It may be what the thread is entering now: it is its innermost, and this version has `__exit__` by then.
    pub may_be_entering: bool,
}

impl Interpreter {
    /// The reader of its threads' `with` blocks; `None` where this version's are not known.
    pub fn with_blocks(&self, memory: Memory) -> Option<WithBlocks> {
        Some(WithBlocks {
            objects: self.objects(memory)?,
            bound_type: self.module.symbol("PyCFunction_Type")?.address,
            unbound_type: (self.module.symbol("PyMethodDescr_Type")).map(|symbol| symbol.address),
            values_left: MAX_ALL_VALUES,
        })
    }
}

impl WithBlocks {
    /// Those of a thread on objects of C's, the innermost first. Of a thread that runs they may be of different moments.
    pub fn read(&mut self, thread: &ThreadState) -> Vec<WithBlock> {
        let mut found = Vec::new();
        let walk = self.objects.walk(thread.address, MAX_FRAMES);
        for (depth, frame) in walk.frames.iter().enumerate() {
            let values = self.objects.values(frame).unwrap_or_default();
            self.values_left = self.values_left.saturating_sub(values.len());
            if self.values_left == 0 {
                break;
            }
            for at in (0..values.len()).rev() {
                if let Some(object) = self.exits(&values[at..]) {
                    let may_be_entering = depth == 0 && found.is_empty();
                    found.push(WithBlock {
                        object,
                        may_be_entering: may_be_entering && self.objects.layout.exit_comes_first,
                    });
                }
            }
        }
        found
    }

    /// Whether the first of these values is an `__exit__`: of which object.
    fn exits(&self, values: &[u64]) -> Option<u64> {
        let [method, rest @ ..] = values else {
            return None;
        };
        if *method == 0 {
            return None;
        }
        let head = self.head();
        let block = self.objects.block(*method, &[head + UNBOUND_DEFINITION])?;
        let its_type = block.word(self.objects.layout.object_type)?;
        let (definition, object) = if its_type == self.bound_type && self.is_alive(&block)? {
            (BOUND_DEFINITION, block.word(head + BOUND_TO)?)
        } else if Some(its_type) == self.unbound_type {
            (UNBOUND_DEFINITION, *rest.first()?)
        } else {
            return None;
        };
        let name = self.objects.word(block.word(head + definition)?, 0)?;
        let is_exit = self.objects.memory.read_array(name).ok()? == *EXIT;
        is_exit.then_some(object)
    }

    /// Any object → what is behind its type.
    fn head(&self) -> u64 {
        self.objects.layout.object_type + size_of::<u64>() as u64
    }

    /// What a block has left behind is freed: in the place of its number of references there is a pointer then, or 0 (`Objects/obmalloc.c`).
    fn is_alive(&self, block: &Block) -> Option<bool> {
        let Some(at) = self.objects.layout.references() else {
            return Some(true);
        };
        Some((1..=u64::from(u32::MAX)).contains(&block.word(at)?))
    }

    /// Whether an object is the plain lock whose waiters wait at this address: it has a pointer there (`PyThread_type_lock`), or, where that is a
    /// `PyMutex`, holds it (3.13+).
    pub fn is_lock(&self, object: u64, address: u64, is_pointer: bool) -> bool {
        let at = object.wrapping_add(self.head());
        if is_pointer {
            self.objects.word(at, 0) == Some(address)
        } else {
            at == address
        }
    }
}

impl Objects {
    /// The values that a function works with, without marks; 0 where there is none.
    fn values(&self, frame: &RawFrame) -> Option<Vec<u64>> {
        let int = |offset| {
            let bytes = self.memory.read_array(frame.code.wrapping_add(offset)).ok();
            bytes.map(i32::from_le_bytes)
        };
        let most = int(self.layout.in_code.stack_size)?.clamp(0, MAX_VALUES);
        let most = u64::try_from(most).ok()?;
        let (first, count) = match self.layout.values {
            Values::At { first } => (self.word(frame.address, first)?, most),
            Values::BehindLocals { locals, count, end } => {
                let count = int(count).filter(|count| (0..MAX_LOCALS).contains(count))?;
                let offset = locals + 8 * u64::try_from(count).ok()?;
                let first = frame.address.wrapping_add(offset);
                // It is 0 while the function itself runs.
                let end = end.map_or(Some(0), |end| self.word(frame.address, end))?;
                let used = match end {
                    0 => most,
                    end => (end.saturating_sub(first) / 8).min(most),
                };
                (first, used)
            }
        };
        let length = usize::try_from(8 * count).ok()?;
        let bytes = self.memory.read_bytes(first, length).ok()?;
        let words = bytes.as_chunks().0.iter();
        Some(
            words
                .map(|word| u64::from_le_bytes(*word) & !MARKS)
                .collect(),
        )
    }
}
