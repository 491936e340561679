//! Which Python function each thread of a process runs.

use super::Interpreter;
use super::layout::FrameLayout;
use crate::target::Memory;
use std::collections::HashMap;

/// More interpreters or threads are not believed.
const MAX_INTERPRETERS: usize = 4096;
const MAX_THREADS: usize = 1 << 16;
/// Where glibc keeps a thread's id, counted from its `pthread_t` (x86-64: `nptl/descr.h`, `struct pthread`; measured 2.31, 2.36). CPython
/// keeps it itself from 3.11 on, behind `thread_id`.
const GLIBC_TID: u64 = 0x2d0;
/// The low bits of a reference to an object may be marks.
const MARKS: u64 = 3;

/// Addresses of the code objects of a function and of the one that called it; 0 where they are not known.
pub type Functions = (u64, u64);

impl Interpreter {
    /// The function that each thread runs, by the thread's id in its PID namespace. Threads come and go meanwhile, so what cannot
    /// be read is left out.
    pub fn running(&self, memory: Memory) -> HashMap<u32, Functions> {
        let mut found = HashMap::new();
        let Some((layout, interpreters)) = self.frames().zip(self.interpreters()) else {
            return found;
        };
        let states = list(
            memory,
            interpreters.head,
            interpreters.next,
            MAX_INTERPRETERS,
        )
        .flat_map(|interpreter| {
            let first = interpreter.wrapping_add(layout.threads);
            list(memory, first, layout.next_thread, MAX_THREADS)
        })
        .take(MAX_THREADS);
        for state in states {
            if let (Some(tid), Some(functions)) = (
                tid(memory, state, &layout),
                functions(memory, state, &layout),
            ) {
                found.insert(tid, functions);
            }
        }
        found
    }
}

/// The elements of a list, the first of which the pointer at `head` leads to.
fn list(memory: Memory, head: u64, next: u64, most: usize) -> impl Iterator<Item = u64> {
    let follow = move |pointer: u64| memory.read_u64(pointer).ok().filter(|at| *at != 0);
    std::iter::successors(follow(head), move |at| follow(at.wrapping_add(next))).take(most)
}

fn tid(memory: Memory, state: u64, layout: &FrameLayout) -> Option<u32> {
    let thread_id = state.wrapping_add(layout.thread_id.into());
    if layout.has_native_id {
        let id = memory.read_u64(thread_id.wrapping_add(8)).ok()?;
        return u32::try_from(id).ok();
    }
    let pthread = memory.read_u64(thread_id).ok()?;
    let tid = memory.read_i32(pthread.wrapping_add(GLIBC_TID)).ok()?;
    u32::try_from(tid).ok()
}

/// As the programs in the kernel find them.
fn functions(memory: Memory, state: u64, layout: &FrameLayout) -> Option<Functions> {
    let word = |base: u64, offset: u32| memory.read_u64(base.wrapping_add(offset.into())).ok();
    let mut frame = word(state, layout.frame)?;
    if let Some(offset) = layout.cframe_frame {
        frame = word(frame, offset)?;
    }
    let code = word(frame, layout.code)? & !MARKS;
    let caller = word(frame, layout.previous).filter(|caller| *caller != 0);
    let caller = caller.and_then(|caller| word(caller, layout.code));
    Some((code, caller.unwrap_or(0) & !MARKS))
}
