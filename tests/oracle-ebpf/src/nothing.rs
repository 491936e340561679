//! Programs that do nothing, on the hooks of gilscope's that are called often: what the kernel takes to call any program there, which is the least that a
//! tracer by those hooks can cost.

use aya_ebpf::{
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};

#[tracepoint]
fn nothing_futex_enter(_: TracePointContext) -> u32 {
    0
}

#[tracepoint]
fn nothing_futex_exit(_: TracePointContext) -> u32 {
    0
}

#[raw_tracepoint]
fn nothing_sched_switch(_: RawTracePointContext) -> i32 {
    0
}

#[raw_tracepoint]
fn nothing_sched_wakeup(_: RawTracePointContext) -> i32 {
    0
}

#[raw_tracepoint]
fn nothing_sched_wakeup_new(_: RawTracePointContext) -> i32 {
    0
}
