//! From which function a thread has made a system call.
//!
//! Kernels: 5.15+ (`bpf_task_pt_regs`); before, nothing is known.

use aya_ebpf::helpers::{
    bpf_probe_read_kernel, bpf_probe_read_user,
    generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
};

use crate::{filter, maps};

/// `struct pt_regs`, x86-64 (`arch/x86/include/asm/ptrace.h`): offset of `sp`.
const SP_OFFSET: usize = 152;
/// The frame of glibc's `__lll_lock_wait` is smaller than this (1 – 3 words, measured 2.31 – 2.43).
const FRAME_WORDS: usize = 8;

/// Whether a sleep on a mutex was called by `pthread_mutex_lock`, where that can be told: the return
/// address into it is among the first words of the stack. If not, a condition variable takes the
/// mutex back (glibc `nptl/pthread_mutex_cond_lock.c`: the same source, compiled under another
/// name).
#[inline(always)]
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
    // SAFETY: the helpers take the present task and answer where its registers are kept; a faulting
    // read is answered by an error.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
        let sp: u64 = bpf_probe_read_kernel(registers.byte_add(SP_OFFSET).cast()).ok()?;
        bpf_probe_read_user(sp as *const [u64; FRAME_WORDS]).ok()
    }
}
