//! What a thread does with a GIL, whichever hook has seen it: reads the GIL's fields and moves the
//! thread's wait on.

use aya_ebpf::helpers::bpf_probe_read_user;
use gilscope_common::{
    maps::{Thread, WordInfo, WordKey},
    wait::{self, GilAddresses, GilView, Sleep, phase, word as kind_of_word},
};

use crate::{emit, filter, frames, holder, lock, maps::WORDS, stack};

/// What a word of the process's is to a GIL, if it is one's. Not when the GIL has gone with its interpreter: user space
/// learns that within a second, and meanwhile another's may lie in its place.
#[inline(always)]
pub fn word(key: WordKey) -> Option<&'static WordInfo> {
    // SAFETY: written before its GIL is met. The memory outlasts the program that reads it (RCU); user space takes a word away with its process
    // or its interpreter, whose id is looked at next. A copy would not be at one instant either, and take the stack.
    let info = unsafe { WORDS.get(key) }?;
    if info.interpreter_id_address == 0 {
        return Some(info);
    }
    // SAFETY: a faulting read is answered by an error; memory that is gone is no loss.
    let id = unsafe { bpf_probe_read_user(info.interpreter_id_address as *const i64) };
    (id == Ok(info.interpreter_id)).then_some(info)
}

/// The thread goes to sleep on one of a GIL's words. A function of its own: its stack is not there while another lock's is needed.
#[inline(never)]
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
        position: position(thread, info).unwrap_or(0),
        returns_to: match thread.wait.preempted_at {
            0 => 0,
            _ => stack::returns_to(),
        },
        on_cpu_for_ns: now_ns.saturating_sub(thread.sched.since_ns),
        view: view(thread, info)?,
    };
    lock::uses_gil(thread);
    emit::prepare_totals(thread, info.gil_id);
    thread.wait.fields = info.fields;
    if thread.wait.sleeps(&sleep) {
        emit::finished(thread, false);
    }
    if thread.wait.begins_at(now_ns) {
        let after = thread.slept.returns(sleep.cpu_ns);
        let runnable_ns = thread.sched.runnable_ns;
        thread.wait.begins(sleep.cpu_ns, runnable_ns, after);
    }
    holder::waits(thread, info, &sleep.view, now_ns);
    Some(())
}

/// Its sleep is over; `result` as a futex call tells it. A function of its own: the compiler would make one of each result that it knows, and the verifier
/// walk through all of them.
#[inline(never)]
pub fn wakes_up(thread: &mut Thread, result: i64) {
    let now_ns = filter::now_ns();
    let cpu_ns = thread.sched.cpu_time_ns(now_ns);
    thread.wait.runnable_ns = thread.sched.runnable_ns;
    let view = match thread.wait.word {
        kind_of_word::SEMAPHORE => semaphore(thread, &thread.wait.fields),
        _ => seen(fields(&thread.wait.fields)).unwrap_or_default(),
    };
    thread
        .wait
        .wakes_up(now_ns, cpu_ns, result, view.switch_number);
    thread.wait.other_waiters = view.other_waiters;
    let in_line = thread.wait.was_in_line(result);
    (
        thread.division.in_line_from_ns,
        thread.division.in_line_until_ns,
    ) = in_line;
    holder::wakes_up(thread, &view, now_ns);
    thread.wait.back_cpu_ns = thread.sched.cpu_time_ns(filter::now_ns());
}

/// A semaphore: its value, and how many threads sleep on it or are about to (glibc from 2.21 on 64 bits:
/// `sysdeps/nptl/internaltypes.h`, `struct new_sem`; before, there is a 0). And who has it, as CPython 2.7 says.
#[inline(always)]
fn semaphore(thread: &Thread, addresses: &GilAddresses) -> GilView {
    let last_holder = read_known(addresses.last_holder, 0).unwrap_or(0);
    let [value, waiters]: [u32; 2] = read(addresses.locked).unwrap_or([0; 2]);
    GilView {
        last_holder,
        locked: (value == 0).into(),
        other_waiters: waiters.saturating_sub(1),
        switch_number: thread.sched.involuntary_switches,
    }
}

/// Where in its Python program a thread is that waits for a semaphore, if that is known of it.
#[inline(always)]
fn position(thread: &Thread, info: &WordInfo) -> Option<u64> {
    let tstate = thread.wait.tstate;
    if info.word != kind_of_word::SEMAPHORE || tstate == 0 {
        return None;
    }
    let offsets = &filter::target(thread.tgid)?.semaphore;
    let frame: u64 = read_known(tstate, offsets.frame)?;
    let ticks = read_known(tstate, offsets.ticks)?;
    let instruction = read_known(frame, offsets.instruction)?;
    Some(wait::position(frame, instruction, ticks))
}

/// The thread leaves the processor: whether it has a semaphore, and so has finished its wait for it. The thread state that is named as
/// the holder's is its own then.
#[inline(always)]
pub fn leaves_as_holder(thread: &mut Thread) -> bool {
    if thread.wait.word != kind_of_word::SEMAPHORE {
        return false;
    }
    let Some(tstate) = own_state_as_holder(thread) else {
        return false;
    };
    let finished = thread.wait.is_holder(tstate);
    if finished {
        holder::has_semaphore(thread);
    }
    finished
}

#[inline(always)]
fn own_state_as_holder(thread: &Thread) -> Option<u64> {
    let offsets = &filter::target(thread.tgid)?.semaphore;
    let holder = read_known(thread.wait.fields.last_holder, 0)?;
    frames::is_own(holder, offsets.thread_id).then_some(holder)
}

/// What may be gone.
#[inline(always)]
fn read_known<T>(base: u64, offset: u32) -> Option<T> {
    // SAFETY: a faulting read is answered by an error.
    unsafe { bpf_probe_read_user(base.wrapping_add(offset.into()) as *const T) }.ok()
}

/// Whether the present thread has a GIL, as far as is known: the one that it waited for last, or the first.
#[inline(always)]
pub fn has(thread: &Thread) -> bool {
    let (wait, tstate) = (&thread.wait, thread.wait.tstate);
    if tstate == 0 {
        return false;
    }
    let (last_holder, locked) = match (wait.fields.last_holder, wait.word) {
        (0, _) => match filter::target(thread.tgid) {
            Some(target) => (target.frames.last_holder, target.frames.locked),
            None => return false,
        },
        // Nobody is named while nobody has it.
        (holder, kind_of_word::SEMAPHORE) => (holder, 0),
        (last_holder, _) => (last_holder, wait.fields.locked),
    };
    // As in a `struct _gil_runtime_state`: one read costs less than two.
    if locked == last_holder.wrapping_add(size_of::<u64>() as u64) {
        let both: Option<[u64; 2]> = read_known(last_holder, 0);
        return both.is_some_and(|[holder, locked]| holder == tstate && locked as i32 > 0);
    }
    read_known(last_holder, 0) == Some(tstate)
        && (locked == 0 || read_known::<i32>(locked, 0).is_some_and(|locked| locked > 0))
}

/// Nothing is open, and what is known of the thread is still so: waking others tells nothing new,
/// whatever the word.
#[inline(always)]
pub fn has_nothing_to_tell(thread: &mut Thread, address: u64) -> bool {
    let wait = &thread.wait;
    if wait.phase != phase::IDLE {
        return false;
    }
    if wait.word == kind_of_word::SEMAPHORE {
        if address == wait.fields.locked {
            holder::releases(thread, wait.gil_id, false);
        }
        return true;
    }
    if wait.tstate == 0 {
        return false;
    }
    let now_ns = filter::now_ns();
    let Some(view) = fields(&wait.fields) else {
        return false;
    };
    if view.last_holder != wait.tstate {
        return false;
    }
    let (unlocks, gil_id) = (address == wait.fields.mutex, wait.gil_id);
    holder::tells(thread, gil_id, &view, now_ns, unlocks, unlocks);
    true
}

/// It wakes others on one of a GIL's words.
#[inline(never)]
pub fn wakes_others(thread: &mut Thread, info: &WordInfo, owns_mutex: bool) -> Option<()> {
    lock::uses_gil(thread);
    let now_ns = filter::now_ns();
    let view = view(thread, info)?;
    let (kind, was_open) = (thread.wait.kind, thread.wait.phase != phase::IDLE);
    let finished = thread.wait.wakes_others(info.word, owns_mutex, &view);
    if finished {
        emit::finished(thread, false);
    }
    let gave_way = kind == wait::kind::YIELD && was_open;
    if info.word == kind_of_word::SEMAPHORE {
        return holder::releases(thread, info.gil_id, finished);
    }
    if view.last_holder != thread.wait.tstate || gave_way {
        return Some(());
    }
    // It has had it since its wait was over.
    if finished && view.locked == 0 {
        holder::took(thread, info.gil_id, view.switch_number);
    }
    if info.word != kind_of_word::INNER {
        let unlocks = info.word == kind_of_word::MUTEX;
        let takes = unlocks || info.word == kind_of_word::SWITCH_COND;
        holder::tells(thread, info.gil_id, &view, now_ns, unlocks, takes);
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
    if info.word == kind_of_word::SEMAPHORE {
        return Some(semaphore(thread, &info.fields));
    }
    seen(fields(&info.fields))
}

/// What may be gone with the GIL's interpreter.
#[inline(always)]
fn fields(addresses: &GilAddresses) -> Option<GilView> {
    GilView::at_one_instant(
        || read_known(addresses.switch_number, 0),
        || {
            if addresses.are_one_view() {
                return read_known(addresses.last_holder, 0);
            }
            Some(GilView {
                last_holder: read_known(addresses.last_holder, 0)?,
                locked: read_known(addresses.locked, 0)?,
                other_waiters: 0,
                switch_number: read_known(addresses.switch_number, 0)?,
            })
        },
    )
}

#[inline(always)]
fn read<T>(address: u64) -> Option<T> {
    seen(read_known(address, 0))
}

/// Counts what could not be read.
#[inline(always)]
fn seen<T>(value: Option<T>) -> Option<T> {
    if value.is_none() {
        emit::read_failed();
    }
    value
}
