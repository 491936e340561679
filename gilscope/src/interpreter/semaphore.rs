//! The one GIL of an interpreter whose GIL is a semaphore (2.7).

use super::layout::{CHECK_INTERVAL, CURRENT_THREAD, SEMAPHORE_POINTER, SEMAPHORE_USERS, TICKER};
use super::locate::Problem;
use crate::model::{FoundBy, Gil, GilLock};
use crate::target::{Memory, Module, ModuleError};

/// Where its variables are.
#[derive(Debug)]
pub(super) struct Semaphore {
    pointer: u64,
    current_thread: u64,
    check_interval: Option<(u64, u64)>,
}

impl Semaphore {
    /// From the module's symbols, else from its code; none where neither tells.
    pub(super) fn of_module(module: &Module) -> Result<Option<(Semaphore, FoundBy)>, ModuleError> {
        let Some(current_thread) = module.symbol(CURRENT_THREAD) else {
            return Ok(None);
        };
        let named = module.static_addresses([SEMAPHORE_POINTER])?;
        let found = match named {
            Some([pointer]) => Some((pointer, FoundBy::StaticSymbols)),
            None => in_code(module).map(|pointer| (pointer, FoundBy::MachineCode)),
        };
        let current_thread = current_thread.address;
        let address = |name| module.symbol(name).map(|symbol| symbol.address);
        let check_interval = address(TICKER).zip(address(CHECK_INTERVAL));
        Ok(found.map(|(pointer, found_by)| {
            let semaphore = Semaphore {
                pointer,
                current_thread,
                check_interval,
            };
            (semaphore, found_by)
        }))
    }

    /// Where the pointer to the semaphore is.
    pub(super) fn address(&self) -> u64 {
        self.pointer
    }

    /// Where it is counted when its holder is to let others have it: [`TICKER`] and [`CHECK_INTERVAL`].
    pub(super) fn check_interval(&self) -> Option<(u64, u64)> {
        self.check_interval
    }

    /// The GIL. There is none before `PyEval_InitThreads` has made it, when the second thread is to start, and a forked
    /// child makes another (`Python/ceval.c`, 2.7: `PyEval_ReInitThreads`).
    pub(super) fn gil(&self, memory: Memory) -> Result<Option<Gil>, Problem> {
        let address = memory.read_u64(self.pointer)?;
        if address == 0 {
            return Ok(None);
        }
        // A `sem_t` is aligned as a long, and the GIL's is free or taken.
        let value = memory.read_i32(address)?;
        if !address.is_multiple_of(8) || !matches!(value, 0 | 1) {
            return Err(Problem::Failed(format!(
                "the lock at {address:#x} is no semaphore: it has the value {value}"
            )));
        }
        Ok(Some(Gil {
            address,
            lock: GilLock::Semaphore {
                current_thread: self.current_thread,
            },
            interpreters: vec![0],
            owner: None,
            enabled: true,
        }))
    }
}

/// The pointer that all its users load, if they agree.
fn in_code(module: &Module) -> Option<u64> {
    let mut loaded = SEMAPHORE_USERS.map(|function| module.first_loaded(function));
    let first = loaded.first_mut()?.take()?;
    loaded[1..]
        .iter()
        .all(|other| *other == Some(first))
        .then_some(first)
}
