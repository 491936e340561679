//! Uprobes on the C library's functions that wait on and signal a condition variable: the second
//! source, for where a futex word cannot name the lock.
//!
//! Attached at the functions' entries and at every instruction that returns from them, so that no
//! return address is ever rewritten. On the task's own stack, see [`on_the_tasks_stack`]. Kernels: 5.10+. Cost: a trap and two look-ups a hit. Emits
//! intervals.

use aya_ebpf::{bindings::pt_regs, macros::uprobe, programs::ProbeContext};
use gilscope_common::{
    maps::{Thread, WordInfo, WordKey, source},
    wait::{ETIMEDOUT, phase},
};

use crate::{emit, filter, gil, maps};

/// What `pthread_cond_timedwait` returns when the time is up (`errno.h`).
const TIMED_OUT: u64 = 110;

/// The present thread, if its process is measured this way, and what its first argument is.
#[inline(always)]
fn lock_of(ctx: &ProbeContext) -> Option<(&'static mut Thread, &'static WordInfo)> {
    let (tgid, tid) = filter::current();
    if filter::target(tgid)?.source != source::UPROBE {
        return None;
    }
    let key = WordKey {
        address: ctx.arg(0)?,
        tgid,
        padding: 0,
    };
    let info = gil::word(key)?;
    Some((filter::thread_or_new(tgid, tid)?, info))
}

#[inline(always)]
fn registers(ctx: &ProbeContext) -> &pt_regs {
    // SAFETY: a uprobe's context is the registers.
    unsafe { &*ctx.regs }
}

/// How far below its caller's frame a waiting function may itself call another. glibc 2.36: 216.
const INNER_FRAME: u64 = 512;

/// Whether the thread is inside the same wait already, and it is the waiting function that calls. musl's `pthread_cond_wait`
/// hands over to its `pthread_cond_timedwait` (`src/thread/pthread_cond_wait.c`, 1.2.3); glibc's wait that has timed out
/// too late to leave its group signals in its place (`nptl/pthread_cond_wait.c`, `__condvar_cancel_waiting`, 2.36).
#[inline(always)]
fn is_inner_call(thread: &Thread, info: &WordInfo, stack_pointer: u64) -> bool {
    thread.wait.phase == phase::ASLEEP
        && thread.wait.word == info.word
        && thread.wait.stack_pointer.wrapping_sub(stack_pointer) < INNER_FRAME
}

/// Has a program run on its task's stack. From 6.13 on the kernel may give it one of the processor's (`kernel/bpf/verifier.c`,
/// `bpf_enable_priv_stack`), where nothing may run the same program a second time on that processor meanwhile. Nothing keeps uprobes from
/// it: they can be preempted, and are not counted as active (`include/linux/bpf.h`, `bpf_prog_run_array_uprobe`). Two threads wrote to one
/// stack, and the machine's kernel died (7.3.4, `PREEMPT_LAZY`). A program with a tail call gets none (`check_max_stack_depth`), even if
/// the call is never made.
#[inline(always)]
fn on_the_tasks_stack(ctx: &ProbeContext) {
    if maps::never() {
        // SAFETY: never made, and the map is empty: it leads nowhere.
        unsafe { maps::NOWHERE.tail_call(ctx, 0) };
    }
}

/// `pthread_cond_timedwait`, `pthread_cond_clockwait`, `pthread_cond_wait` begin.
#[uprobe]
pub fn condvar_wait(ctx: ProbeContext) -> u32 {
    on_the_tasks_stack(&ctx);
    if let Some((thread, info)) = lock_of(&ctx)
        && !is_inner_call(thread, info, registers(&ctx).rsp)
    {
        if gil::sleeps(thread, info, filter::now_ns(), true, None).is_some()
            && thread.wait.phase == phase::ASLEEP
        {
            thread.wait.stack_pointer = registers(&ctx).rsp;
            emit::condvar_wait();
        }
    }
    0
}

/// One of their returns: of this wait, if the stack is as it was at the entry. Others use the same
/// instructions.
#[uprobe]
pub fn condvar_wait_return(ctx: ProbeContext) -> u32 {
    on_the_tasks_stack(&ctx);
    let (_, tid) = filter::current();
    if let Some(thread) = filter::thread(tid)
        && thread.wait.stack_pointer != 0
        && thread.wait.stack_pointer == registers(&ctx).rsp
    {
        thread.wait.stack_pointer = 0;
        emit::condvar_return();
        let timed_out = registers(&ctx).rax as u32 as u64 == TIMED_OUT;
        gil::wakes_up(thread, if timed_out { ETIMEDOUT } else { 0 });
    }
    0
}

/// `pthread_cond_signal` begins: `drop_gil` on the GIL's own, under its mutex; `take_gil` on that
/// of the forced switch.
#[uprobe]
pub fn condvar_signal(ctx: ProbeContext) -> u32 {
    on_the_tasks_stack(&ctx);
    if let Some((thread, info)) = lock_of(&ctx)
        && !is_inner_call(thread, info, registers(&ctx).rsp)
    {
        thread.wait.stack_pointer = 0;
        gil::wakes_others(thread, info, true);
    }
    0
}
