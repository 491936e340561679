//! gilscope's programs in the kernel. One file per concern; each program is thin over the state
//! machines of `gilscope_common`, which are tested in user space.
//!
//! `maps` declares what is shared with user space, `filter` says whose events count, `emit` is the
//! only way out and counts every drop, `gil` and `lock` move a thread's waits on,
//! `holder` divides waits among those who had the GIL, `stack` and `frames` tell who made a call, in C and in Python, `walk` where a thread is in Python; `futex`, `condvar`, `sched`,
//! `process` and `on_cpu` are the hooks.
#![no_std]
#![no_main]
// The target is without compare-and-swap before kernel 5.12, and so without `AtomicU64::fetch_add`; it can add.
#![feature(core_intrinsics)]
#![allow(
    internal_features,
    reason = "the only way to an atomic addition on this target"
)]

mod condvar;
mod emit;
mod filter;
mod frames;
mod futex;
mod gil;
mod history;
mod holder;
mod lock;
mod maps;
mod on_cpu;
mod process;
mod sched;
mod stack;
mod walk;

/// The verifier rejects whatever could get here.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// The helpers used here are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
