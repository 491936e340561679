//! `task_newtask`, `sched_process_exit`, `sched_process_exec`: threads and processes come and go.
//!
//! Raw tracepoints: kernels 4.17+. Cost: one look-up for another process's event. Emits threads'
//! beginnings and ends, forks and execs.

use aya_ebpf::{bindings::task_struct, macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::debug;
use gilscope_common::{maps::TidKey, sched::state};

use crate::{
    emit, filter, lock,
    maps::{self, TARGETS, THREADS, TIDS},
};

/// `include/uapi/linux/sched.h`.
const CLONE_THREAD: u64 = 0x0001_0000;

/// A target has made a thread, or a process.
#[raw_tracepoint(tracepoint = "task_newtask")]
pub fn task_newtask(ctx: RawTracePointContext) -> i32 {
    let (tgid, tid) = filter::current();
    if let Some(target) = filter::target(tgid) {
        let task = ctx.arg::<*const task_struct>(0);
        let Some(child) = filter::task_tid(task) else {
            return 0;
        };
        if ctx.arg::<u64>(1) & CLONE_THREAD != 0 {
            filter::insert(tgid, child, state::ASLEEP);
        } else if target.follow_children != 0 {
            if TARGETS.insert(child, target, 0).is_err() {
                emit::entry_lost();
                return 0;
            }
            debug!(&ctx, "process {} forked {}", tgid, child);
            emit::fork(tgid, tid, child, filter::now_ns());
            filter::insert(child, child, state::ASLEEP);
        }
    }
    0
}

/// A thread ends.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn sched_process_exit(ctx: RawTracePointContext) -> i32 {
    let (_, tid) = filter::current();
    if let Some(thread) = filter::thread(tid) {
        let now_ns = filter::now_ns();
        if thread.wait.is_no_longer_seen() {
            emit::finished(thread, false);
        }
        if thread.lock.is_no_longer_seen() {
            emit::lock_finished(thread, false);
        }
        thread.sched.on_cpu_ns = thread.sched.cpu_time_ns(now_ns);
        thread.sched.since_ns = now_ns;
        thread.ended_ns = now_ns;
        let task = ctx.arg::<*const task_struct>(0);
        let exit_code = filter::read_task(task, maps::task_exit_code_offset()).unwrap_or(0);
        // One whose record does not fit stays for user space to find.
        if emit::thread_ended(thread, exit_code) {
            if thread.ns_tid != 0 && thread.ns_tid != tid {
                let (tgid, ns_tid) = (thread.tgid, thread.ns_tid);
                let _ = TIDS.remove(TidKey { tgid, ns_tid });
            }
            let _ = THREADS.remove(tid);
        }
    }
    0
}

/// A process replaces its program: its GILs are gone.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    let (tgid, tid) = filter::current();
    if filter::target(tgid).is_some() {
        // A thread that is not the first takes over the first one's id.
        let old_tid = ctx.arg::<u64>(1) as u32;
        if old_tid != tid {
            let _ = THREADS.remove(old_tid);
        }
        if let Some(thread) = filter::thread_or_new(tgid, tid) {
            if thread.wait.is_elsewhere() {
                emit::finished(thread, false);
            }
            lock::ends(thread);
            thread.wait.tstate = 0;
            thread.wait.word = 0;
            thread.wait.fields.last_holder = 0;
        }
        debug!(&ctx, "process {} replaced its program", tgid);
        emit::exec(tgid, tid, filter::now_ns());
    }
    0
}
