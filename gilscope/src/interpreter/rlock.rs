//! Who has an RLock: the lock that a thread waits for does not tell, the object around it does.

use super::layout::RLock;
use super::object::Objects;
use super::threads::ThreadState;
use super::{Interpreter, text};
use crate::target::Memory;

/// The name of its type.
const TYPE: &[u8; 14] = b"_thread.RLock\0";
/// The attributes of one that is written in Python: who has it, and the lock below it.
const OWNER: &str = "_RLock__owner";
const BLOCK: &str = "_RLock__block";
/// So much of the stack is looked at for the object: from its `acquire` down to the system call it is less.
const STACK: u64 = 4096;
/// Larger tables of attributes are not looked through.
const MAX_MASK: u64 = 1_023;

impl Interpreter {
    /// The RLock below which this lock is; `None` where it is no RLock's. The thread waits for the lock, in a system call with this stack
    /// pointer.
    pub fn rlock(
        &self,
        memory: Memory,
        lock: u64,
        thread: &ThreadState,
        stack_pointer: u64,
    ) -> Option<u64> {
        let objects = self.objects(memory)?;
        let is_it = |object: &u64| objects.is_rlock(*object, lock) == Some(true);
        match objects.layout.rlock {
            RLock::C {
                lock: offset,
                is_pointer: false,
                ..
            } => Some(lock.wrapping_sub(offset)).filter(is_it),
            // Whoever calls a method has the object, and the method keeps it while it waits.
            RLock::C { .. } => stack(memory, stack_pointer).find(is_it),
            RLock::Python { local, .. } => {
                let frame = objects.innermost(thread.address)?;
                objects.word(frame, local).filter(is_it)
            }
        }
    }

    /// `threading.get_ident()` of the thread that has an RLock; 0 if none has.
    pub fn rlock_owner(&self, memory: Memory, rlock: u64) -> Option<u64> {
        let objects = self.objects(memory)?;
        match objects.layout.rlock {
            RLock::C { owner, .. } => objects.word(rlock, owner),
            RLock::Python { int, .. } => {
                let owner = objects.attribute(rlock, OWNER)?;
                // Else it is `None`.
                if objects.is_a(owner, b"int\0")? {
                    objects.word(owner, int)
                } else {
                    Some(0)
                }
            }
        }
    }
}

/// The words from the stack pointer on. The stack may end with the page that it is in.
fn stack(memory: Memory, pointer: u64) -> impl Iterator<Item = u64> {
    let in_page = STACK - pointer % STACK;
    let parts = [
        (pointer, in_page),
        (pointer.wrapping_add(in_page), STACK - in_page),
    ];
    let read = move |(at, length)| {
        let bytes = memory.read_bytes(at, usize::try_from(length).unwrap_or(0));
        bytes.unwrap_or_default()
    };
    let words = |bytes: Vec<u8>| {
        let words = bytes.as_chunks().0.iter();
        words
            .map(|word| u64::from_le_bytes(*word))
            .collect::<Vec<_>>()
    };
    parts.into_iter().map(read).flat_map(words)
}

impl Objects {
    /// Whether an object is an RLock with this lock.
    fn is_rlock(&self, object: u64, lock: u64) -> Option<bool> {
        match self.layout.rlock {
            RLock::C {
                lock: offset,
                is_pointer,
                ..
            } => {
                let has_lock = || !is_pointer || self.word(object, offset) == Some(lock);
                Some(object.is_multiple_of(8) && has_lock() && self.is_a(object, TYPE)?)
            }
            RLock::Python { lock: offset, .. } => {
                let block = self.attribute(object, BLOCK)?;
                Some(self.word(block, offset)? == lock)
            }
        }
    }

    /// Whether an object's type has this name.
    pub(super) fn is_a<const N: usize>(&self, object: u64, name: &[u8; N]) -> Option<bool> {
        let its_type = self.word(object, self.layout.object_type)?;
        let its_name = self.word(its_type, self.layout.type_name)?;
        Some(self.memory.read_array(its_name).ok()? == *name)
    }

    /// An attribute of an instance, from its dictionary as 2.7 has it (`Include/dictobject.h`).
    pub(super) fn attribute(&self, object: u64, name: &str) -> Option<u64> {
        let RLock::Python {
            dict, mask, table, ..
        } = self.layout.rlock
        else {
            return None;
        };
        let dict = self.word(object, dict)?;
        let size = self.word(dict, mask).filter(|mask| *mask <= MAX_MASK)? + 1;
        let table = self.word(dict, table)?;
        let entries = (0..size).map(|at| table.wrapping_add(24 * at));
        let is_it = |key: &u64| {
            let found = text::read(self.memory, *key, self.layout.text);
            found.as_deref() == Some(name)
        };
        let named = |entry: &u64| self.word(*entry, 8).filter(is_it).is_some();
        self.word(entries.into_iter().find(named)?, 16)
    }
}
