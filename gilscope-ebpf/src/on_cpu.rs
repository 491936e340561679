//! `perf_event`, by a clock on each processor: which instruction a thread that has a GIL is at, and, if that is native code, what is on its stack.
//!
//! Kernels: 5.5+ (`bpf_probe_read_user`); before 5.15 a thread that the tick finds in the kernel tells no more than its instruction. Cost: one look-up on each tick, of which there are 49 a second; in native code 8 KiB are copied.

use aya_ebpf::{
    EbpfContext as _, bindings::BPF_F_USER_STACK, helpers::generated::bpf_get_stack,
    macros::perf_event, programs::PerfEventContext,
};
use gilscope_common::maps::Thread;

use crate::{
    emit, filter, gil,
    stack::{self, BP_OFFSET, CS_OFFSET, IP_OFFSET, Registers, SP_OFFSET},
};

/// The privilege level in `cs`, and that of programs.
const LEVEL: u64 = 3;
const USER: u64 = 3;

/// The clock has ticked.
#[perf_event]
pub fn on_cpu(ctx: PerfEventContext) -> u32 {
    let (_, tid) = filter::current();
    if let Some(thread) = filter::thread(tid)
        && gil::has(thread)
    {
        seen(&ctx, thread);
    }
    0
}

#[inline(always)]
fn seen(ctx: &PerfEventContext, thread: &Thread) -> Option<()> {
    let registers = match register(ctx, CS_OFFSET) & LEVEL {
        USER => Some(Registers {
            ip: register(ctx, IP_OFFSET),
            sp: register(ctx, SP_OFFSET),
            bp: register(ctx, BP_OFFSET),
        }),
        // Those at the tick are the kernel's.
        _ => stack::registers(),
    };
    let Some(registers) = registers else {
        emit::on_cpu(thread, instruction(ctx)?);
        return Some(());
    };
    let target = filter::target(thread.tgid)?;
    if registers.ip.wrapping_sub(target.python) < target.python_size {
        emit::on_cpu(thread, registers.ip);
    } else {
        emit::native(thread, &registers);
    }
    Some(())
}

/// A register at the tick: with them the context begins (`include/uapi/linux/bpf_perf_event.h`).
#[inline(always)]
fn register(ctx: &PerfEventContext, offset: usize) -> u64 {
    // SAFETY: within the context, whose fields are aligned to 8; volatile, as the verifier wants each load of the context by itself.
    unsafe { ctx.as_ptr().byte_add(offset).cast::<u64>().read_volatile() }
}

/// The innermost address of the present thread in its program.
#[inline(always)]
fn instruction(ctx: &PerfEventContext) -> Option<u64> {
    let mut instruction = 0_u64;
    let size = size_of::<u64>() as u32;
    // SAFETY: the helper writes so many bytes at most, and tells how many.
    let written = unsafe {
        bpf_get_stack(
            ctx.as_ptr(),
            (&raw mut instruction).cast(),
            size,
            BPF_F_USER_STACK.into(),
        )
    };
    (written == size.into()).then_some(instruction)
}
