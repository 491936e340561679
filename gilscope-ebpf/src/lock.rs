//! What a thread does with a lock that is no GIL: finds out which, and moves the thread's wait on.

use aya_ebpf::helpers::bpf_probe_read_user;
use gilscope_common::{
    lock::{LockPlace, kind, phase},
    maps::Thread,
};

use crate::{emit, filter, stack};

/// The waiter of a parking lot is a few hundred bytes into its own stack: 264 – 296, measured 3.13.5 – 3.15.2
/// (`Python/parking_lot.c`: `struct wait_entry`).
const OWN_FRAMES: u64 = 4096;

/// The thread goes to sleep on a futex word that is no GIL's. A function of its own: the programs' stack is small.
#[inline(never)]
pub fn sleeps(thread: &mut Thread, word: u64, bitset: bool) {
    let now_ns = filter::now_ns();
    let cpu_ns = thread.sched.cpu_time_ns(now_ns);
    let place = place(thread.tgid, word, bitset);
    if thread.lock.sleeps_again(place.address, now_ns, cpu_ns) {
        return;
    }
    ends(thread);
    thread.lock.begins(place, now_ns);
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

/// Which lock a word belongs to.
#[inline(always)]
fn place(tgid: u32, word: u64, bitset: bool) -> LockPlace {
    let mut place = LockPlace {
        address: word,
        ..LockPlace::default()
    };
    let Some(target) = filter::target(tgid) else {
        return place;
    };
    let Some(call) = stack::call() else {
        return place;
    };
    place.kind = call.kind(target, bitset);
    let is_own = word.wrapping_sub(call.sp) < OWN_FRAMES;
    if target.has_parking_lot != 0 && is_own && place.kind == kind::SEMAPHORE {
        // SAFETY: a faulting read is answered by an error.
        let address = unsafe { bpf_probe_read_user(word.wrapping_sub(8) as *const u64) };
        if let Ok(address) = address
            && address != 0
        {
            place.address = address;
            place.kind = kind::PARKED;
        }
    }
    place
}
