//! Which locks threads wait for, and who has them.

use super::Tids;
use crate::{
    interpreter::{Interpreter, Libc, ThreadState, WithBlock, layout::has_parking_lot},
    model::{DumpLock, DumpThread, LockKind, Owner},
    probe::{self, Libraries, Library},
    target::{self, Memory, Process, SystemCall},
    watch::locks::{self, address_of, is_private, kind_of},
};
use std::{collections::HashMap, rc::Rc};

/// `__data.__owner` in glibc's `pthread_mutex_t` (x86-64, `sysdeps/nptl/bits/struct_mutex.h`, 2.30+; before, the same in `pthreadtypes.h`).
const MUTEX_OWNER: u64 = 8;

/// As one part in so many.
const CLOCKS_DIFFER_BY: u64 = 1_000;

/// A lock that is waited for.
pub(super) struct Awaited {
    address: u64,
    kind: LockKind,
    /// The RLock that it is a part of.
    rlock: Option<u64>,
    /// No other process can have it.
    private: bool,
}

/// The locks of a process.
pub(super) struct Locks<'a> {
    process: &'a Process,
    interpreter: &'a Interpreter,
    /// Its C library and where that is loaded, once it matters.
    library: Option<Option<(Rc<Library>, u64)>>,
    awaited: Vec<Awaited>,
}

impl<'a> Locks<'a> {
    pub(super) fn new(process: &'a Process, interpreter: &'a Interpreter) -> Locks<'a> {
        Locks {
            process,
            interpreter,
            library: None,
            awaited: Vec::new(),
        }
    }

    /// The lock that a thread with these states waits for in a system call.
    pub(super) fn awaited(&mut self, call: &SystemCall, states: &[ThreadState]) -> Option<Awaited> {
        let process = self.process;
        let library = self.library.get_or_insert_with(|| library_of(process));
        let locks = locks::Locks {
            library: library.as_ref().map(|(library, _)| &**library),
            load_bias: library.as_ref().map_or(0, |(_, bias)| *bias),
            has_parking_lot: has_parking_lot(self.interpreter.version),
        };
        let place = locks.place(process.memory(), call)?;
        let address = address_of(&place);
        let kind = match kind_of(place.kind) {
            LockKind::PyMutex if self.is_state_of(states, address) => LockKind::StopTheWorld,
            kind => kind,
        };
        let known = self.awaited.iter();
        let known = known.filter(|one| (one.address, one.kind) == (address, kind));
        let rlock = known.map(|one| one.rlock).next();
        Some(Awaited {
            address,
            kind,
            rlock: rlock.unwrap_or_else(|| self.rlock(address, kind, call, states)),
            private: is_private(call),
        })
    }

    /// The number of a lock that has been seen to be waited for.
    pub(super) fn number(&mut self, lock: Awaited) -> u32 {
        let is_it = |one: &Awaited| (one.address, one.kind) == (lock.address, lock.kind);
        let known = self.awaited.iter().position(is_it);
        let at = known.unwrap_or(self.awaited.len());
        if known.is_none() {
            self.awaited.push(lock);
        }
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    fn rlock(
        &self,
        address: u64,
        kind: LockKind,
        call: &SystemCall,
        states: &[ThreadState],
    ) -> Option<u64> {
        let is_pythons = matches!(kind, LockKind::Semaphore | LockKind::PyMutex);
        // Of several interpreters the newest's is the one that waits.
        let state = states.first().filter(|_| is_pythons)?;
        (self.interpreter).rlock(self.memory(), address, state, call.stack_pointer)
    }

    /// Whether a thread's own state is waited for, as for the end of a stop-the-world pause.
    fn is_state_of(&self, states: &[ThreadState], address: u64) -> bool {
        let layout = self.interpreter.frames();
        let state = layout
            .and_then(|layout| layout.pause)
            .map(|pause| pause.state);
        let is = |offset: u32| {
            let mut states = states.iter();
            states.any(|state| state.address.wrapping_add(offset.into()) == address)
        };
        state.is_some_and(is)
    }

    /// All that were waited for by these threads, with who has them now.
    pub(super) fn told(&self, tids: &Tids, threads: &[DumpThread]) -> Vec<DumpLock> {
        let told = (0..).zip(&self.awaited).map(|(id, lock)| {
            let owner = match lock.rlock {
                Some(rlock) => self.rlock_owner(rlock, tids),
                None => self.mutex_owner(lock, tids),
            };
            let is_it = |tid: &u32| !self.is_too_young(*tid, &waiters(threads, id));
            let owner = owner.map(|thread| self.owner(thread.filter(is_it)));
            DumpLock {
                id,
                address: format!("{:#x}", lock.address),
                kind: lock.kind,
                rlock: lock.rlock.is_some(),
                owner,
                inferred_owners: Vec::new(),
            }
        });
        let mut told: Vec<DumpLock> = told.collect();
        self.infer_owners(&mut told, tids, threads);
        told
    }

    /// Plain locks do not record who has them: who is inside a `with` on one does, most likely.
    fn infer_owners(&self, told: &mut [DumpLock], tids: &Tids, threads: &[DumpThread]) {
        let is_plain = |lock: &Awaited| {
            lock.rlock.is_none() && matches!(lock.kind, LockKind::Semaphore | LockKind::PyMutex)
        };
        let locks = told.iter_mut().zip(&self.awaited);
        let plain = locks.filter(|(_, lock)| is_plain(lock));
        let mut plain: HashMap<_, _> = plain
            .map(|(told, lock)| ((lock.kind, lock.address), told))
            .collect();
        if plain.is_empty() {
            return;
        }
        let Some(mut reader) = self.interpreter.with_blocks(self.memory()) else {
            return;
        };
        for thread in threads {
            let states = tids.states(thread.tid).iter();
            let blocks: Vec<WithBlock> = states.flat_map(|state| reader.read(state)).collect();
            for block in blocks {
                for (kind, address) in reader.where_waited(block.object) {
                    let lock = address.and_then(|address| plain.get_mut(&(kind, address)));
                    let Some(lock) = lock else { continue };
                    let waits = thread.doing.lock() == Some(lock.id);
                    let is_known = lock.inferred_owners.last() == Some(&thread.tid);
                    if !is_known && (!waits || block.also_of_waiter) {
                        lock.inferred_owners.push(thread.tid);
                    }
                }
            }
        }
    }

    /// The thread that has called itself so as it took an RLock, if it is there; `None` where nobody has it.
    fn rlock_owner(&self, rlock: u64, tids: &Tids) -> Option<Option<u32>> {
        let thread_id = self.interpreter.rlock_owner(self.memory(), rlock)?;
        (thread_id != 0).then(|| tids.with(|state| state.thread_id == thread_id))
    }

    /// The same of a mutex.
    fn mutex_owner(&self, lock: &Awaited, tids: &Tids) -> Option<Option<u32>> {
        let is_known = lock.kind == LockKind::Mutex && lock.private;
        if !is_known || self.interpreter.libc != Libc::Glibc {
            return None;
        }
        let owner = lock.address.wrapping_add(MUTEX_OWNER);
        let ns_tid = u32::try_from(self.memory().read_i32(owner).ok()?).ok()?;
        (ns_tid != 0).then(|| tids.by_ns_tid.get(&ns_tid).copied())
    }

    fn owner(&self, thread: Option<u32>) -> Owner {
        match thread {
            Some(tid) => Owner::Thread(tid),
            None if self.is_copy() => Owner::LeftBehindByFork,
            None => Owner::Ended,
        }
    }

    /// Whether a thread of a copy began after these had all fallen asleep. It has not taken the lock then, as who releases it wakes one of them up: it was
    /// only given the id of one that stayed behind, as C libraries give a new thread the stack of one that is no more, by whose address CPython calls it.
    fn is_too_young(&self, tid: u32, waiters: &[&DumpThread]) -> bool {
        if !self.is_copy() {
            return false;
        }
        let age_ns = self.process.thread(tid).age_ns();
        let asleep_ns = waiters.iter().map(|waiter| waiter.asleep_ns);
        age_ns.is_some_and(|age_ns| all_slept_before(age_ns, asleep_ns))
    }

    fn is_copy(&self) -> bool {
        let first = self.process.thread(self.process.pid);
        first.stat().is_ok_and(|stat| stat.is_copy())
    }

    fn memory(&self) -> Memory {
        self.process.memory()
    }
}

/// The threads that wait for a lock.
fn waiters(threads: &[DumpThread], id: u32) -> Vec<&DumpThread> {
    let waits = |thread: &&DumpThread| thread.doing.lock() == Some(id);
    threads.iter().filter(waits).collect()
}

/// Whether all had slept for some time before so long ago. The run queues' clock and the one of threads' ages are not the same: they may differ by as
/// much as a quartz does.
fn all_slept_before(ago_ns: u64, asleep_ns: impl Iterator<Item = Option<u64>>) -> bool {
    let mut least_ns = asleep_ns.map(|ns| ns.unwrap_or(0)).min().unwrap_or(0);
    least_ns -= least_ns / CLOCKS_DIFFER_BY;
    least_ns > ago_ns
}

fn library_of(process: &Process) -> Option<(Rc<Library>, u64)> {
    let mut libraries = Libraries::new();
    let mut modules = target::module::modules(process).ok()?;
    modules.find_map(|module| {
        let module = module.ok()?;
        Some((probe::library(&mut libraries, &module)?, module.load_bias))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn who_is_younger_than_all_waits() {
        let slept =
            |ago_ns, asleep_ns: &[Option<u64>]| all_slept_before(ago_ns, asleep_ns.iter().copied());
        assert!(slept(10 * S, &[Some(20 * S), Some(11 * S)]));
        assert!(!slept(10 * S, &[Some(20 * S), Some(9 * S)]));
        // Not by more than the clocks may differ.
        assert!(!slept(10 * S, &[Some(10 * S + S / 200)]));
        assert!(slept(10 * S, &[Some(10 * S + S / 50)]));
        // Where it is not known, or nobody waits, it may be any.
        assert!(!slept(10 * S, &[Some(20 * S), None]));
        assert!(!slept(0, &[]));
        assert!(slept(0, &[Some(u64::MAX)]));
        assert!(!slept(u64::MAX, &[Some(u64::MAX)]));
    }
}
