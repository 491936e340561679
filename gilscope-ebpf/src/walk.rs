//! Reads the Python stacks of a thread that waits for a GIL and of the one that has it: both are threads of one process, so either's can be read
//! in the other's place.
//!
//! Kernels: 5.15+; older verifiers take too long over the walk. Cost: three reads for each frame; how many are read is bounded by
//! [`gilscope_common::holder::StackBudget`].

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::generated::bpf_probe_read_user};
use core::{
    ffi::c_void,
    intrinsics::{AtomicOrdering, atomic_xadd},
};
use gilscope_common::{
    frames::{self, MAX_STEPS, Memory, SPAN, Span, Stack},
    holder::{NOBODY, Piece, REMEMBERED, StackBudget, StackRead, Turns},
    maps::{FrameOffsets, StackKey, StackTime, Thread},
    records::{Header, kind},
};

use crate::{
    emit, filter,
    frames::is_own,
    maps::{self, RECORDS, STACK_TIMES, STACKS},
};

/// A holder that keeps the GIL is looked at again after so long.
const AGAIN_NS: u64 = 1_000_000;

/// Frames that are looked at before it is asked whether there are more: the verifier follows each way out of a loop.
const ROUND_STEPS: usize = 8;

/// Memory of the present process.
struct Own;

impl Memory for Own {
    #[inline(always)]
    fn word(&self, address: u64) -> u64 {
        let mut word = 0_u64;
        // SAFETY: 8 bytes are written, zeros where the read faults (`kernel/trace/bpf_trace.c`: `bpf_probe_read_user_common`).
        unsafe {
            bpf_probe_read_user((&raw mut word).cast(), 8, address as *const c_void);
        }
        word
    }

    #[inline(always)]
    fn span(&self, address: u64, length: u32, into: &mut Span) {
        let length = length.min(SPAN as u32);
        // SAFETY: no more bytes are written than there are, zeros where the read faults.
        unsafe {
            bpf_probe_read_user(into.as_mut_ptr().cast(), length, address as *const c_void);
        }
    }
}

/// A thread that has waited for so long looks where it is and where the last holder of the GIL is, if that may be spent.
#[inline(always)]
pub fn both(
    thread: &mut Thread,
    turns: &mut Turns,
    last_holder: u64,
    waited_ns: u64,
) -> Option<()> {
    if !maps::reads_stacks() {
        return None;
    }
    let now_ns = thread.division.look.now_ns;
    let own = thread.wait.tstate;
    let number = thread.division.look.number;
    // Where it is not known who has it, nobody else can be looked at.
    let wants_holder = last_holder != 0
        && turns
            .get(number)
            .is_some_and(|turn| turn.stack.number == 0 || turn.stack.at_ns + AGAIN_NS <= now_ns);
    if !wants_holder && (own == 0 || thread.division.stack.number != 0) {
        return None;
    }
    if !turns.stacks.allows(now_ns, waited_ns, number) {
        emit::stack_refused();
        return None;
    }
    let offsets = &filter::target(thread.tgid)?.frames;
    let header = header(thread, now_ns);
    if wants_holder {
        let turn = turns.last.get_mut(number as usize % REMEMBERED)?;
        read(
            &header,
            offsets,
            last_holder,
            &mut turn.stack,
            &mut turns.stacks,
        );
    }
    let stack = &mut thread.division.stack;
    if stack.number == 0 && is_own(own, offsets.thread_id) {
        read(&header, offsets, own, stack, &mut turns.stacks);
    }
    Some(())
}

/// A thread that has dropped the GIL looks where it is, if nobody has while it had it. Answers whether it has.
#[inline(always)]
pub fn own(thread: &Thread, turns: &mut Turns, now_ns: u64) -> Option<()> {
    if !maps::reads_stacks() {
        return None;
    }
    let turn = turns.last.get_mut(thread.dropped as usize % REMEMBERED)?;
    if turn.number != thread.dropped || turn.stack.at_ns + AGAIN_NS > now_ns {
        return None;
    }
    let had_ns = match turn.held_ns {
        // Since when is not known: not for long, or somebody would have looked.
        0 => 0,
        held_ns => now_ns.saturating_sub(held_ns),
    };
    if !turns.stacks.allows(now_ns, had_ns, thread.dropped) {
        emit::stack_refused();
        return None;
    }
    let offsets = &filter::target(thread.tgid)?.frames;
    if !is_own(thread.wait.tstate, offsets.thread_id) {
        return None;
    }
    let header = header(thread, now_ns);
    read(
        &header,
        offsets,
        thread.wait.tstate,
        &mut turn.stack,
        &mut turns.stacks,
    );
    Some(())
}

#[inline(always)]
fn header(thread: &Thread, at_ns: u64) -> Header {
    Header {
        kind: kind::STACK,
        tgid: thread.tgid,
        tid: thread.tid,
        gil_id: thread.wait.gil_id,
        at_ns,
    }
}

/// The number of the stack of the thread with this state, and when it was read; as they were where it cannot be. They go to memory that the verifier does not follow, or
/// what comes next would have to be walked through for each of the ways to get here.
#[inline(never)]
fn read(
    header: &Header,
    offsets: &FrameOffsets,
    state: u64,
    read: &mut StackRead,
    budget: &mut StackBudget,
) {
    let innermost = frames::innermost(&Own, offsets, state);
    if offsets.instruction == 0 || innermost == 0 {
        return;
    }
    let Some(mut entry) = RECORDS.reserve::<Stack>(0) else {
        emit::stack_lost();
        return;
    };
    // SAFETY: made of integers, and what is not written here is what another record left: not read beyond `count`.
    let stack = unsafe { &mut *entry.as_mut_ptr() };
    stack.begin(*header, innermost);
    for _ in 0..MAX_STEPS / ROUND_STEPS {
        for _ in 0..ROUND_STEPS {
            step(stack, offsets);
        }
        if stack.is_over() {
            break;
        }
    }
    budget.spend(header.at_ns, stack.count);
    let now = frames::innermost(&Own, offsets, state);
    if !stack.is_still_there(&Own, offsets, now) {
        entry.discard(BPF_RB_NO_WAKEUP.into());
        emit::stack_moved();
        return;
    }
    stack.end();
    let id = stack.id;
    *read = StackRead {
        number: id,
        at_ns: header.at_ns,
    };
    emit::stack_read();
    if STACKS.get_ptr(&id).is_some() {
        entry.discard(BPF_RB_NO_WAKEUP.into());
    } else {
        entry.submit(emit::wake_flags());
        let _ = STACKS.insert(&id, &0, 0);
    }
}

/// A function of its own, so that the verifier walks through it once for each round.
#[inline(never)]
fn step(stack: &mut Stack, offsets: &FrameOffsets) {
    stack.step(&Own, offsets);
}

/// Adds a stretch of a wait to what is known of the two stacks, of which that of the waiter is in the key.
#[inline(always)]
pub fn add(key: &mut StackKey, turns: &Turns, piece: &Piece) {
    key.holder_tid = piece.holder;
    key.holder = match turns.get(piece.number) {
        Some(turn) if turn.holder == piece.holder || piece.holder == NOBODY => turn.stack.number,
        _ => 0,
    };
    if key.holder != 0 || key.waiter != 0 {
        add_to(key, piece.ns);
    }
}

#[inline(never)]
fn add_to(key: &StackKey, ns: u64) {
    if let Some(time) = STACK_TIMES.get_ptr_mut(key) {
        // SAFETY: aligned, and written in no other way.
        unsafe {
            atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut (*time).count, 1);
            atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut (*time).sum_ns, ns);
        }
    } else {
        // What finds no room, or is made by two at a time, has no stacks.
        let time = StackTime {
            count: 1,
            sum_ns: ns,
        };
        let _ = STACK_TIMES.insert(key, time, 1);
    }
}
