//! Who has a GIL.

use super::Interpreter;
use crate::model::{Gil, GilLock};
use crate::target::Memory;

impl Interpreter {
    /// Address of the thread state that has this GIL now; `None` while none has.
    pub fn holder(&self, memory: Memory, gil: &Gil) -> Option<u64> {
        let pointer = match &gil.lock {
            // `last_holder` stays when it is given back, and may dangle.
            GilLock::Condvar(lock) => {
                let is_locked = memory.read_i32(lock.locked).ok()? == 1;
                is_locked.then_some(lock.last_holder)?
            }
            GilLock::Semaphore { current_thread } => *current_thread,
        };
        memory.read_u64(pointer).ok().filter(|state| *state != 0)
    }
}
