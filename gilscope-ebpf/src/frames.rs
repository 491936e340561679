//! Which Python function the present thread runs.
//!
//! Kernels: 5.10+. Cost: some seven reads, as a thread goes to sleep on a lock.

use aya_ebpf::{
    bindings::task_struct,
    helpers::{bpf_probe_read_user, generated::bpf_get_current_task},
};
use gilscope_common::maps::{FrameOffsets, Target, Thread};

use crate::{filter, maps};

/// The low bits of a reference to an object may be marks (CPython 3.14+: `Include/internal/pycore_stackref.h`).
const MARKS: u64 = 3;

/// Addresses of the code objects of the function and of the one that called it; 0 where they cannot be told.
#[inline(always)]
pub fn running(thread: &Thread, target: &Target) -> (u64, u64) {
    functions(thread, target).unwrap_or((0, 0))
}

#[inline(always)]
fn functions(thread: &Thread, target: &Target) -> Option<(u64, u64)> {
    let offsets = &target.frames;
    if offsets.thread_id == 0 {
        return None;
    }
    let mut frame = read(state(thread, offsets)?, offsets.frame)?;
    if offsets.has_cframe != 0 {
        frame = read(frame, offsets.cframe_frame)?;
    }
    let code = read(frame, offsets.code)? & !MARKS;
    let caller = read(frame, offsets.previous).and_then(|caller| match caller {
        0 => None,
        caller => read(caller, offsets.code),
    });
    Some((code, caller.unwrap_or(0) & !MARKS))
}

/// Whether the thread was the last to have its GIL.
#[inline(always)]
pub fn is_last_holder(thread: &Thread, target: &Target) -> bool {
    own_as_last_holder(thread, &target.frames).is_some()
}

/// The thread's state, if the thread was the last to have its GIL.
#[inline(always)]
pub fn own_state(thread: &Thread) -> Option<u64> {
    own_as_last_holder(thread, &filter::target(thread.tgid)?.frames)
}

#[inline(always)]
fn own_as_last_holder(thread: &Thread, offsets: &FrameOffsets) -> Option<u64> {
    let holder = read(last_holder(thread, offsets), 0)?;
    is_own(holder, offsets.thread_id).then_some(holder)
}

/// Whether a thread state is the present thread's: its `thread_id`, which is at this offset (0: not known), is the thread's `pthread_self()`, that
/// is the base of its FS segment (glibc `sysdeps/x86_64/nptl/tls.h`, musl `arch/x86_64/pthread_arch.h`).
#[inline(always)]
pub fn is_own(state: u64, thread_id: u32) -> bool {
    state != 0
        && thread_id != 0
        && read(state, thread_id)
            .zip(fs_base())
            .is_some_and(|(thread_id, own)| thread_id == own)
}

/// Whether this is the address of the present thread's own `state` in its thread state.
#[inline(always)]
pub fn is_own_state(target: &Target, address: u64) -> bool {
    let offsets = &target.frames;
    let state = address.wrapping_sub(offsets.state.into());
    offsets.state != 0 && is_own(state, offsets.thread_id)
}

/// The thread that asked for the stop-the-world pause that the present one is in, by its id in its PID namespace; 0: not known. CPython
/// names it from before it stops the others until it lets them go (`Python/pystate.c`: `stop_the_world`, `start_the_world`).
#[inline(always)]
pub fn requester(target: &Target, state_address: u64) -> u64 {
    let offsets = &target.frames;
    let state = state_address.wrapping_sub(offsets.state.into());
    let asker = |pointer: Option<u64>| pointer.filter(|state| *state != 0);
    let interpreter = read(state, offsets.interpreter);
    asker(interpreter.and_then(|interpreter| read(interpreter, offsets.requester)))
        .or_else(|| asker(read(offsets.runtime_requester, 0)))
        .and_then(|asker| read(asker, offsets.native_id))
        .unwrap_or(0)
}

#[inline(always)]
fn fs_base() -> Option<u64> {
    // SAFETY: the helper takes nothing.
    let task = unsafe { bpf_get_current_task() } as *const task_struct;
    match maps::task_fs_base_offset() {
        0 => None,
        offset => filter::read_task::<u64>(task, offset),
    }
}

/// The thread's state: the one that it is known by, or that of the GIL's last holder, which it is unless another has taken
/// the GIL since the thread let go of it to sleep.
#[inline(always)]
fn state(thread: &Thread, offsets: &FrameOffsets) -> Option<u64> {
    Some(thread.wait.tstate)
        .filter(|state| is_own(*state, offsets.thread_id))
        .or_else(|| own_as_last_holder(thread, offsets))
}

#[inline(always)]
fn last_holder(thread: &Thread, offsets: &FrameOffsets) -> u64 {
    match thread.wait.fields.last_holder {
        0 => offsets.last_holder,
        address => address,
    }
}

#[inline(always)]
fn read(base: u64, offset: u32) -> Option<u64> {
    // SAFETY: a faulting read is answered by an error.
    unsafe { bpf_probe_read_user(base.wrapping_add(offset.into()) as *const u64) }.ok()
}
