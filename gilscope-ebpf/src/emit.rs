//! The only way out: every record passes here, and every one that does not fit is counted.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_current_comm, generated::bpf_probe_read_kernel},
};
use gilscope_common::{
    maps::{Counters, Thread, Totals, TotalsKey},
    records::{
        ForkRecord, Header, IntervalRecord, LockRecord, NativeRecord, OnCpuRecord, ThreadEndRecord,
        kind,
    },
    wait::Finished,
};

use crate::{
    filter,
    maps::{COUNTERS, RECORDS, TOTALS},
    stack::{self, Registers},
};

/// User space looks every few milliseconds; it is woken early only when this much waits for it.
const WAKE_AT_BYTES: u64 = 512 << 10;

#[inline(always)]
fn counters() -> Option<&'static mut Counters> {
    // SAFETY: per-processor and without sleeping in between; a nested event may lose an increment.
    COUNTERS
        .get_ptr_mut(0)
        .map(|counters| unsafe { &mut *counters })
}

/// A thread or its totals did not fit their map.
#[inline(always)]
pub fn entry_lost() {
    if let Some(counters) = counters() {
        counters.entries_lost += 1;
    }
}

/// A target's memory could not be read.
#[inline(always)]
pub fn read_failed() {
    if let Some(counters) = counters() {
        counters.reads_failed += 1;
    }
}

/// A function that waits for a GIL was entered.
#[inline(always)]
pub fn condvar_wait() {
    if let Some(counters) = counters() {
        counters.condvar_waits += 1;
    }
}

/// It has returned.
#[inline(always)]
pub fn condvar_return() {
    if let Some(counters) = counters() {
        counters.condvar_returns += 1;
    }
}

/// A Python stack was read.
#[inline(always)]
pub fn stack_read() {
    if let Some(counters) = counters() {
        counters.stacks += 1;
    }
}

/// It was not the same any more when it had been read.
#[inline(always)]
pub fn stack_moved() {
    if let Some(counters) = counters() {
        counters.stacks_moved += 1;
    }
}

/// It did not fit the ring buffer.
#[inline(always)]
pub fn stack_lost() {
    if let Some(counters) = counters() {
        counters.stacks_lost += 1;
    }
}

/// It was not read, as that would have been too often.
#[inline(always)]
pub fn stack_refused() {
    if let Some(counters) = counters() {
        counters.stacks_refused += 1;
    }
}

#[inline(always)]
fn record_lost() {
    if let Some(counters) = counters() {
        counters.records_lost += 1;
    }
}

/// Whether user space is to be woken for a record.
#[inline(always)]
pub fn wake_flags() -> u64 {
    if RECORDS.query(BPF_RB_AVAIL_DATA.into()) > WAKE_AT_BYTES {
        BPF_RB_FORCE_WAKEUP.into()
    } else {
        BPF_RB_NO_WAKEUP.into()
    }
}

#[inline(always)]
fn send<T: 'static>(record: T, flags: u64) -> bool {
    match RECORDS.reserve::<T>(0) {
        Some(mut entry) => {
            entry.write(record);
            entry.submit(flags);
            true
        }
        None => {
            record_lost();
            false
        }
    }
}

/// An interval is over: it is counted here and sent to user space. In `sched_switch` nobody may be
/// woken and no entry made.
#[inline(always)]
pub fn finished(thread: &Thread, in_scheduler: bool) {
    let finished = &thread.wait.finished;
    count(thread, finished);
    if finished.cut_at_start != 0 {
        return;
    }
    let record = IntervalRecord {
        header: Header {
            kind: finished.kind,
            tgid: thread.tgid,
            tid: thread.tid,
            gil_id: finished.gil_id,
            at_ns: finished.start_ns,
        },
        end_ns: finished.end_ns,
        after: finished.after,
        padding: 0,
    };
    send(record, flags(in_scheduler));
}

/// A thread that has a GIL was on the CPU.
#[inline(always)]
pub fn on_cpu(thread: &Thread, instruction: u64) {
    let record = on_cpu_record(thread, instruction, kind::ON_CPU);
    send(record, BPF_RB_NO_WAKEUP.into());
}

#[inline(always)]
fn on_cpu_record(thread: &Thread, instruction: u64, kind: u32) -> OnCpuRecord {
    OnCpuRecord {
        header: Header {
            kind,
            tgid: thread.tgid,
            tid: thread.tid,
            gil_id: thread.wait.gil_id,
            at_ns: filter::now_ns(),
        },
        instruction,
    }
}

/// The same in native code; where there is no room for its stack, without it. In place: the programs' stack is small.
#[inline(always)]
pub fn native(thread: &Thread, registers: &Registers) {
    let Some(mut entry) = RECORDS.reserve::<NativeRecord>(0) else {
        return on_cpu(thread, registers.ip);
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the entry is ours until it is submitted, and all fields but the stack are written here.
    unsafe {
        (*record).on_cpu = on_cpu_record(thread, registers.ip, kind::NATIVE);
        ((*record).sp, (*record).bp, (*record).padding) = (registers.sp, registers.bp, 0);
        stack::copy_to(record);
    }
    entry.submit(BPF_RB_NO_WAKEUP.into());
}

/// A wait for a lock is over, which [`gilscope_common::lock::Lock`] has counted. A function of its own: the programs' stack is small.
#[inline(never)]
pub fn lock_finished(thread: &Thread, in_scheduler: bool) {
    let record = LockRecord {
        header: Header {
            kind: kind::LOCK,
            tgid: thread.tgid,
            tid: thread.tid,
            gil_id: 0,
            at_ns: thread.lock.start_ns,
        },
        place: thread.lock.place,
        slept_ns: thread.lock.slept_ns,
        cut_at_start: thread.lock.cut_at_start,
        padding: 0,
    };
    send(record, flags(in_scheduler));
}

#[inline(always)]
fn flags(in_scheduler: bool) -> u64 {
    if in_scheduler {
        BPF_RB_NO_WAKEUP.into()
    } else {
        wake_flags()
    }
}

/// Totals are made as a thread goes to sleep on a GIL, so that the scheduler's events find them.
#[inline(always)]
pub fn prepare_totals(thread: &Thread, gil_id: u32) {
    // Those of the GIL that it slept on last are there.
    if thread.wait.fields.last_holder != 0 && thread.wait.gil_id == gil_id {
        return;
    }
    let key = totals_key(thread, gil_id);
    if TOTALS.get_ptr(key).is_none() && TOTALS.insert(key, Totals::default(), 0).is_err() {
        entry_lost();
    }
}

#[inline(always)]
fn totals_key(thread: &Thread, gil_id: u32) -> TotalsKey {
    TotalsKey {
        started_ns: thread.started_ns,
        tid: thread.tid,
        gil_id,
    }
}

#[inline(always)]
fn count(thread: &Thread, finished: &Finished) {
    match TOTALS.get_ptr_mut(totals_key(thread, finished.gil_id)) {
        // SAFETY: only the thread itself writes its totals.
        Some(totals) => unsafe { (*totals).add(finished) },
        None => entry_lost(),
    }
}

/// A thread is followed from now on.
#[inline(always)]
pub fn thread_started(thread: &Thread) {
    send(
        Header {
            kind: kind::THREAD_START,
            tgid: thread.tgid,
            tid: thread.tid,
            gil_id: 0,
            at_ns: thread.started_ns,
        },
        wake_flags(),
    );
}

/// A thread is gone. Answers whether its record fitted.
#[inline(always)]
pub fn thread_ended(thread: &Thread, exit_code: i32) -> bool {
    let Some(mut entry) = RECORDS.reserve::<ThreadEndRecord>(0) else {
        record_lost();
        return false;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the entry's memory, which is the program's alone until it is submitted; too large to be made on the stack first.
    unsafe {
        (&raw mut (*record).header).write(Header {
            kind: kind::THREAD_END,
            tgid: thread.tgid,
            tid: thread.tid,
            gil_id: 0,
            at_ns: thread.ended_ns,
        });
        let size = size_of::<Thread>() as u32;
        let from: *const Thread = thread;
        bpf_probe_read_kernel((&raw mut (*record).thread).cast(), size, from.cast());
        (&raw mut (*record).comm).write(bpf_get_current_comm().unwrap_or_default());
        (&raw mut (*record).exit_code).write(exit_code);
        (&raw mut (*record).padding).write(0);
    }
    entry.submit(wake_flags());
    true
}

/// A process replaced its program.
#[inline(always)]
pub fn exec(tgid: u32, tid: u32, now_ns: u64) {
    send(
        Header {
            kind: kind::EXEC,
            tgid,
            tid,
            gil_id: 0,
            at_ns: now_ns,
        },
        BPF_RB_FORCE_WAKEUP.into(),
    );
}

/// A target forked a process that is followed too.
#[inline(always)]
pub fn fork(tgid: u32, tid: u32, child: u32, now_ns: u64) {
    send(
        ForkRecord {
            header: Header {
                kind: kind::FORK,
                tgid,
                tid,
                gil_id: 0,
                at_ns: now_ns,
            },
            child,
            padding: 0,
        },
        BPF_RB_FORCE_WAKEUP.into(),
    );
}
