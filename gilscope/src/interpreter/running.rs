//! Which Python function each thread of a process runs.

use super::Interpreter;
use crate::target::Memory;
use std::collections::HashMap;

/// Addresses of the code objects of a function and of the one that called it; 0 where they are not known.
pub type Functions = (u64, u64);

impl Interpreter {
    /// The function that each thread runs, by the thread's id in its PID namespace: of several interpreters' the newest's.
    pub fn running(&self, memory: Memory) -> HashMap<u32, Functions> {
        let mut found = HashMap::new();
        let Some(objects) = self.objects(memory) else {
            return found;
        };
        for state in self.thread_states(memory) {
            let mut codes = objects.walk(state.address, 2).frames.into_iter();
            if let Some(innermost) = codes.next() {
                let caller = codes.next().map_or(0, |caller| caller.code);
                found
                    .entry(state.ns_tid)
                    .or_insert((innermost.code, caller));
            }
        }
        found
    }
}
