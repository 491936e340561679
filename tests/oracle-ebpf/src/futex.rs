//! The second view: what the kernel saw of the same calls (`--futex-view`).

use aya_ebpf::{
    EbpfContext as _, helpers::bpf_ktime_get_ns, macros::tracepoint, programs::TracePointContext,
};

use crate::{
    inside,
    record::{Call, DROP, offsets},
};

/// `FUTEX_CMD_MASK`: drops `FUTEX_PRIVATE_FLAG` (128) and `FUTEX_CLOCK_REALTIME` (256) (`include/uapi/linux/futex.h`).
const CMD_MASK: u64 = 0x7f;
const FUTEX_WAIT: u32 = 0;
const FUTEX_WAIT_BITSET: u32 = 9;
const EAGAIN: i64 = 11;
/// Where the condvar of the forced switch lies behind the GIL's mutex (`struct _gil_runtime_state`, CPython 3.7 to 3.15:
/// `mutex`, `switch_cond`; x86-64 glibc: 40 and 48 bytes).
const SWITCH_COND: core::ops::Range<u64> = 40..88;

#[tracepoint]
fn futex_enter(ctx: TracePointContext) -> u32 {
    let Some(thread) = inside(ctx.pid()) else {
        return 0;
    };
    // SAFETY: the host has checked that the fields lie there.
    let (Ok(op), Ok(addr)) = (unsafe { ctx.read_at::<u64>(offsets::OP) }, unsafe {
        ctx.read_at::<u64>(offsets::UADDR)
    }) else {
        return 0;
    };
    let op = (op & CMD_MASK) as u32;
    if op != FUTEX_WAIT && op != FUTEX_WAIT_BITSET {
        return 0;
    }
    if !is_wait(&thread.call, addr) {
        return 0;
    }
    thread.futex_op = op + 1;
    thread.futex_addr = addr;
    // SAFETY: the helper has no preconditions.
    thread.futex_enter_ns = unsafe { bpf_ktime_get_ns() };
    thread.futex_seen_ns = thread.futex_enter_ns;
    // The first word of a condvar is not waited on: it is a semaphore, and not free.
    if thread.call.cond == addr {
        thread.call.cond_waits += 1;
    }
    if thread.call.futex.first_enter_ns == 0 {
        thread.call.futex.first_enter_ns = thread.futex_enter_ns;
    }
    0
}

/// What drop_gil sleeps on before its own wait is the mutex: no forced switch. When take_gil signals the condvar of the forced
/// switch it has the GIL already, and may sleep until that condvar's former waiters have left it (glibc
/// nptl/pthread_cond_common.c: `__condvar_quiesce_and_switch_g1`): no wait for the GIL.
fn is_wait(call: &Call, addr: u64) -> bool {
    if call.kind == DROP {
        call.cond_waits > 0
    } else {
        call.mutex == 0 || !SWITCH_COND.contains(&addr.wrapping_sub(call.mutex))
    }
}

#[tracepoint]
fn futex_exit(ctx: TracePointContext) -> u32 {
    // SAFETY: the helper has no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let Some(thread) = inside(ctx.pid()) else {
        return 0;
    };
    if thread.futex_op == 0 {
        return 0;
    }
    let (op, addr, enter_ns) = (
        thread.futex_op - 1,
        thread.futex_addr,
        thread.futex_enter_ns,
    );
    thread.futex_op = 0;
    thread.futex_seen_ns = now_ns;
    let futex = &mut thread.call.futex;
    futex.last_exit_ns = now_ns;
    // SAFETY: the host has checked that the field lies there.
    if unsafe { ctx.read_at::<i64>(offsets::RET) } == Ok(-EAGAIN) {
        futex.refused += 1;
        return 0;
    }
    if futex.first_sleep_ns == 0 {
        futex.first_sleep_ns = enter_ns;
    }
    futex.last_wake_ns = now_ns;
    futex.sleep_ns += now_ns - enter_ns;
    if op == FUTEX_WAIT_BITSET {
        futex.cond_sleeps += 1;
    } else if futex.plain_addr == 0 || futex.plain_addr == addr {
        futex.plain_addr = addr;
        futex.plain_sleeps += 1;
    } else {
        futex.other_addr = addr;
        futex.other_sleeps += 1;
    }
    0
}
