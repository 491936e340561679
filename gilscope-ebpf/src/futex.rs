//! `sys_enter_futex`, `sys_exit_futex`: sleeps and wake-ups on the words of a target's GILs.
//!
//! Kernels: 5.10+. Cost: one look-up for another process's call, three and one read of the target
//! for a call on a GIL's word. Emits intervals.

use aya_ebpf::{EbpfContext, helpers::bpf_probe_read_user, macros::tracepoint, programs::TracePointContext};
use gilscope_common::{
    maps::{Target, Thread, WordInfo, WordKey},
    wait::{GilView, Sleep, phase, word},
};

use crate::{emit, filter, maps::WORDS};

// Offsets in the tracepoints' context; user space checks them against the kernel's `format` files.
const UADDR_OFFSET: usize = 16;
const OP_OFFSET: usize = 24;
const RESULT_OFFSET: usize = 16;

// `include/uapi/linux/futex.h`.
const FUTEX_CMD_MASK: u32 = !(128 | 256);
const FUTEX_WAIT: u32 = 0;
const FUTEX_WAKE: u32 = 1;
const FUTEX_WAIT_BITSET: u32 = 9;
const FUTEX_WAKE_BITSET: u32 = 10;

/// A direct load: the verifier knows the context's layout, and a helper call would cost more.
#[inline(always)]
fn field<T>(ctx: &TracePointContext, offset: usize) -> T {
    // SAFETY: within the context, whose fields of 8 bytes are aligned to 8.
    unsafe { ctx.as_ptr().byte_add(offset).cast::<T>().read() }
}

/// A futex call begins.
#[tracepoint(category = "syscalls", name = "sys_enter_futex")]
pub fn futex_enter(ctx: TracePointContext) -> u32 {
    let (tgid, tid) = filter::current();
    if let Some(target) = filter::target(tgid) {
        enter(&ctx, &target, tgid, tid);
    }
    0
}

#[inline(always)]
fn enter(ctx: &TracePointContext, target: &Target, tgid: u32, tid: u32) -> Option<()> {
    let key = WordKey {
        address: field(ctx, UADDR_OFFSET),
        tgid,
        padding: 0,
    };
    let op = field::<u64>(ctx, OP_OFFSET) as u32 & FUTEX_CMD_MASK;
    let thread = filter::thread_or_new(tgid, tid)?;
    // SAFETY: copied out at once.
    let Some(info) = (unsafe { WORDS.get(key) }).copied() else {
        let finished = thread.wait.is_elsewhere();
        emit::finished(thread, &finished, false);
        return None;
    };
    emit::gil_event();
    match op {
        FUTEX_WAIT | FUTEX_WAIT_BITSET => sleeps(thread, &info, op == FUTEX_WAIT_BITSET),
        FUTEX_WAKE | FUTEX_WAKE_BITSET => wakes(thread, &info, target, tid),
        _ => None,
    }
}

#[inline(always)]
fn sleeps(thread: &mut Thread, info: &WordInfo, bitset: bool) -> Option<()> {
    let now_ns = filter::now_ns();
    let sleep = Sleep {
        gil_id: info.gil_id,
        word: info.word,
        bitset,
        now_ns,
        cpu_ns: thread.sched.cpu_time_ns(now_ns),
        view: view(info.view_address)?,
    };
    thread.wait.view_address = info.view_address;
    emit::prepare_totals(thread, info.gil_id);
    let finished = thread.wait.sleeps(&sleep);
    emit::finished(thread, &finished, false);
    Some(())
}

#[inline(always)]
fn wakes(thread: &mut Thread, info: &WordInfo, target: &Target, tid: u32) -> Option<()> {
    let owns_mutex = info.word == word::COND && owner(info)? == namespace_tid(target, tid);
    let finished = thread
        .wait
        .wakes_others(info.word, owns_mutex, &view(info.view_address)?);
    emit::finished(thread, &finished, false);
    Some(())
}

#[inline(always)]
fn namespace_tid(target: &Target, tid: u32) -> u32 {
    if target.pidns_ino == 0 {
        tid
    } else {
        filter::namespace_tid(target)
    }
}

#[inline(always)]
fn owner(info: &WordInfo) -> Option<u32> {
    read(info.owner_address)
}

#[inline(always)]
fn view(address: u64) -> Option<GilView> {
    read(address)
}

#[inline(always)]
fn read<T>(address: u64) -> Option<T> {
    // SAFETY: a faulting read is answered by an error.
    let value = unsafe { bpf_probe_read_user(address as *const T) };
    if value.is_err() {
        emit::read_failed();
    }
    value.ok()
}

/// A futex call ends.
#[tracepoint(category = "syscalls", name = "sys_exit_futex")]
pub fn futex_exit(ctx: TracePointContext) -> u32 {
    let (_, tid) = filter::current();
    if let Some(thread) = filter::thread(tid)
        && thread.wait.phase == phase::ASLEEP
    {
        let now_ns = filter::now_ns();
        let cpu_ns = thread.sched.cpu_time_ns(now_ns);
        let switch_number = view(thread.wait.view_address).map_or(0, |view| view.switch_number);
        let result = field(&ctx, RESULT_OFFSET);
        thread.wait.wakes_up(now_ns, cpu_ns, result, switch_number);
    }
    0
}
