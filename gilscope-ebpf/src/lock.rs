//! What a thread does with a lock that is no GIL: finds out which, and moves the thread's wait on.

use aya_ebpf::helpers::bpf_probe_read_user;
use gilscope_common::{
    lock::{LockPlace, Sleep, kind, phase},
    maps::{Target, Thread},
};

use crate::{emit, filter, frames, stack};

/// The waiter of a parking lot is a few hundred bytes into its own stack: 264 – 296, measured 3.13.5 – 3.15.2
/// (`Python/parking_lot.c`: `struct wait_entry`).
const OWN_FRAMES: u64 = 4096;

/// The thread goes to sleep on a futex word that is no GIL's. A function of its own: the programs' stack is small.
#[inline(never)]
pub fn sleeps(thread: &mut Thread, word: u64, bitset: bool) {
    let Some(target) = filter::target(thread.tgid) else {
        return;
    };
    let now_ns = filter::now_ns();
    let (place, call) = place(target, word, bitset);
    let mut sleep = Sleep {
        place,
        call,
        had_gil: false,
        now_ns,
        cpu_ns: thread.sched.cpu_time_ns(now_ns),
    };
    if thread.lock.phase != phase::IDLE {
        sleep.had_gil = frames::is_last_holder(thread, target);
        if thread.lock.sleeps_again(&sleep) {
            return;
        }
        ends(thread);
    }
    // Of CPython's own locks the Python function tells what is waited for.
    if place.kind == kind::SEMAPHORE || place.kind == kind::PARKED {
        (sleep.place.code, sleep.place.caller) = frames::running(thread, target);
    }
    thread.lock.begins(&sleep);
}

/// It acts outside an acquisition.
#[inline(always)]
pub fn ends(thread: &mut Thread) {
    if thread.lock.phase != phase::IDLE && thread.lock.ends() {
        emit::lock_finished(thread, false);
    }
}

/// It sleeps on a GIL's word, or wakes others on one.
#[inline(always)]
pub fn uses_gil(thread: &mut Thread) {
    if thread.lock.phase != phase::IDLE && thread.lock.uses_gil() {
        emit::lock_finished(thread, false);
    }
}

/// Its sleep is over; `result` is the system call's.
#[inline(always)]
pub fn wakes_up(thread: &mut Thread, result: i64) {
    let now_ns = filter::now_ns();
    let cpu_ns = thread.sched.cpu_time_ns(now_ns);
    thread.lock.wakes_up(now_ns, cpu_ns, result);
}

/// Which lock a word belongs to, and what tells one call that waits for it from another, where there is such a thing.
#[inline(always)]
fn place(target: &Target, word: u64, bitset: bool) -> (LockPlace, u64) {
    let mut place = LockPlace {
        address: word,
        ..LockPlace::default()
    };
    let Some(call) = stack::call() else {
        return (place, 0);
    };
    let is_own = word.wrapping_sub(call.sp) < OWN_FRAMES;
    place.kind = call.kind(target, bitset || is_own);
    if target.has_parking_lot == 0 || !is_own || place.kind != kind::SEMAPHORE {
        return (place, 0);
    }
    // `struct wait_entry`: `park_arg`, `addr`, `sema`.
    match read::<[u64; 2]>(word.wrapping_sub(16)) {
        Some([argument, address]) if address != 0 => {
            (place.address, place.kind) = if frames::is_own_state(target, address) {
                (frames::requester(target, address), kind::STOPPED)
            } else {
                (address, kind::PARKED)
            };
            // Of a `PyMutex` the argument is a `struct mutex_entry`, which begins with a time that each call reads anew
            // (`Python/lock.c`: `_PyMutex_LockTimed`); of an event it is null.
            let began = if argument == 0 { None } else { read(argument) };
            (place, began.unwrap_or(0))
        }
        _ => (place, 0),
    }
}

#[inline(always)]
fn read<T>(address: u64) -> Option<T> {
    // SAFETY: a faulting read is answered by an error.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}
