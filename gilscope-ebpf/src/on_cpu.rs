//! `perf_event`, by a clock on each processor: which instruction a thread that has a GIL is at.
//!
//! Kernels: 4.20+ (`bpf_get_stack`). Cost: one look-up on each tick, of which there are 49 a second.

use aya_ebpf::{
    EbpfContext as _, bindings::BPF_F_USER_STACK, helpers::generated::bpf_get_stack,
    macros::perf_event, programs::PerfEventContext,
};

use crate::{emit, filter, gil};

/// The clock has ticked.
#[perf_event]
pub fn on_cpu(ctx: PerfEventContext) -> u32 {
    let (_, tid) = filter::current();
    if let Some(thread) = filter::thread(tid)
        && gil::has(thread)
        && let Some(instruction) = instruction(&ctx)
    {
        emit::on_cpu(thread, instruction);
    }
    0
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
