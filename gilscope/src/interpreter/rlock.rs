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
/// How many words of the stack are looked at for the object: from its `acquire` down to the system call it is less.
const STACK_WORDS: usize = 512;
/// An instance has no more attributes than this, or is none of the library's.
const MAX_MASK: u64 = 63;

impl Interpreter {
    /// `threading.get_ident()` of the thread that has the RLock below which this lock is, 0 if none has. `None` where the lock is no
    /// RLock's. The thread waits for the lock, in a system call with this stack pointer.
    pub fn rlock_owner(
        &self,
        memory: Memory,
        lock: u64,
        thread: &ThreadState,
        stack_pointer: u64,
    ) -> Option<u64> {
        let objects = self.objects(memory)?;
        match objects.layout.rlock {
            RLock::C {
                lock: offset,
                is_pointer: false,
                ..
            } => objects.c_rlock_owner(lock.wrapping_sub(offset), lock),
            // Whoever calls a method has the object, and the method keeps it while it waits.
            RLock::C { .. } => {
                let bytes = memory
                    .read_array::<{ STACK_WORDS * 8 }>(stack_pointer)
                    .ok()?;
                let words = bytes.as_chunks().0.iter();
                let mut words = words.map(|word| u64::from_le_bytes(*word));
                words.find_map(|word| objects.c_rlock_owner(word, lock))
            }
            RLock::Python { local, .. } => {
                let object = objects.word(objects.innermost(thread.address)?, local)?;
                objects.python_rlock_owner(object, lock)
            }
        }
    }
}

impl Objects {
    /// The owner of what is an RLock of C's with this lock.
    fn c_rlock_owner(&self, object: u64, lock: u64) -> Option<u64> {
        let RLock::C {
            lock: offset,
            is_pointer,
            owner,
        } = self.layout.rlock
        else {
            return None;
        };
        let has_lock = || !is_pointer || self.word(object, offset) == Some(lock);
        let is_one = object.is_multiple_of(8) && has_lock() && self.is_a(object, TYPE)?;
        is_one.then(|| self.word(object, owner))?
    }

    /// The owner of what is an RLock of Python's with this lock.
    fn python_rlock_owner(&self, object: u64, lock: u64) -> Option<u64> {
        let RLock::Python {
            int, lock: offset, ..
        } = self.layout.rlock
        else {
            return None;
        };
        let block = self.attribute(object, BLOCK)?;
        if self.word(block, offset)? != lock {
            return None;
        }
        let owner = self.attribute(object, OWNER)?;
        // Else it is `None`.
        let is_owned = self.is_a(owner, b"int\0")?;
        if is_owned {
            self.word(owner, int)
        } else {
            Some(0)
        }
    }

    /// Whether an object's type has this name.
    fn is_a<const N: usize>(&self, object: u64, name: &[u8; N]) -> Option<bool> {
        let its_type = self.word(object, self.layout.object_type)?;
        let its_name = self.word(its_type, self.layout.type_name)?;
        Some(self.memory.read_array(its_name).ok()? == *name)
    }

    /// An attribute of an instance, from its dictionary as 2.7 has it (`Include/dictobject.h`).
    fn attribute(&self, object: u64, name: &str) -> Option<u64> {
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
