//! Which locks a thread holds by `with`: a plain lock does not record who has it, but a function that is inside a `with` on it keeps the lock's
//! `__exit__` for the end of the block, among the values that its instructions work with.

use super::Interpreter;
use super::layout::Values;
use super::object::{Block, Objects};
use super::threads::ThreadState;
use super::walk::{MARKS, RawFrame};
use crate::model::LockKind;
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
    /// If the thread waits for that lock right now, it waits for what it has. Not if it may be entering this block: its innermost one, where this version
    /// has `__exit__` by then. Nor if the block is of a function further out: `Condition.wait`, which that has called, lets go of the lock, and takes it again.
    pub also_of_waiter: bool,
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
                    let may_be_entering = found.is_empty() && self.objects.layout.exit_comes_first;
                    found.push(WithBlock {
                        object,
                        also_of_waiter: depth == 0 && !may_be_entering,
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

    /// If an object is a plain lock, its waiters wait where it points to (`PyThread_type_lock`), or, where it holds a `PyMutex` (3.13+), inside it.
    pub fn where_waited(&self, object: u64) -> [(LockKind, Option<u64>); 2] {
        let at = object.wrapping_add(self.head());
        [
            (LockKind::Semaphore, self.objects.word(at, 0)),
            (LockKind::PyMutex, Some(at)),
        ]
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::interpreter::{Version, layout};

    const WORDS: usize = 32;

    fn objects(minor: u8) -> Objects {
        Objects {
            memory: Memory::new(std::process::id()),
            layout: layout::frames(Version::of(3, minor), false).unwrap(),
            code_type: 0,
        }
    }

    fn at(words: &[u64]) -> u64 {
        std::hint::black_box(words).as_ptr() as u64
    }

    /// The values of a function whose frame and code are made of these words.
    fn values(minor: u8, frame: &[u64], code: &[u64]) -> Option<Vec<u64>> {
        let frame = RawFrame {
            address: at(frame),
            code: at(code),
            ..RawFrame::default()
        };
        objects(minor).values(&frame)
    }

    /// Two ints in a word.
    fn ints(low: i32, high: i32) -> u64 {
        u64::from(low.cast_unsigned()) | u64::from(high.cast_unsigned()) << 32
    }

    #[test]
    fn values_follow_the_local_variables() {
        let mut frame = [0_u64; WORDS];
        for (word, value) in frame.iter_mut().zip((0..).step_by(8)) {
            *word = value;
        }
        let mut code = [0_u64; WORDS];
        // 3.12: stack size, first line; local variables.
        (code[8], code[9]) = (ints(2, 7), ints(3, 0));
        assert_eq!(values(12, &frame, &code), Some(vec![12 * 8, 13 * 8]));
        // 3.14 has the end of what is used; or none, while the function runs.
        frame[8] = at(&frame) + 8 * 14;
        assert_eq!(values(14, &frame, &code), Some(vec![13 * 8]));
        frame[8] = 0;
        assert_eq!(values(14, &frame, &code), Some(vec![13 * 8, 14 * 8]));
    }

    /// What a hostile program says is bounded.
    #[test]
    fn there_are_no_more_than_there_may_be() {
        let (mut frame, mut code) = ([0_u64; WORDS], [0_u64; WORDS]);
        for size in [-1, i32::MIN] {
            (code[8], code[9]) = (ints(size, 0), 0);
            assert_eq!(values(14, &frame, &code), Some(vec![]), "{size}");
        }
        for count in [-1, i32::MIN, i32::MAX, MAX_LOCALS] {
            (code[8], code[9]) = (ints(1, 0), ints(count, 0));
            assert_eq!(values(14, &frame, &code), None, "{count}");
        }
        // An end that is before the first value, or far behind.
        (code[8], code[9]) = (ints(2, 0), 0);
        for (end, length) in [(8, 0), (u64::MAX, 2)] {
            frame[8] = end;
            assert_eq!(values(14, &frame, &code).map(|it| it.len()), Some(length));
        }
    }

    #[test]
    fn a_bound_exit_is_of_the_object_that_it_is_bound_to() {
        let definition = [c"__exit__".as_ptr() as u64];
        let (bound, unbound) = (0x1000, 0x2000);
        let blocks = WithBlocks {
            objects: objects(12),
            bound_type: bound,
            unbound_type: Some(unbound),
            values_left: MAX_ALL_VALUES,
        };
        let method = |references, kind, words: [u64; 6]| {
            let [a, b, c, d, e, f] = words;
            [references, kind, a, b, c, d, e, f]
        };
        let exits = |method: &[u64], rest: &[u64]| blocks.exits(&[&[at(method)], rest].concat());
        let is_bound = [at(&definition), 77, 0, 0, 0, 0];
        assert_eq!(exits(&method(1, bound, is_bound), &[]), Some(77));
        // Freed: where its number of references was there is the address of the next free one.
        assert_eq!(exits(&method(1 << 40, bound, is_bound), &[]), None);
        assert_eq!(exits(&method(0, bound, is_bound), &[]), None);
        let is_not = [0, 0, 0, at(&definition), 0, 0];
        assert_eq!(exits(&method(1, unbound, is_not), &[88]), Some(88));
        assert_eq!(exits(&method(1, unbound, is_not), &[]), None);
        // Another type, another name, nothing at all.
        assert_eq!(exits(&method(1, 0x3000, is_bound), &[88]), None);
        let other = [c"__enter__".as_ptr() as u64];
        let is_other = [at(&other), 77, 0, 0, 0, 0];
        assert_eq!(exits(&method(1, bound, is_other), &[]), None);
        assert_eq!(blocks.exits(&[8, 88]), None);
        assert_eq!(blocks.exits(&[]), None);
        std::hint::black_box((definition, other));
    }

    #[test]
    fn a_lock_has_a_pointer_to_what_is_waited_for_or_holds_it() {
        let blocks = WithBlocks {
            objects: objects(13),
            bound_type: 0,
            unbound_type: None,
            values_left: 0,
        };
        let lock = [1, 0x1000, 0x7000];
        let expected = [
            (LockKind::Semaphore, Some(0x7000)),
            (LockKind::PyMutex, Some(at(&lock) + 16)),
        ];
        assert_eq!(blocks.where_waited(at(&lock)), expected);
        std::hint::black_box(lock);
    }
}
