//! Times each `take_gil` (and `drop_gil`) by its entry and return, and notes what happened inside.
//!
//! A test instrument: it uses uretprobes, which gilscope never does.
#![no_std]
#![no_main]

mod futex;
mod nothing;
mod record;

use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_ktime_get_ns,
    macros::{map, tracepoint, uprobe, uretprobe},
    maps::{HashMap, PerCpuArray, ProgramArray, RingBuf},
    programs::{ProbeContext, RetProbeContext, TracePointContext},
};
use record::{Call, DROP, TAKE, Thread, counts, offsets};

/// Bits of `prev_state` that say that the thread sleeps; 0 or `TASK_REPORT_MAX` (0x100) is "still runnable"
/// (`include/trace/events/sched.h`).
const TASK_REPORT: u64 = 0xff;

/// Longer than all programs on a futex tracepoint take together.
const DISTURBED_WITHIN_NS: u64 = 10_000;

#[map]
static CALLS: HashMap<u32, Thread> = HashMap::with_max_entries(65_536, 0);
/// By process: the semaphore that its GIL is (CPython 2.7).
#[map]
static SEMAPHORES: HashMap<u32, u64> = HashMap::with_max_entries(64, 0);
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(64 << 20, 0);
#[map]
static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counts::LEN, 0);

/// Not 0: every call is told, not only those that waited. The host sets it before it loads.
#[unsafe(no_mangle)]
static EVERY_CALL: u32 = 0;

/// Empty.
#[map]
static NOWHERE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// 0.
#[unsafe(no_mangle)]
static NEVER: u32 = 0;

/// `BPF_RB_NO_WAKEUP`: the host polls, so that an event costs the target no wake-up of the reader.
const NO_WAKEUP: u64 = 1;

/// From 6.13 on a program's stack may be the processor's, and a uprobe that is preempted there finds another's data on it. Not if it has a tail call
/// (`kernel/bpf/verifier.c`, `check_max_stack_depth`), even one that is never made.
#[inline(always)]
fn on_the_tasks_stack(ctx: &ProbeContext) {
    // SAFETY: a valid variable; volatile, so that the compiler does not know it.
    if unsafe { (&raw const NEVER).read_volatile() } != 0 {
        // SAFETY: never made, and the map is empty: it leads nowhere.
        unsafe { NOWHERE.tail_call(ctx, 0) };
    }
}

fn count(index: u32) {
    if let Some(value) = COUNTS.get_ptr_mut(index) {
        // SAFETY: a per-CPU slot returned by the kernel.
        unsafe { *value += 1 }
    }
}

/// The state of `tid` while it is inside a call.
fn inside(tid: u32) -> Option<&'static mut Thread> {
    let thread = CALLS.get_ptr_mut(tid)?;
    // SAFETY: entries are never removed, and each is written by its own thread or while that thread is switched.
    let thread = unsafe { &mut *thread };
    (thread.inside == 1).then_some(thread)
}

fn enter(kind: u32, ctx: &ProbeContext) {
    let (tgid, tid) = (ctx.tgid(), ctx.pid());
    if CALLS.get_ptr(tid).is_none() && CALLS.insert(tid, Thread::default(), 0).is_err() {
        return count(counts::UNTRACKED);
    }
    let Some(thread) = CALLS.get_ptr_mut(tid) else {
        return;
    };
    // SAFETY: as in `inside`.
    let thread = unsafe { &mut *thread };
    if thread.inside == 1 {
        count(counts::UNRETURNED);
    }
    if thread.call.tgid != tgid {
        thread.takes = 0;
    }
    thread.futex_op = 0;
    thread.call = Call {
        tgid,
        tid,
        kind,
        ..Call::default()
    };
    thread.inside = 1;
    // Last, to leave this program's own work out.
    // SAFETY: the helper has no preconditions.
    thread.call.start_ns = unsafe { bpf_ktime_get_ns() };
}

fn leave(kind: u32, ctx: &RetProbeContext) {
    // SAFETY: the helper has no preconditions.
    let end_ns = unsafe { bpf_ktime_get_ns() };
    let Some(thread) = inside(ctx.pid()) else {
        return;
    };
    if thread.call.kind != kind {
        return;
    }
    thread.inside = 0;
    if kind == TAKE {
        thread.takes += 1;
    }
    let call = &mut thread.call;
    // SAFETY: a valid variable; the host writes it before this is loaded, so it must not be taken for a constant.
    let every_call = unsafe { (&raw const EVERY_CALL).read_volatile() } != 0;
    if !every_call
        && call.cond_waits == 0
        && call.voluntary == 0
        && call.involuntary == 0
        && call.futex.first_enter_ns == 0
    {
        return;
    }
    call.end_ns = end_ns;
    if RECORDS.output::<Call>(&*call, NO_WAKEUP).is_err() {
        count(counts::RECORDS_LOST);
    }
}

#[uprobe]
fn take_enter(ctx: ProbeContext) -> u32 {
    on_the_tasks_stack(&ctx);
    enter(TAKE, &ctx);
    0
}

#[uretprobe]
fn take_return(ctx: RetProbeContext) -> u32 {
    leave(TAKE, &ctx);
    0
}

/// A function that takes the semaphore in its first argument: of the GIL's, a `take_gil`. Its return is [`take_return`].
#[uprobe]
fn semaphore_take(ctx: ProbeContext) -> u32 {
    on_the_tasks_stack(&ctx);
    if let Some(gil) = semaphore(&ctx) {
        enter(TAKE, &ctx);
        if let Some(thread) = inside(ctx.pid()) {
            thread.call.cond = gil;
        }
    }
    0
}

/// One that releases it: of the GIL's, a `drop_gil`. Its return is [`drop_return`].
#[uprobe]
fn semaphore_drop(ctx: ProbeContext) -> u32 {
    on_the_tasks_stack(&ctx);
    if semaphore(&ctx).is_some() {
        enter(DROP, &ctx);
    }
    0
}

/// The first argument, if it is the GIL.
fn semaphore(ctx: &ProbeContext) -> Option<u64> {
    // SAFETY: copied out at once; user space wrote it before this was attached.
    let gil = unsafe { SEMAPHORES.get(ctx.tgid()) }.copied()?;
    (Some(gil) == ctx.arg(0)).then_some(gil)
}

#[uprobe]
fn drop_enter(ctx: ProbeContext) -> u32 {
    on_the_tasks_stack(&ctx);
    enter(DROP, &ctx);
    0
}

#[uretprobe]
fn drop_return(ctx: RetProbeContext) -> u32 {
    leave(DROP, &ctx);
    0
}

/// `pthread_cond_timedwait(cond, mutex, …)` and its like.
#[uprobe]
fn cond_wait(ctx: ProbeContext) -> u32 {
    let Some(thread) = inside(ctx.pid()) else {
        return 0;
    };
    let call = &mut thread.call;
    if call.cond_waits == 0 {
        // SAFETY: the helper has no preconditions.
        call.first_cond_wait_ns = unsafe { bpf_ktime_get_ns() };
    }
    call.cond_waits += 1;
    call.cond = ctx.arg(0).unwrap_or(0);
    call.mutex = ctx.arg(1).unwrap_or(0);
    0
}

/// Only look-ups and updates in place: an insertion here can dead-lock the machine.
#[tracepoint]
fn sched_switch(ctx: TracePointContext) -> u32 {
    // SAFETY: the helper has no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if let Some(thread) = inside(ctx.pid()) {
        // SAFETY: the host has checked that the field lies there.
        let prev_state = unsafe { ctx.read_at::<u64>(offsets::PREV_STATE) }.unwrap_or(0);
        if prev_state & TASK_REPORT == 0 {
            thread.call.involuntary += 1;
            if now_ns - thread.futex_seen_ns < DISTURBED_WITHIN_NS {
                thread.call.disturbed_since_ns = now_ns;
            }
        } else {
            if thread.call.voluntary == 0 {
                thread.call.first_off_ns = now_ns;
            }
            thread.call.voluntary += 1;
            thread.call.last_on_ns = 0;
        }
    }
    // SAFETY: as above.
    let Ok(next) = (unsafe { ctx.read_at::<u32>(offsets::NEXT_PID) }) else {
        return 0;
    };
    if let Some(thread) = inside(next) {
        let call = &mut thread.call;
        if call.voluntary > 0 && call.last_on_ns == 0 {
            call.last_on_ns = now_ns;
        }
        if call.disturbed_since_ns != 0 {
            call.disturbed_ns += now_ns - call.disturbed_since_ns;
            call.disturbed_since_ns = 0;
        }
    }
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// `bpf_ktime_get_ns` and `bpf_probe_read_kernel` are for GPL-compatible programs only (`kernel/bpf/helpers.c`).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
