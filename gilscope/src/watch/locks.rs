//! Locks other than a GIL: what the kernel tells of a wait, as the analysis counts it.

use crate::{
    model::{LockId, LockKind, LockTotals, LockWait, Purpose},
    probe::Library,
    target::{Memory, Thread as TargetThread},
};
use gilscope_common::{
    lock::{Lock, LockPlace, kind, phase},
    maps::Thread,
    records::LockRecord,
};

/// `__NR_futex` on x86-64.
const FUTEX: u64 = 202;
/// `include/uapi/linux/futex.h`: the private flag, and what remains of an operation without its flags.
const PRIVATE: u64 = 128;
const COMMAND: u64 = 127;
const WAIT: u64 = 0;
const WAIT_BITSET: u64 = 9;
/// As in the programs (`gilscope-ebpf/src/stack.rs`, `lock.rs`).
const CALL_WORDS: usize = 16;
const OWN_FRAMES: u64 = 4096;

/// What is known of a process's locks.
pub struct Locks<'a> {
    /// Its C library.
    pub library: Option<&'a Library>,
    /// What to add to an address as linked to get one in the library.
    pub load_bias: u64,
    /// Its CPython has a parking lot.
    pub has_parking_lot: bool,
}

/// Which lock it is.
pub fn id(place: &LockPlace) -> LockId {
    LockId {
        address: place.address,
        kind: match place.kind {
            kind::SEMAPHORE => LockKind::Semaphore,
            kind::CONDVAR => LockKind::Condvar,
            kind::MUTEX => LockKind::Mutex,
            kind::RWLOCK => LockKind::Rwlock,
            kind::PARKED => LockKind::PyMutex,
            _ => LockKind::Unknown,
        },
        purpose: Purpose::Unknown,
    }
}

/// A finished wait that the kernel has reported.
pub fn wait(record: &LockRecord) -> LockWait {
    LockWait {
        tid: record.header.tid,
        lock: id(&record.place),
        slept_ns: record.slept_ns,
        cut_at_start: record.cut_at_start != 0,
    }
}

/// A wait that has finished in a thread as it is known now.
pub fn finished(thread: &Thread) -> LockWait {
    LockWait {
        tid: thread.tid,
        lock: id(&thread.lock.place),
        slept_ns: thread.lock.slept_ns,
        cut_at_start: thread.lock.cut_at_start != 0,
    }
}

/// What the kernel counted of a thread up to `now_ns`.
pub fn totals(thread: &Thread, now_ns: u64) -> LockTotals {
    let lock = &thread.lock;
    let is_open = lock.phase == phase::ASLEEP;
    let open = is_open.then(|| {
        (
            id(&lock.place),
            lock.open_ns(now_ns),
            lock.cut_at_start != 0,
        )
    });
    LockTotals {
        waits: lock.totals.waits,
        sum_ns: lock.totals.sum_ns,
        open,
    }
}

impl Locks<'_> {
    /// The lock that a thread sleeps on right now, as the programs would have told it.
    pub fn asleep_on(&self, memory: Memory, thread: &TargetThread, now_ns: u64) -> Option<Lock> {
        let call = thread.system_call().ok().flatten()?;
        let [word, operation, ..] = call.arguments;
        let is_wait = matches!(operation & COMMAND, WAIT | WAIT_BITSET);
        if call.number != FUTEX || !is_wait || operation & PRIVATE == 0 {
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
        let mut place = LockPlace {
            address: word,
            kind: self.kind(called, operation & COMMAND == WAIT_BITSET),
            ..LockPlace::default()
        };
        let is_own = word.wrapping_sub(call.stack_pointer) < OWN_FRAMES;
        if self.has_parking_lot && is_own && place.kind == kind::SEMAPHORE {
            let address = memory.read_u64(word.wrapping_sub(8)).ok()?;
            if address != 0 {
                (place.address, place.kind) = (address, kind::PARKED);
            }
        }
        Some(Lock::cut_at_start(place, now_ns))
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
