//! The one GIL of an interpreter that keeps it in variables of its own (3.2 – 3.6).

use super::layout::GIL_VARIABLES;
use super::locate::{MAX_INTERVAL_US, Problem};
use super::statics_code;
use crate::model::{CondvarLock, FoundBy, Gil, GilLock};
use crate::target::{Memory, MemoryError, Module, ModuleError};

/// Where its variables are.
#[derive(Debug)]
pub(super) struct Statics {
    interval: u64,
    lock: CondvarLock,
}

impl Statics {
    /// From the module's symbols, else from its code; none where neither tells.
    pub(super) fn of_module(module: &Module) -> Result<Option<(Statics, FoundBy)>, ModuleError> {
        let named = module.static_addresses(GIL_VARIABLES)?;
        let found = match named {
            Some(addresses) => Some((addresses, FoundBy::StaticSymbols)),
            None => statics_code::addresses(module).map(|found| (found, FoundBy::MachineCode)),
        };
        Ok(found.map(|(addresses, found_by)| (Statics::at(addresses), found_by)))
    }

    /// At these addresses, in the order of [`GIL_VARIABLES`].
    fn at(addresses: [u64; 8]) -> Statics {
        let [
            interval,
            last_holder,
            locked,
            switch_number,
            cond,
            mutex,
            switch_cond,
            switch_mutex,
        ] = addresses;
        let lock = CondvarLock {
            last_holder,
            locked,
            switch_number,
            cond,
            mutex,
            switch_cond,
            switch_mutex,
        };
        Statics { interval, lock }
    }

    /// Where the GIL is said to be: its `gil_locked`.
    pub(super) fn address(&self) -> u64 {
        self.lock.locked
    }

    /// The last of the variables, by address.
    pub(super) fn last_address(&self) -> u64 {
        let lock = &self.lock;
        let variables = [
            self.interval,
            lock.locked,
            lock.last_holder,
            lock.switch_number,
            lock.cond,
        ];
        variables.into_iter().fold(0, u64::max)
    }

    /// Whether it is made.
    pub(super) fn is_made(&self, memory: Memory) -> Result<bool, MemoryError> {
        Ok(memory.read_i32(self.lock.locked)? >= 0)
    }

    /// The GIL. It is there before it is made: `PyEval_InitThreads` makes it when the second thread is to start
    /// (`Python/ceval.c`, to 3.6), and till then `gil_locked` is -1.
    pub(super) fn gil(&self, memory: Memory) -> Result<Gil, Problem> {
        let interval = memory.read_u64(self.interval)?;
        if interval >= MAX_INTERVAL_US {
            return Err(Problem::Failed(format!("the interval is {interval} µs")));
        }
        match memory.read_i32(self.lock.locked)? {
            -1..=1 => Ok(Gil {
                address: self.address(),
                lock: GilLock::Condvar(self.lock.clone()),
                interpreters: vec![0],
                owner: None,
                enabled: true,
            }),
            other => Err(Problem::Failed(format!("gil_locked is {other}"))),
        }
    }
}
