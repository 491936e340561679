//! The thread states of a process's interpreters.

use super::Interpreter;
use super::layout::FrameLayout;
use super::object::Objects;
use crate::target::Memory;
use std::collections::{HashMap, HashSet};

/// More interpreters or threads are not believed.
const MAX_INTERPRETERS: usize = 4096;
const MAX_THREADS: usize = 1 << 16;
/// Where glibc keeps a thread's id, counted from its `pthread_t` (x86-64: `nptl/descr.h`, `struct pthread`; measured 2.31, 2.36). CPython
/// keeps it itself from 3.11 on, behind `thread_id`.
const GLIBC_TID: u64 = 0x2d0;

/// What an interpreter knows of a thread. One that goes from an interpreter into another has a state in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadState {
    /// Where it is.
    pub address: u64,
    /// Id of the interpreter; 0 is the main one.
    pub interpreter: i64,
    /// The thread's id in its PID namespace. The target says so; only the kernel knows.
    pub ns_tid: u32,
    /// Its `pthread_t`, which is `threading.get_ident()`.
    pub thread_id: u64,
}

impl Interpreter {
    /// All thread states, those of the newest interpreter first. Threads come and go meanwhile, so what cannot be read is left out.
    pub fn thread_states(&self, memory: Memory) -> Vec<ThreadState> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let Some((objects, all)) = self.objects(memory).zip(self.interpreters()) else {
            return found;
        };
        for interpreter in list(memory, all.head, all.next).take(MAX_INTERPRETERS) {
            let id = all.id.and_then(|id| objects.word(interpreter, id));
            let first = interpreter.wrapping_add(objects.layout.threads);
            for address in unseen(&objects, first, &mut seen) {
                let id = id.unwrap_or(0).cast_signed();
                found.extend(state(&objects, address, interpreter, id));
            }
        }
        found
    }
}

impl Interpreter {
    /// By their ids in their PID namespace, the states of the threads that have but one.
    pub fn sole_states(&self, memory: Memory) -> HashMap<u32, u64> {
        let (mut sole, mut several) = (HashMap::new(), HashSet::new());
        for state in self.thread_states(memory) {
            if sole.insert(state.ns_tid, state.address).is_some() {
                several.insert(state.ns_tid);
            }
        }
        sole.retain(|ns_tid, _| !several.contains(ns_tid));
        sole
    }

    /// The thread state at an address that the target itself has told; `None` where nothing like it can be read.
    pub fn thread_state(&self, memory: Memory, address: u64) -> Option<ThreadState> {
        let (objects, all) = self.objects(memory).zip(self.interpreters())?;
        let interpreter = objects.word(address, objects.layout.interpreter)?;
        let id = all.id.and_then(|id| objects.word(interpreter, id));
        state(
            &objects,
            address,
            interpreter,
            id.unwrap_or(0).cast_signed(),
        )
    }
}

/// The elements of a list, the first of which the pointer at `head` leads to; endless if it is a circle.
fn list(memory: Memory, head: u64, next: u64) -> impl Iterator<Item = u64> {
    let follow = move |pointer: u64| memory.read_u64(pointer).ok().filter(|at| *at != 0);
    std::iter::successors(follow(head), move |at| follow(at.wrapping_add(next)))
}

/// The thread states of a list up to one that has been seen; so many in all lists, whether or not they turn out to be any.
fn unseen(objects: &Objects, head: u64, seen: &mut HashSet<u64>) -> impl Iterator<Item = u64> {
    list(objects.memory, head, objects.layout.next_thread)
        .take_while(|address| seen.len() < MAX_THREADS && seen.insert(*address))
}

fn state(objects: &Objects, address: u64, interpreter: u64, id: i64) -> Option<ThreadState> {
    let layout = &objects.layout;
    if objects.word(address, layout.interpreter)? != interpreter {
        return None;
    }
    let thread_id = objects.word(address, layout.thread_id.into())?;
    Some(ThreadState {
        address,
        interpreter: id,
        ns_tid: ns_tid(objects, address, thread_id, layout)?,
        thread_id,
    })
}

fn ns_tid(objects: &Objects, state: u64, thread_id: u64, layout: &FrameLayout) -> Option<u32> {
    if layout.has_native_id {
        let id = objects.word(state, u64::from(layout.thread_id) + 8)?;
        return u32::try_from(id).ok();
    }
    let tid = objects.memory.read_i32(thread_id.wrapping_add(GLIBC_TID));
    u32::try_from(tid.ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::interpreter::{Version, layout};

    /// A list that never ends is not followed for long, though nothing in it is believed.
    #[test]
    fn a_list_of_what_are_no_states_ends() {
        let objects = Objects {
            memory: Memory::new(std::process::id()),
            layout: layout::frames(Version::of(3, 12), false).unwrap(),
            code_type: 0,
        };
        // Each word leads to the next.
        let mut words = vec![0_u64; MAX_THREADS + 100];
        let start = words.as_ptr() as u64;
        let next = objects.layout.next_thread;
        for (word, at) in words.iter_mut().zip((start + 8..).step_by(8)) {
            *word = at.wrapping_sub(next);
        }
        let mut seen = HashSet::new();
        let head = std::hint::black_box(&words).as_ptr() as u64;
        let all = unseen(&objects, head, &mut seen).count();
        assert_eq!(all, MAX_THREADS);
        // Nor is another list followed from then on.
        assert_eq!(unseen(&objects, head, &mut seen).count(), 0);
    }
}
