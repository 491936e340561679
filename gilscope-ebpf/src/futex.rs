//! `sys_enter_futex`, `sys_exit_futex`: sleeps and wake-ups on the words of a target's GILs.
//!
//! Kernels: 5.10+. Cost: two look-ups for another process's call; for a target's, one and one read of
//! its memory where nothing is to be told, else up to four and two. Emits intervals.

use aya_ebpf::{EbpfContext, macros::tracepoint, programs::TracePointContext};
use gilscope_common::{
    lock as lock_state,
    maps::{Thread, WordKey},
    wait::{phase, word},
};

use crate::{emit, filter, gil, holder, lock, stack};

// Offsets in the tracepoints' context; user space checks them against the kernel's `format` files.
const UADDR_OFFSET: usize = 16;
const OP_OFFSET: usize = 24;
const RESULT_OFFSET: usize = 16;

// `include/uapi/linux/futex.h`.
const FUTEX_PRIVATE_FLAG: u32 = 128;
const FUTEX_CMD_MASK: u32 = !(FUTEX_PRIVATE_FLAG | 256);
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
    if let Some(thread) = filter::thread_or_new(tgid, tid) {
        enter(&ctx, thread);
    }
    0
}

#[inline(always)]
fn enter(ctx: &TracePointContext, thread: &mut Thread) -> Option<()> {
    // The end of a call says that it has dropped a GIL only where its beginning did.
    thread.dropped = 0;
    // Inside a function that is measured as a whole, its own calls say nothing more.
    if thread.wait.stack_pointer != 0 {
        return None;
    }
    let flags = field::<u64>(ctx, OP_OFFSET) as u32;
    let op = flags & FUTEX_CMD_MASK;
    let wakes = op == FUTEX_WAKE || op == FUTEX_WAKE_BITSET;
    let address = field(ctx, UADDR_OFFSET);
    // By far the most calls: it lets go of the GIL and nothing is open.
    if wakes
        && thread.lock.phase == lock_state::phase::IDLE
        && gil::has_nothing_to_tell(thread, address)
    {
        return None;
    }
    let key = WordKey {
        address,
        tgid: thread.tgid,
        padding: 0,
    };
    let Some(info) = gil::word(key) else {
        if thread.wait.is_elsewhere() {
            emit::finished(thread, false);
        }
        other_lock(thread, key.address, flags);
        return None;
    };
    if wakes {
        let owns_mutex = info.word == word::COND && gil::owner(info)? == filter::own_tid(thread)?;
        return gil::wakes_others(thread, info, owns_mutex);
    }
    if op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET {
        let now_ns = filter::now_ns();
        // Otherwise what is known of the thread tells it, and costs less.
        let unclear = thread.wait.phase == phase::IDLE || thread.wait.tstate == 0;
        let locks = match info.word {
            word::MUTEX | word::SWITCH_MUTEX if unclear => stack::inside_mutex_lock(thread.tgid),
            _ => None,
        };
        return gil::sleeps(thread, info, now_ns, op == FUTEX_WAIT_BITSET, locks);
    }
    None
}

/// A word that is no GIL's. What other processes share, and what the kernel itself announces, such as the end of a
/// thread (`pthread_join`), lacks the private flag and is no lock of this process.
#[inline(always)]
fn other_lock(thread: &mut Thread, word: u64, flags: u32) {
    let op = flags & FUTEX_CMD_MASK;
    let sleeps = op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET;
    if sleeps && flags & FUTEX_PRIVATE_FLAG != 0 {
        lock::sleeps(thread, word, op == FUTEX_WAIT_BITSET);
    } else {
        lock::ends(thread);
    }
}

/// A futex call ends.
#[tracepoint(category = "syscalls", name = "sys_exit_futex")]
pub fn futex_exit(ctx: TracePointContext) -> u32 {
    let result = field(&ctx, RESULT_OFFSET);
    let (_, tid) = filter::current();
    let Some(thread) = filter::thread(tid) else {
        return 0;
    };
    if thread.dropped != 0 {
        holder::has_dropped(thread);
    }
    // It has woken so many: no wait ends like that (futex(2)).
    if result > 0 {
        return 0;
    }
    if thread.wait.phase == phase::ASLEEP && thread.wait.stack_pointer == 0 {
        gil::wakes_up(thread, result);
    } else if thread.lock.phase == lock_state::phase::ASLEEP {
        lock::wakes_up(thread, result);
    }
    0
}
