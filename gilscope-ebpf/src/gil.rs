//! What a thread does with a GIL, whichever hook has seen it: reads the GIL's fields and moves the
//! thread's wait on.

use aya_ebpf::helpers::bpf_probe_read_user;
use gilscope_common::{
    maps::{Thread, WordInfo, WordKey},
    wait::{GilView, Sleep, phase, word as kind_of_word},
};

use crate::{emit, filter, lock, maps::WORDS};

/// What a word of the process's is to a GIL, if it is one's. Not when the GIL has gone with its interpreter: user space
/// learns that within a second, and meanwhile another's may lie in its place.
#[inline(always)]
pub fn word(key: WordKey) -> Option<WordInfo> {
    // SAFETY: copied out at once.
    let info = unsafe { WORDS.get(key) }.copied()?;
    if info.interpreter_id_address == 0 {
        return Some(info);
    }
    // SAFETY: a faulting read is answered by an error; memory that is gone is no loss.
    let id = unsafe { bpf_probe_read_user(info.interpreter_id_address as *const i64) };
    (id == Ok(info.interpreter_id)).then_some(info)
}

/// The thread goes to sleep on one of a GIL's words.
#[inline(always)]
pub fn sleeps(
    thread: &mut Thread,
    info: &WordInfo,
    now_ns: u64,
    bitset: bool,
    locks: Option<bool>,
) -> Option<()> {
    let sleep = Sleep {
        gil_id: info.gil_id,
        word: info.word,
        bitset,
        takes_back: locks == Some(false),
        locks: locks == Some(true),
        now_ns,
        cpu_ns: thread.sched.cpu_time_ns(now_ns),
        view: view(thread, info)?,
    };
    lock::uses_gil(thread);
    emit::prepare_totals(thread, info.gil_id);
    thread.wait.fields = info.fields;
    if thread.wait.sleeps(&sleep) {
        emit::finished(thread, false);
    }
    Some(())
}

/// Its sleep is over; `result` as a futex call tells it.
#[inline(always)]
pub fn wakes_up(thread: &mut Thread, result: i64) {
    let now_ns = filter::now_ns();
    let cpu_ns = thread.sched.cpu_time_ns(now_ns);
    if thread.wait.word == kind_of_word::SEMAPHORE {
        let switches = thread.sched.involuntary_switches;
        let others = other_waiters(thread.wait.fields.locked);
        thread.wait.wakes_up(now_ns, cpu_ns, result, switches);
        thread.wait.other_waiters = others;
        return;
    }
    let switch_number = read(thread.wait.fields.switch_number).unwrap_or(0);
    thread.wait.wakes_up(now_ns, cpu_ns, result, switch_number);
}

/// How many threads besides this one sleep on a semaphore or are about to: its second half (glibc from 2.21 on 64 bits:
/// `sysdeps/nptl/internaltypes.h`, `struct new_sem`). Before, there is a 0.
#[inline(always)]
fn other_waiters(semaphore: u64) -> u32 {
    read::<u32>(semaphore.wrapping_add(4))
        .unwrap_or(0)
        .saturating_sub(1)
}

/// Nothing is open, and what is known of the thread is still so: waking others tells nothing new,
/// whatever the word.
#[inline(always)]
pub fn has_nothing_to_tell(thread: &Thread) -> bool {
    let wait = &thread.wait;
    if wait.phase != phase::IDLE {
        return false;
    }
    if wait.word == kind_of_word::SEMAPHORE {
        return true;
    }
    if wait.tstate == 0 {
        return false;
    }
    // SAFETY: a faulting read is answered by an error, for example when the GIL's interpreter is gone.
    let last_holder = unsafe { bpf_probe_read_user(wait.fields.last_holder as *const u64) };
    last_holder == Ok(wait.tstate)
}

/// It wakes others on one of a GIL's words.
#[inline(always)]
pub fn wakes_others(thread: &mut Thread, info: &WordInfo, owns_mutex: bool) -> Option<()> {
    lock::uses_gil(thread);
    let view = view(thread, info)?;
    if thread.wait.wakes_others(info.word, owns_mutex, &view) {
        emit::finished(thread, false);
    }
    Some(())
}

/// The thread that owns the GIL's mutex, by its id in the target's PID namespace.
#[inline(always)]
pub fn owner(info: &WordInfo) -> Option<u32> {
    read(info.owner_address)
}

#[inline(always)]
fn view(thread: &Thread, info: &WordInfo) -> Option<GilView> {
    // A semaphore has no other fields.
    if info.word == kind_of_word::SEMAPHORE {
        let switch_number = thread.sched.involuntary_switches;
        return Some(GilView {
            switch_number,
            other_waiters: other_waiters(info.fields.locked),
            ..GilView::default()
        });
    }
    let fields = &info.fields;
    if fields.are_one_view() {
        return read(fields.last_holder);
    }
    Some(GilView {
        last_holder: read(fields.last_holder)?,
        locked: read(fields.locked)?,
        other_waiters: 0,
        switch_number: read(fields.switch_number)?,
    })
}

#[inline(always)]
fn read<T>(address: u64) -> Option<T> {
    // SAFETY: a faulting read is answered by an error.
    let value = unsafe { bpf_probe_read_user(address as *const T) };
    if value.is_err() {
        emit::read_failed();
    }
    value.ok()
}
