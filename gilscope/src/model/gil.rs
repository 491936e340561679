//! A GIL in a target's memory: where its fields are and how it was found.

use serde::Serialize;

/// How a GIL's address was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoundBy {
    /// `_PyRuntime` from the dynamic symbol table, with a built-in table of offsets (3.7 – 3.12).
    RuntimeSymbol,
    /// The GIL's own variables, from the symbol table of a file that is not stripped (2.7, 3.2 – 3.6).
    StaticSymbols,
    /// The GIL's own variables, from the instructions of exported functions that use them, in a stripped file (2.7, 3.2 – 3.6).
    MachineCode,
    /// `_PyRuntime` from the dynamic symbol table and the `_Py_DebugOffsets` at its start (3.13+).
    DebugOffsets,
}

/// What the waits are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitSource {
    /// The futex system calls' tracepoints, on the GIL's own words.
    Futex,
    /// Uprobes on the C library's waiting and signalling functions.
    Uprobe,
}

/// One GIL of a process, as addresses in the target's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gil {
    /// Address of `struct _gil_runtime_state`; of `gil_locked` in 3.2 – 3.6; of the semaphore in 2.7.
    pub address: u64,
    /// What it is made of.
    pub lock: GilLock,
    /// Ids of the interpreters that share this GIL (0 is the main one).
    pub interpreters: Vec<i64>,
    /// The sub-interpreter that owns it and with which it goes; `None` where it lasts as long as the program.
    pub owner: Option<GilOwner>,
    /// False in a free-threaded build whose GIL is switched off.
    pub enabled: bool,
}

/// What a GIL is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GilLock {
    /// A boolean that a mutex guards and a condition variable announces (3.2+).
    Condvar(CondvarLock),
    /// A POSIX semaphore (2.7): the lock that [`Gil::address`] is the address of.
    Semaphore {
        /// Address of `_PyThreadState_Current` (pointer to the thread state of the holder; null while nobody has it).
        current_thread: u64,
    },
}

/// The parts of a GIL of 3.2 and later, as addresses in the target's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CondvarLock {
    /// Address of `last_holder` (pointer to the thread state that holds, or held last).
    pub last_holder: u64,
    /// Address of `locked` (int; −1 before the GIL is made).
    pub locked: u64,
    /// Address of `switch_number` (unsigned long; grows when the holder changes).
    pub switch_number: u64,
    /// Address of the condition variable that waiters sleep on.
    pub cond: u64,
    /// Address of the mutex around the fields.
    pub mutex: u64,
    /// Address of the condition variable of the forced switch.
    pub switch_cond: u64,
    /// Address of its mutex.
    pub switch_mutex: u64,
}

/// A sub-interpreter that owns a GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GilOwner {
    /// Where its id is, an int64_t.
    pub id_address: u64,
    /// Its id. None is given twice, so another value there means that the interpreter and its GIL are gone.
    pub id: i64,
}
