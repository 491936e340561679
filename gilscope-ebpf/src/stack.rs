//! A thread's native stack: from which function it has made a system call, and what is on it.
//!
//! Kernels: 5.15+ (`bpf_task_pt_regs`) for the former; before, nothing is known. 5.5+ (`bpf_probe_read_user`) for the latter.

use aya_ebpf::helpers::{
    bpf_probe_read_kernel, bpf_probe_read_user,
    generated::{self, bpf_get_current_task_btf, bpf_task_pt_regs},
};

use gilscope_common::{
    lock::kind,
    maps::{CallerKey, Target},
    parts,
    records::{NATIVE_STACK, NativeRecord},
};

use crate::{
    filter,
    maps::{self, CALLERS},
};

/// `struct pt_regs`, x86-64 (`arch/x86/include/asm/ptrace.h`): offset of `sp`.
pub const SP_OFFSET: usize = 152;
/// Of `bp`.
pub const BP_OFFSET: usize = 32;
/// Of `cs`.
pub const CS_OFFSET: usize = 136;
/// Of `orig_ax`: the number of the system call.
const NUMBER_OFFSET: usize = 120;
/// Of `ip`.
pub const IP_OFFSET: usize = 128;
/// The frame of glibc's `__lll_lock_wait` is smaller than this (1 – 3 words, measured 2.31 – 2.43).
const FRAME_WORDS: usize = 8;

/// Whether a sleep on a mutex was called by `pthread_mutex_lock`, where that can be told: the return
/// address into it is among the first words of the stack. If not, a condition variable takes the
/// mutex back (glibc `nptl/pthread_mutex_cond_lock.c`: the same source, compiled under another
/// name). A function of its own: the programs' stack is small.
#[inline(never)]
pub fn inside_mutex_lock(tgid: u32) -> Option<bool> {
    if !maps::has_task_registers() {
        return None;
    }
    let target = filter::target(tgid)?;
    if target.mutex_lock == 0 {
        return None;
    }
    let words = top_of_stack()?;
    let inside = |word: u64| word.wrapping_sub(target.mutex_lock) < target.mutex_lock_size;
    Some(words.into_iter().any(inside))
}

#[inline(always)]
fn top_of_stack() -> Option<[u64; FRAME_WORDS]> {
    let sp = register(SP_OFFSET)?;
    // SAFETY: a faulting read is answered by an error.
    unsafe { bpf_probe_read_user(sp as *const [u64; FRAME_WORDS]) }.ok()
}

/// A register of the present thread's, as it was when it made the call.
#[inline(always)]
fn register(offset: usize) -> Option<u64> {
    // SAFETY: the helpers take the present task and answer where its registers are kept; a faulting
    // read is answered by an error.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
        bpf_probe_read_kernel(registers.byte_add(offset).cast()).ok()
    }
}

/// The number of the present thread's system call, as [`parts::call`] says.
#[inline(always)]
pub fn call_number() -> u16 {
    if !maps::has_task_registers() {
        return parts::call::UNKNOWN;
    }
    register(NUMBER_OFFSET).map_or(parts::call::UNKNOWN, parts::call::of)
}

/// The address in its program to which the present thread comes back from the kernel; 0: not known.
#[inline(always)]
pub fn returns_to() -> u64 {
    if !maps::has_task_registers() {
        return 0;
    }
    register(IP_OFFSET).unwrap_or(0)
}

/// The return address into the function that waits is among the first 24 words of the stack: the 1st of a mutex, the 8th – 11th of
/// the rest (measured, glibc 2.36 – 2.43), the 21st (musl 1.2.3). So many are read at a time, for the programs' stack is small.
const PART_WORDS: usize = 8;
const PARTS: u64 = 3;

/// A system call of the present thread's.
pub struct Call {
    ip: u64,
    /// Its stack pointer.
    pub sp: u64,
}

/// The present one, where it can be told.
#[inline(always)]
pub fn call() -> Option<Call> {
    if !maps::has_task_registers() {
        return None;
    }
    Some(Call {
        ip: register(IP_OFFSET)?,
        sp: register(SP_OFFSET)?,
    })
}

impl Call {
    /// What is waited for, one of [`kind`]: told by the innermost function that is known. `bitset`: the
    /// call is a `FUTEX_WAIT_BITSET`, or on a word on the stack, where musl's condition variables wait.
    #[inline(always)]
    pub fn kind(&self, target: &Target, bitset: bool) -> u32 {
        if let Some(kind) = known(target, self.ip) {
            return kind;
        }
        for part in 0..PARTS {
            let at = self
                .sp
                .wrapping_add(part * size_of::<[u64; PART_WORDS]>() as u64);
            // SAFETY: a faulting read is answered by an error.
            let Ok(words) = (unsafe { bpf_probe_read_user(at as *const [u64; PART_WORDS]) }) else {
                return kind::UNKNOWN;
            };
            for word in words {
                match known(target, word) {
                    // A condition variable's own sleeps are timed, or made by its function itself; this is its mutex, or the
                    // one inside it (glibc `nptl/lowlevellock.c`).
                    Some(kind::CONDVAR) if !bitset => return kind::MUTEX,
                    Some(kind) => return kind,
                    None => {}
                }
            }
        }
        kind::UNKNOWN
    }
}

/// What the function waits for into which this address returns.
#[inline(always)]
fn known(target: &Target, address: u64) -> Option<u32> {
    let distance = address.wrapping_sub(target.library);
    if distance >= target.library_size {
        return None;
    }
    let key = CallerKey {
        distance,
        library: target.library_id,
        padding: 0,
    };
    // SAFETY: copied out at once.
    unsafe { CALLERS.get(key) }.copied()
}

/// What tells where a thread is in its program, and who called it there.
pub struct Registers {
    /// The next instruction.
    pub ip: u64,
    /// The stack pointer.
    pub sp: u64,
    /// `rbp`.
    pub bp: u64,
}

/// Those of the present thread, which is in the kernel, where they can be told.
#[inline(always)]
pub fn registers() -> Option<Registers> {
    if !maps::has_task_registers() {
        return None;
    }
    Some(Registers {
        ip: register(IP_OFFSET)?,
        sp: register(SP_OFFSET)?,
        bp: register(BP_OFFSET)?,
    })
}

/// So much is copied at a time: where the rest is not mapped, that has been copied.
const COPIED: usize = 1024;

/// Copies the stack from `record.sp` on, as far as it can be read.
///
/// # Safety
/// `record` must be valid for writes, and its `sp` written.
#[inline(always)]
pub unsafe fn copy_to(record: *mut NativeRecord) {
    // SAFETY: the caller's promise; each part lies within the record. A faulting read is answered by an error.
    unsafe {
        let sp = (*record).sp;
        (*record).length = 0;
        for part in 0..NATIVE_STACK / COPIED {
            let to = (&raw mut (*record).stack).byte_add(part * COPIED);
            let from = sp.wrapping_add((part * COPIED) as u64) as *const _;
            if generated::bpf_probe_read_user(to.cast(), COPIED as u32, from) != 0 {
                break;
            }
            (*record).length += COPIED as u32;
        }
    }
}
