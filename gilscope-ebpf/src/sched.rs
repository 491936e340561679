//! `sched_switch`, `sched_wakeup`, `sched_wakeup_new`: time on the processor and time spent ready
//! for one.
//!
//! Raw tracepoints, because they see every event of the machine: kernels 4.17+, with BTF for the
//! task's fields. Cost: two look-ups a switch, one a wake-up, and two reads of a target that goes to sleep. Only look-ups and changes in place:
//! an insert from here can lock up a large machine. Emits intervals.

use aya_ebpf::{bindings::task_struct, macros::raw_tracepoint, programs::RawTracePointContext};

use gilscope_common::{parts::call, wait::phase};

use crate::{emit, filter, frames, gil, maps, stack};

/// One thread leaves a processor, another gets it.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn sched_switch(ctx: RawTracePointContext) -> i32 {
    let now_ns = filter::now_ns();
    leaves(&ctx, now_ns);
    if let Some(next) = filter::task_tid(ctx.arg::<*const task_struct>(2))
        && let Some(thread) = filter::thread(next)
    {
        thread.sched.enters_cpu(now_ns);
        thread.wait.enters_cpu(now_ns, thread.sched.runnable_ns);
        thread.lock.enters_cpu(now_ns);
    }
    0
}

/// The thread that leaves is still the present one.
#[inline(always)]
fn leaves(ctx: &RawTracePointContext, now_ns: u64) {
    let (_, tid) = filter::current();
    if let Some(thread) = filter::thread(tid) {
        // `nvcsw` counts the same (`kernel/sched/core.c`: `__schedule`).
        let voluntary = ctx.arg::<u64>(0) as u8 == 0 && state(ctx) != 0;
        let in_gil = thread.wait.phase == phase::ASLEEP;
        let call = match voluntary {
            true if in_gil => call::FUTEX,
            true => stack::call_number(),
            false => call::UNKNOWN,
        };
        if gil::leaves_as_holder(thread) {
            emit::finished(thread, true);
        }
        if thread.wait.tstate == 0 {
            thread.wait.tstate = frames::own_state(thread).unwrap_or(0);
        }
        let has_gil = voluntary && !in_gil && gil::has(thread);
        thread.sched.leaves_cpu(now_ns, voluntary, call, has_gil);
        if voluntary && !in_gil {
            thread.slept.sleeps(call, thread.sched.on_cpu_ns);
        }
        if thread.lock.leaves_cpu(voluntary, in_gil) {
            emit::lock_finished(thread, true);
        }
        if thread.wait.leaves_cpu(voluntary, stack::returns_to) {
            emit::finished(thread, true);
        }
    }
}

#[inline(always)]
fn state(ctx: &RawTracePointContext) -> u64 {
    match maps::task_state_offset() {
        // Since 5.18 (`include/trace/events/sched.h`) the state is the last argument.
        0 => u64::from(ctx.arg::<u64>(3) as u32),
        offset => filter::read_task(ctx.arg::<*const task_struct>(1), offset).unwrap_or(0),
    }
}

/// A thread is woken.
#[raw_tracepoint(tracepoint = "sched_wakeup")]
pub fn sched_wakeup(ctx: RawTracePointContext) -> i32 {
    woken(&ctx);
    0
}

/// A new thread may run.
#[raw_tracepoint(tracepoint = "sched_wakeup_new")]
pub fn sched_wakeup_new(ctx: RawTracePointContext) -> i32 {
    woken(&ctx);
    0
}

#[inline(always)]
fn woken(ctx: &RawTracePointContext) {
    if let Some(tid) = filter::task_tid(ctx.arg::<*const task_struct>(0))
        && let Some(thread) = filter::thread(tid)
    {
        let now_ns = filter::now_ns();
        thread.sched.woken(now_ns);
        thread.wait.is_woken(now_ns);
    }
}
