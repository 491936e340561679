//! Which locks threads wait for, and who has them.

use super::Tids;
use crate::{
    interpreter::{Interpreter, Libc, ThreadState, WithBlock, layout::has_parking_lot},
    model::{Doing, DumpLock, DumpThread, LockKind, Owner},
    probe::{self, Libraries, Library},
    target::{self, Memory, Process, SystemCall},
    watch::locks::{self, address_of, kind_of},
};
use std::rc::Rc;

/// `__data.__owner` in glibc's `pthread_mutex_t` (x86-64, `sysdeps/nptl/bits/struct_mutex.h`, 2.30+; before, the same in `pthreadtypes.h`).
const MUTEX_OWNER: u64 = 8;

/// A lock that is waited for.
pub(super) struct Awaited {
    address: u64,
    kind: LockKind,
    /// The RLock that it is a part of.
    rlock: Option<u64>,
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
        let mut plain: Vec<_> = locks.filter(|(_, lock)| is_plain(lock)).collect();
        if plain.is_empty() {
            return;
        }
        let Some(mut reader) = self.interpreter.with_blocks(self.memory()) else {
            return;
        };
        for thread in threads {
            let states = tids.states(thread.tid).iter();
            let blocks: Vec<WithBlock> = states.flat_map(|state| reader.read(state)).collect();
            for (lock, awaited) in &mut plain {
                let waits = matches!(thread.doing, Doing::WaitsForLock { lock_id, .. } if lock_id == lock.id);
                let is_pointer = awaited.kind == LockKind::Semaphore;
                let is_inside = |block: &WithBlock| {
                    !(waits && block.may_be_entering)
                        && reader.is_lock(block.object, awaited.address, is_pointer)
                };
                if blocks.iter().any(is_inside) {
                    lock.inferred_owners.push(thread.tid);
                }
            }
        }
    }

    fn rlock_owner(&self, rlock: u64, tids: &Tids) -> Option<Owner> {
        let thread_id = self.interpreter.rlock_owner(self.memory(), rlock)?;
        self.owner(thread_id, tids, |state| state.thread_id == thread_id)
    }

    fn mutex_owner(&self, lock: &Awaited, tids: &Tids) -> Option<Owner> {
        if lock.kind != LockKind::Mutex || self.interpreter.libc != Libc::Glibc {
            return None;
        }
        let owner = lock.address.wrapping_add(MUTEX_OWNER);
        let ns_tid = u32::try_from(self.memory().read_i32(owner).ok()?).ok()?;
        match tids.by_ns_tid.get(&ns_tid) {
            Some(tid) => Some(Owner::Thread(*tid)),
            None => self.owner(ns_tid.into(), tids, |_| false),
        }
    }

    /// The owner by what the lock calls it, which is 0 where there is none.
    fn owner(&self, id: u64, tids: &Tids, is: impl Fn(&ThreadState) -> bool) -> Option<Owner> {
        match tids.with(is) {
            _ if id == 0 => None,
            Some(tid) => Some(Owner::Thread(tid)),
            None if self.is_copy() => Some(Owner::LeftBehindByFork),
            None => Some(Owner::Ended),
        }
    }

    fn is_copy(&self) -> bool {
        let first = self.process.thread(self.process.pid);
        first.stat().is_ok_and(|stat| stat.is_copy())
    }

    fn memory(&self) -> Memory {
        self.process.memory()
    }
}

fn library_of(process: &Process) -> Option<(Rc<Library>, u64)> {
    let mut libraries = Libraries::new();
    let mut modules = target::module::modules(process).ok()?;
    modules.find_map(|module| {
        let module = module.ok()?;
        Some((probe::library(&mut libraries, &module)?, module.load_bias))
    })
}
