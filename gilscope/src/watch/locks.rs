//! Locks other than a GIL: what the kernel tells of a wait, as the analysis counts it.

use crate::{
    interpreter::{Interpreter, purpose},
    model::{LockId, LockKind, Purpose},
    probe::Library,
    target::{Memory, SystemCall, Thread as TargetThread},
};
use gilscope_common::{
    lock::{Lock, LockPlace, kind, phase},
    maps::Thread,
    records::{Header, LockRecord},
};
use std::collections::HashMap;

/// `include/uapi/linux/futex.h`: the private flag, and what remains of an operation without its flags.
const PRIVATE: u64 = 128;
const COMMAND: u64 = 127;
const WAIT: u64 = 0;
const WAIT_BITSET: u64 = 9;
/// As in the programs (`gilscope-ebpf/src/stack.rs`, `lock.rs`).
const CALL_WORDS: usize = 24;
const OWN_FRAMES: u64 = 4096;

/// Functions that are remembered; beyond, they are looked up again.
const MAX_KNOWN: usize = 4096;

/// What is known of a process's locks.
pub struct Locks<'a> {
    /// Its C library.
    pub library: Option<&'a Library>,
    /// What to add to an address as linked to get one in the library.
    pub load_bias: u64,
    /// Its CPython has a parking lot.
    pub has_parking_lot: bool,
}

/// What is known of a process's Python functions: what one is called takes some ten reads of its memory.
#[derive(Debug, Default)]
pub struct Purposes {
    /// By the addresses of a function's code object and its caller's.
    known: HashMap<(u64, u64), Purpose>,
}

impl Purposes {
    /// Which lock it is, in a process with this CPython.
    pub fn lock(
        &mut self,
        place: &LockPlace,
        memory: Memory,
        python: Option<&Interpreter>,
    ) -> LockId {
        let kind = kind_of(place.kind);
        LockId {
            address: address_of(place),
            kind,
            purpose: match kind {
                LockKind::Mutex | LockKind::Rwlock | LockKind::StopTheWorld => Purpose::Contention,
                LockKind::Semaphore | LockKind::PyMutex => self.of(place, memory, python),
                _ => Purpose::Unknown,
            },
        }
    }

    fn of(&mut self, place: &LockPlace, memory: Memory, python: Option<&Interpreter>) -> Purpose {
        let key = (place.code, place.caller);
        if let Some(purpose) = self.known.get(&key) {
            return *purpose;
        }
        let function = |code| python?.function(memory, code);
        if place.code == 0 {
            return Purpose::Unknown;
        }
        let purpose = function(place.code).map_or(Purpose::Unknown, |top| {
            purpose(&top, function(place.caller).as_ref())
        });
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        // What could not be read may be readable the next time.
        if purpose != Purpose::Unknown {
            self.known.insert(key, purpose);
        }
        purpose
    }
}

/// Where the lock is: of a condition variable, waiters sleep on two words in turn (glibc 2.25+).
pub fn address_of(place: &LockPlace) -> u64 {
    match place.kind {
        kind::CONDVAR => place.address & !7,
        _ => place.address,
    }
}

/// What it is.
pub fn kind_of(kind: u32) -> LockKind {
    match kind {
        kind::SEMAPHORE => LockKind::Semaphore,
        kind::CONDVAR => LockKind::Condvar,
        kind::MUTEX => LockKind::Mutex,
        kind::RWLOCK => LockKind::Rwlock,
        kind::PARKED => LockKind::PyMutex,
        kind::STOPPED => LockKind::StopTheWorld,
        _ => LockKind::Unknown,
    }
}

/// Whether the futex of this call is its process's own: others may have the lock else.
pub fn is_private(call: &SystemCall) -> bool {
    call.arguments[1] & PRIVATE != 0
}

/// A wait that has finished in a thread as it is known now, as the kernel would have reported it.
pub fn finished(thread: &Thread) -> LockRecord {
    LockRecord {
        header: Header {
            tgid: thread.tgid,
            tid: thread.tid,
            at_ns: thread.lock.start_ns,
            ..Header::default()
        },
        place: thread.lock.place,
        slept_ns: thread.lock.slept_ns,
        cut_at_start: thread.lock.cut_at_start,
        padding: 0,
    }
}

/// How long the wait is under way at `now_ns` that a thread is in, if it is in one, and whether it was when tracing began.
pub fn open(lock: &Lock, now_ns: u64) -> Option<(u64, bool)> {
    let is_open = lock.phase == phase::ASLEEP;
    is_open.then(|| (lock.open_ns(now_ns), lock.cut_at_start != 0))
}

impl Locks<'_> {
    /// The lock that a thread sleeps on right now in these Python functions, as the programs would have told it.
    pub fn asleep_on(
        &self,
        memory: Memory,
        thread: &TargetThread,
        (code, caller): (u64, u64),
        now_ns: u64,
    ) -> Option<Lock> {
        let call = thread.system_call().ok().flatten()?;
        let place = self.place(memory, &call).filter(|_| is_private(&call))?;
        let place = LockPlace {
            code,
            caller,
            ..place
        };
        Some(Lock::cut_at_start(place, now_ns))
    }

    /// The lock that a thread waits for in this system call.
    pub fn place(&self, memory: Memory, call: &SystemCall) -> Option<LockPlace> {
        let [word, operation, ..] = call.arguments;
        if !call.is_futex() || !matches!(operation & COMMAND, WAIT | WAIT_BITSET) {
            return None;
        }
        let bytes = memory.read_array::<{ CALL_WORDS * 8 }>(call.stack_pointer);
        let bytes = bytes.unwrap_or([0; CALL_WORDS * 8]);
        let words = bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word));
        let called = std::iter::once(call.instruction).chain(words);
        let is_own = word.wrapping_sub(call.stack_pointer) < OWN_FRAMES;
        let bitset = operation & COMMAND == WAIT_BITSET;
        let mut place = LockPlace {
            address: word,
            kind: self.kind(called, bitset || is_own),
            ..LockPlace::default()
        };
        if self.has_parking_lot && is_own && place.kind == kind::SEMAPHORE {
            let address = memory.read_u64(word.wrapping_sub(8)).ok()?;
            if address != 0 {
                (place.address, place.kind) = (address, kind::PARKED);
            }
        }
        Some(place)
    }

    /// The same as the programs' own (`gilscope-ebpf/src/stack.rs`).
    fn kind(&self, called: impl Iterator<Item = u64>, bitset: bool) -> u32 {
        let Some(library) = self.library else {
            return kind::UNKNOWN;
        };
        let known = |address: u64| {
            let distance = address.wrapping_sub(self.load_bias.wrapping_add(library.lowest));
            library.callers.get(&distance).copied()
        };
        let mut found = called
            .enumerate()
            .filter_map(|(at, address)| Some((at, known(address)?)));
        match found.next() {
            Some((1.., kind::CONDVAR)) if !bitset => kind::MUTEX,
            Some((_, kind)) => kind,
            None => kind::UNKNOWN,
        }
    }
}
