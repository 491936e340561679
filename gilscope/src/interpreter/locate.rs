//! From `_PyRuntime` to every GIL, through the memory of a process that runs meanwhile.

use super::layout::{GilPlace, Layout};
use crate::model::{CondvarLock, Gil, GilLock, GilOwner};
use crate::target::{Memory, MemoryError};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most interpreters that are believed.
const MAX_INTERPRETERS: usize = 4096;
/// Switch intervals are microseconds in an unsigned long. 100 days is none; a pointer is more.
pub(super) const MAX_INTERVAL_US: u64 = 100 * 86_400 * 1_000_000;
/// An interpreter or thread that is made or destroyed while it is read can fail a check: read again.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_micros(500);

/// Why there are no GILs.
#[derive(Debug)]
pub(super) enum Problem {
    Memory(MemoryError),
    NotInitialised,
    /// This check.
    Failed(String),
}

impl From<MemoryError> for Problem {
    fn from(error: MemoryError) -> Problem {
        Problem::Memory(error)
    }
}

/// An interpreter in the live list.
struct Found {
    address: u64,
    id: i64,
    /// Its GIL; 0 while it has none.
    gil: u64,
}

/// Each distinct GIL with the interpreters that share it, the main interpreter's first.
pub(super) fn gils(memory: Memory, runtime: u64, layout: &Layout) -> Result<Vec<Gil>, Problem> {
    let reader = Reader {
        memory,
        runtime,
        layout,
    };
    let mut attempt = 1;
    loop {
        match reader.gils() {
            Err(Problem::Failed(_) | Problem::Memory(MemoryError::Unreadable { .. }))
                if attempt < ATTEMPTS =>
            {
                std::thread::sleep(PAUSE);
                attempt += 1;
            }
            // What leads nowhere after so many attempts is no pointer of a runtime.
            Err(Problem::Memory(MemoryError::Unreadable { address, .. })) => {
                let failed = format!("it points to {address:#x}, where nothing is");
                return Err(Problem::Failed(failed));
            }
            result => return result,
        }
    }
}

/// Address of the main interpreter.
pub(super) fn main(memory: Memory, runtime: u64, layout: &Layout) -> Option<u64> {
    let reader = Reader {
        memory,
        runtime,
        layout,
    };
    let all = reader.interpreters().ok()?;
    // Ids count up from 0 (Python/pystate.c).
    let main = all.iter().find(|interpreter| interpreter.id == 0)?;
    Some(main.address)
}

struct Reader<'a> {
    memory: Memory,
    runtime: u64,
    layout: &'a Layout,
}

impl Reader<'_> {
    fn gils(&self) -> Result<Vec<Gil>, Problem> {
        let interpreters = self.interpreters()?;
        let mut by_gil: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
        for interpreter in interpreters.iter().filter(|i| i.gil != 0) {
            by_gil
                .entry(interpreter.gil)
                .or_default()
                .push(interpreter.id);
        }
        let mut gils = Vec::new();
        for (address, mut ids) in by_gil {
            ids.sort_unstable();
            if self.check_gil(address, &interpreters)? {
                gils.push(self.gil(address, ids)?);
            }
        }
        gils.sort_by_key(|gil| gil.interpreters.first().copied());
        if gils.is_empty() {
            Err(Problem::NotInitialised)
        } else {
            Ok(gils)
        }
    }

    /// The list from newest to oldest.
    fn interpreters(&self) -> Result<Vec<Found>, Problem> {
        let mut found: Vec<Found> = Vec::new();
        let mut at = self.word(self.runtime, self.layout.interpreters_head)?;
        while at != 0 {
            check(found.len() < MAX_INTERPRETERS, || {
                format!("it lists more than {MAX_INTERPRETERS} interpreters")
            })?;
            let next = self.interpreter(at)?;
            // Ids are given once, so a second sight of one is a circle too.
            check(
                found.iter().all(|f| f.address != at && f.id != next.id),
                || format!("interpreter {} at {at:#x} is in its list twice", next.id),
            )?;
            found.push(next);
            at = self.word(at, self.layout.next)?;
        }
        if found.is_empty() {
            Err(Problem::NotInitialised)
        } else {
            Ok(found)
        }
    }

    fn interpreter(&self, address: u64) -> Result<Found, Problem> {
        let id = self.word(address, self.layout.id)?;
        // `next_id` counts up from 0.
        let id = i32::try_from(id).map_err(|_| {
            Problem::Failed(format!(
                "the interpreter at {address:#x} has the id {id:#x}"
            ))
        })?;
        let gil = match self.layout.gil {
            GilPlace::InRuntime(offset) => self.runtime.wrapping_add(offset),
            GilPlace::ByInterpreter { pointer, .. } => self.word(address, pointer)?,
        };
        let id = id.into();
        Ok(Found { address, id, gil })
    }

    /// Whether the GIL is made; an error if it does not look like one.
    fn check_gil(&self, gil: u64, interpreters: &[Found]) -> Result<bool, Problem> {
        let fields = &self.layout.fields;
        if let GilPlace::ByInterpreter { own, .. } = self.layout.gil {
            let owner = gil.wrapping_sub(own);
            check(interpreters.iter().any(|i| i.address == owner), || {
                format!("the GIL at {gil:#x} belongs to no interpreter")
            })?;
        }
        let interval = self.word(gil, fields.interval)?;
        check(interval < MAX_INTERVAL_US, || {
            format!("the GIL at {gil:#x} has the interval {interval} µs")
        })?;
        let holder = self.word(gil, fields.last_holder)?;
        match self.memory.read_i32(gil.wrapping_add(fields.locked))? {
            -1 => Ok(false),
            // `last_holder` may dangle.
            0 => Ok(true),
            1 => self.check_holder(gil, holder, interpreters),
            other => Err(Problem::Failed(format!(
                "the GIL at {gil:#x} has locked = {other}"
            ))),
        }
    }

    fn check_holder(&self, gil: u64, holder: u64, all: &[Found]) -> Result<bool, Problem> {
        let interpreter = self.word(holder, self.layout.tstate_interpreter)?;
        let of_this_gil = |i: &Found| i.address == interpreter && i.gil == gil;
        check(all.iter().any(of_this_gil), || {
            format!(
                "the GIL at {gil:#x} is held by {holder:#x}, which belongs to none of its interpreters"
            )
        })?;
        Ok(true)
    }

    fn gil(&self, address: u64, interpreters: Vec<i64>) -> Result<Gil, Problem> {
        let fields = &self.layout.fields;
        let enabled = match fields.enabled {
            Some(offset) => self.memory.read_i32(address.wrapping_add(offset))? != 0,
            None => true,
        };
        let at = |offset: u64| address.wrapping_add(offset);
        Ok(Gil {
            address,
            lock: GilLock::Condvar(CondvarLock {
                last_holder: at(fields.last_holder),
                locked: at(fields.locked),
                switch_number: at(fields.switch_number),
                cond: at(fields.cond),
                mutex: at(fields.mutex),
                switch_cond: at(fields.switch_cond),
                switch_mutex: at(fields.switch_mutex),
            }),
            owner: self.owner(address, &interpreters),
            interpreters,
            enabled,
        })
    }

    /// The sub-interpreter that a GIL is part of; the main interpreter (id 0) is not destroyed before the program ends. The one
    /// that owns it has the lowest id of those that share it.
    fn owner(&self, gil: u64, interpreters: &[i64]) -> Option<GilOwner> {
        let GilPlace::ByInterpreter { own, .. } = self.layout.gil else {
            return None;
        };
        let id = *interpreters.first().filter(|id| **id != 0)?;
        let id_address = gil.wrapping_sub(own).wrapping_add(self.layout.id);
        Some(GilOwner { id_address, id })
    }

    fn word(&self, base: u64, offset: u64) -> Result<u64, MemoryError> {
        self.memory.read_u64(base.wrapping_add(offset))
    }
}

fn check(holds: bool, failed: impl FnOnce() -> String) -> Result<(), Problem> {
    if holds {
        Ok(())
    } else {
        Err(Problem::Failed(failed()))
    }
}
