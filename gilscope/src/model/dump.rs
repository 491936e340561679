//! What a process is doing at one moment, version 1. Its JSON Schema is `docs/dump.schema.json`.
//!
//! Fields are only added within a version. An `Option` is `null` where something is not known, or is not there.

use super::{LockKind, Stack};
use serde::Serialize;

/// The value of [`Dump::schema`].
pub const DUMP_SCHEMA: &str = "gilscope.dump";
/// The value of [`Dump::schema_version`].
pub const DUMP_SCHEMA_VERSION: u32 = 1;

/// One look at a process, which was not stopped for it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Dump {
    /// Always [`DUMP_SCHEMA`].
    pub schema: &'static str,
    /// Always [`DUMP_SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The gilscope that wrote this.
    pub gilscope_version: &'static str,
    /// RFC 3339, UTC, milliseconds.
    pub taken_at: String,
    /// From the first thread that was looked at to the last: what is said of two threads may be so far apart.
    pub took_ns: u64,
    /// Process id as gilscope's own `/proc` shows it.
    pub pid: u32,
    /// Process id inside the innermost PID namespace.
    pub ns_pid: u32,
    /// Path of the executable as the target sees it.
    pub exe: String,
    /// Arguments.
    pub cmdline: Vec<String>,
    /// CPython's version.
    pub python: String,
    /// Built with `--disable-gil`.
    pub free_threaded: bool,
    /// Whether the functions of this CPython's threads can be told.
    pub has_stacks: bool,
    /// Its GILs.
    pub gils: Vec<DumpGil>,
    /// All its threads, by their ids.
    pub threads: Vec<DumpThread>,
    /// The locks that threads wait for, other than a GIL.
    pub locks: Vec<DumpLock>,
    /// Threads none of which can go on.
    pub deadlocks: Vec<Deadlock>,
}

/// A GIL, and who has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DumpGil {
    /// Index in [`Dump::gils`].
    pub id: u32,
    /// `0x…`, in the target's memory.
    pub address: String,
    /// Ids of the interpreters that share it.
    pub interpreters: Vec<i64>,
    /// Whether it is in use.
    pub enabled: bool,
    /// The thread that has it; `None` where none has, or the one that has is not known.
    pub holder: Option<u32>,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DumpThread {
    /// Thread id as gilscope's own `/proc` shows it.
    pub tid: u32,
    /// Thread id inside the innermost PID namespace, where that could be read.
    pub ns_tid: Option<u32>,
    /// Python's own name, where it could be read.
    pub name: Option<String>,
    /// The operating system's name (15 bytes at most).
    pub os_name: String,
    /// The kernel's own letter for its state.
    pub state: char,
    /// What it is doing.
    pub doing: Doing,
    /// For how long it has slept in that, up to a fraction of a millisecond; what a hypervisor took of the processor is not in it. `None` where it does not
    /// sleep, or that is not known: who waits for a GIL wakes up again and again to ask for it.
    pub asleep_ns: Option<u64>,
    /// The functions that it is in; one stack for each interpreter that it has been in, the newest first. None where it runs no Python.
    pub stacks: Vec<Stack>,
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Doing {
    /// It runs, or could.
    Running,
    /// It waits for a GIL.
    WaitsForGil {
        /// [`DumpGil::id`].
        gil_id: u32,
    },
    /// It waits for another lock.
    WaitsForLock {
        /// [`DumpLock::id`].
        lock_id: u32,
        /// For a limited time.
        timed: bool,
    },
    /// It is in another system call.
    SystemCall {
        /// Its number.
        number: u64,
        /// Its name, where it is one that programs sleep in.
        name: Option<&'static str>,
    },
    /// It is stopped by a signal or a debugger.
    Stopped,
    /// The kernel does not tell.
    Unknown,
}

impl Doing {
    /// [`DumpLock::id`] of the lock that it waits for, for whatever time.
    pub fn lock(self) -> Option<u32> {
        match self {
            Doing::WaitsForLock { lock_id, .. } => Some(lock_id),
            _ => None,
        }
    }

    /// Whether it waits for this lock, [`DumpLock::id`], until it has it.
    pub fn waits_for(self, id: u32) -> bool {
        matches!(self, Doing::WaitsForLock { lock_id, timed: false } if lock_id == id)
    }
}

/// A lock that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DumpLock {
    /// Index in [`Dump::locks`].
    pub id: u32,
    /// `0x…`, in the target's memory.
    pub address: String,
    /// What it is.
    pub kind: LockKind,
    /// It is a `threading.RLock`'s.
    pub rlock: bool,
    /// Who has it. `None` where none has, or the lock does not record who has: a `threading.Lock` does not.
    pub owner: Option<Owner>,
    /// Of a plain lock, the threads that are inside a `with` on it: one of them has it, as far as can be inferred.
    pub inferred_owners: Vec<u32>,
}

/// Who has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The thread with this id.
    Thread(u32),
    /// No thread of this process, which is a copy of its parent by `fork`: it stayed behind there, and nobody will give the lock back.
    LeftBehindByFork,
    /// No thread of this process: it has ended.
    Ended,
}

/// Threads each of which waits, for an unlimited time, for what the next one has, and the last for what the first has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deadlock {
    /// [`DumpThread::tid`] of each.
    pub threads: Vec<u32>,
    /// Who has a lock of them is not recorded, but inferred ([`DumpLock::inferred_owners`]).
    pub inferred: bool,
}

/// What a thread may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// [`DumpGil::id`].
    Gil(u32),
    /// [`DumpLock::id`].
    Lock(u32),
}

impl Dump {
    /// What a thread waits for until it has it.
    pub fn wants(&self, thread: &DumpThread) -> Option<Resource> {
        match thread.doing {
            Doing::WaitsForGil { gil_id } => Some(Resource::Gil(gil_id)),
            Doing::WaitsForLock { lock_id, timed } => (!timed).then_some(Resource::Lock(lock_id)),
            _ => None,
        }
    }

    /// The thread that has it, where that is known, or can be inferred.
    pub fn holder(&self, resource: Resource) -> Option<u32> {
        match resource {
            Resource::Gil(id) => self.gils.get(id as usize)?.holder,
            Resource::Lock(id) => {
                let lock = self.locks.get(id as usize)?;
                match (lock.owner, &lock.inferred_owners[..]) {
                    (Some(Owner::Thread(tid)), _) => Some(tid),
                    (None, [tid]) => Some(*tid),
                    _ => None,
                }
            }
        }
    }

    /// Whether who has it is inferred.
    pub fn is_inferred(&self, resource: Resource) -> bool {
        let lock = match resource {
            Resource::Gil(_) => None,
            Resource::Lock(id) => self.locks.get(id as usize),
        };
        lock.is_some_and(|lock| !lock.inferred_owners.is_empty())
    }
}
