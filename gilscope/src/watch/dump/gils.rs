//! Who has a GIL, and who waits for it.

use super::{Tids, WatchError, seen::Seen};
use crate::{
    interpreter::{Interpreter, Libc},
    model::{CondvarLock, DumpGil, Gil, GilLock},
    target::{Memory, Process, SystemCall},
};

/// `pthread_cond_t` and `pthread_mutex_t` (x86-64, glibc and musl).
const COND_SIZE: u64 = 48;
const MUTEX_SIZE: u64 = 40;
/// musl 1.2 (`src/thread/pthread_cond_timedwait.c`): a condition variable → its newest waiter; a waiter → the next older one, and the word that
/// it sleeps on.
const MUSL_HEAD: u64 = 8;
const MUSL_NEXT: u64 = 8;
const MUSL_WORD: u64 = 20;
/// The most waiters that are looked through.
const MAX_WAITERS: usize = 1 << 16;

/// The GILs of a process.
pub(super) struct Gils<'a> {
    memory: Memory,
    interpreter: &'a Interpreter,
    all: Vec<Gil>,
}

impl<'a> Gils<'a> {
    pub(super) fn find(
        process: &Process,
        interpreter: &'a Interpreter,
    ) -> Result<Gils<'a>, WatchError> {
        let memory = process.memory();
        Ok(Gils {
            memory,
            interpreter,
            all: interpreter.gils(memory)?,
        })
    }

    pub(super) fn told(&self, tids: &Tids) -> Vec<DumpGil> {
        let holder = |gil| {
            let state = self.interpreter.holder(self.memory, gil)?;
            tids.with(|one| one.address == state)
        };
        let all = (0..).zip(&self.all);
        let told = all.map(|(id, gil)| DumpGil {
            id,
            address: format!("{:#x}", gil.address),
            interpreters: gil.interpreters.clone(),
            enabled: gil.enabled,
            holder: Some(gil).filter(|gil| gil.enabled).and_then(holder),
        });
        told.collect()
    }

    /// The GIL that a thread waits for.
    pub(super) fn awaited(&self, seen: &Seen) -> Option<u32> {
        let call = seen.call.filter(SystemCall::is_futex)?;
        let [word, ..] = call.arguments;
        let ids = (0..).zip(&self.all);
        let mut awaited = ids.filter(|(_, gil)| self.is_of(gil, word));
        awaited.next().map(|(id, _)| id)
    }

    /// Whether a word is one that a GIL's waiters sleep on.
    fn is_of(&self, gil: &Gil, word: u64) -> bool {
        match &gil.lock {
            GilLock::Semaphore { .. } => word == gil.address,
            GilLock::Condvar(lock) => {
                let conds = [lock.cond, lock.switch_cond];
                let is_in = |begin: u64, size| word.wrapping_sub(begin) < size;
                conds.iter().any(|cond| is_in(*cond, COND_SIZE))
                    || [lock.mutex, lock.switch_mutex]
                        .iter()
                        .any(|at| is_in(*at, MUTEX_SIZE))
                    || (self.interpreter.libc == Libc::Musl && self.is_of_waiter(lock, word))
            }
        }
    }

    /// musl's waiters sleep on words on their own stacks, in a list.
    fn is_of_waiter(&self, lock: &CondvarLock, word: u64) -> bool {
        let follow = |at: u64| self.memory.read_u64(at).ok().filter(|at| *at != 0);
        [lock.cond, lock.switch_cond].iter().any(|cond| {
            let newest = follow(cond.wrapping_add(MUSL_HEAD));
            std::iter::successors(newest, |at| follow(at.wrapping_add(MUSL_NEXT)))
                .take(MAX_WAITERS)
                .any(|waiter| waiter.wrapping_add(MUSL_WORD) == word)
        })
    }
}
