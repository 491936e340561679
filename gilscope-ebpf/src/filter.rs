//! Whose events count.

use aya_ebpf::{
    bindings::{bpf_pidns_info, task_struct},
    helpers::{
        bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_kernel,
        generated::bpf_get_ns_current_pid_tgid,
    },
};
use gilscope_common::{
    holder::{BlockedKey, Division},
    lock::Lock,
    maps::{StackKey, Target, Thread, TidKey},
    parts::Slept,
    sched::{Sched, state},
    wait::Wait,
};

use crate::{
    emit,
    maps::{self, TARGETS, THREADS, TIDS},
};

/// The present thread: (process id, thread id), as the initial PID namespace has them.
#[inline(always)]
pub fn current() -> (u32, u32) {
    let both = bpf_get_current_pid_tgid();
    ((both >> 32) as u32, both as u32)
}

/// The traced process of this id, while tracing goes on.
#[inline(always)]
pub fn target(tgid: u32) -> Option<&'static Target> {
    if maps::stopped() {
        return None;
    }
    // SAFETY: nothing here writes it, and user space only adds and removes targets: one that is
    // removed meanwhile is read as it was, or as the one that has taken its place.
    unsafe { TARGETS.get(tgid) }
}

/// The traced thread of this id, while tracing goes on.
#[inline(always)]
pub fn thread(tid: u32) -> Option<&'static mut Thread> {
    if maps::stopped() {
        return None;
    }
    // SAFETY: an entry is written by its own thread, and by the scheduler's events about it, which
    // the run queue's lock puts in order. It lives until the thread's exit.
    THREADS
        .get_ptr_mut(tid)
        .map(|thread| unsafe { &mut *thread })
}

/// The present thread, if its process is traced; made if nothing has been heard of it yet.
#[inline(always)]
pub fn thread_or_new(tgid: u32, tid: u32) -> Option<&'static mut Thread> {
    if let Some(thread) = thread(tid) {
        return Some(thread);
    }
    target(tgid)?;
    insert(tgid, tid, state::ON_CPU);
    thread(tid)
}

/// What nothing is known of; too large for the stack.
static UNKNOWN: Thread = Thread {
    started_ns: 0,
    ended_ns: 0,
    sched: Sched::seen(0, state::UNKNOWN),
    dropped: 0,
    takes_again_ns: 0,
    division: Division::NONE,
    blocked: BlockedKey::NONE,
    stacks: StackKey::NONE,
    wait: Wait::NONE,
    lock: Lock::NONE,
    tgid: 0,
    tid: 0,
    ns_tid: 0,
    padding: 0,
    slept: Slept::NONE,
};

/// A thread begins to be followed: the present one, or one that does not run yet.
#[inline(always)]
pub fn insert(tgid: u32, tid: u32, state: u32) {
    let now_ns = now_ns();
    if THREADS.insert(tid, &UNKNOWN, 0).is_err() {
        return emit::entry_lost();
    }
    if let Some(thread) = thread(tid) {
        thread.started_ns = now_ns;
        thread.sched.since_ns = now_ns;
        thread.sched.state = state;
        thread.tgid = tgid;
        thread.tid = tid;
        emit::thread_started(thread);
    }
}

/// `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// The present thread's id in the target's PID namespace; 0 where it is not in that namespace.
#[inline(always)]
fn namespace_tid(target: &Target) -> u32 {
    let mut ids = bpf_pidns_info { pid: 0, tgid: 0 };
    let size = size_of::<bpf_pidns_info>() as u32;
    // SAFETY: the helper fills `size` bytes of `ids` (`kernel/bpf/helpers.c`), or zeroes them.
    unsafe { bpf_get_ns_current_pid_tgid(target.pidns_dev, target.pidns_ino, &mut ids, size) };
    ids.pid
}

/// The present thread's id as its process itself knows it.
#[inline(always)]
pub fn own_tid(thread: &mut Thread) -> Option<u32> {
    if thread.ns_tid == 0 {
        learn_own_tid(thread)?;
    }
    Some(thread.ns_tid)
}

/// Not from the scheduler's events, as it makes an entry. A function of its own: the programs' stack is small.
#[inline(never)]
fn learn_own_tid(thread: &mut Thread) -> Option<()> {
    let target = target(thread.tgid)?;
    if target.pidns_ino == 0 {
        thread.ns_tid = thread.tid;
        return Some(());
    }
    thread.ns_tid = namespace_tid(target);
    let key = TidKey {
        tgid: thread.tgid,
        ns_tid: thread.ns_tid,
    };
    // What finds no room is not known as a holder to those who wait.
    let _ = TIDS.insert(key, thread.tid, 0);
    Some(())
}

/// Another thread of a target, by its id in its PID namespace.
#[inline(always)]
pub fn other(tgid: u32, ns_tid: u32) -> Option<&'static Thread> {
    let tid = match target(tgid)?.pidns_ino {
        0 => ns_tid,
        // SAFETY: copied out at once.
        _ => *unsafe { TIDS.get(TidKey { tgid, ns_tid }) }?,
    };
    // SAFETY: an entry outlives its use here as memory; one that has become another thread's meanwhile is as good as one that is
    // being written, and is looked at as that.
    let thread = unsafe { THREADS.get(tid) }?;
    (thread.tgid == tgid).then_some(thread)
}

/// A task's thread id.
#[inline(always)]
pub fn task_tid(task: *const task_struct) -> Option<u32> {
    read_task(task, maps::task_pid_offset())
}

/// A field of a task.
#[inline(always)]
pub fn read_task<T>(task: *const task_struct, offset: usize) -> Option<T> {
    // SAFETY: a faulting read is answered by an error.
    unsafe { bpf_probe_read_kernel(task.byte_add(offset).cast::<T>()) }.ok()
}
