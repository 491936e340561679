//! Who has a GIL: remembers the changes of its holder, and divides the waits for it among the holders.

use aya_ebpf::helpers::bpf_probe_read_user;
use gilscope_common::{
    history::HadMore,
    holder::{Blocked, BlockedKey, Look, NOBODY, Piece, SleepKey, Sleeps, Turns, UNKNOWN},
    maps::{GilKey, Target, Thread, WordInfo},
    parts::{OffCpu, known},
    wait::{GilView, kind, phase, word},
};

use crate::{
    filter, history,
    maps::{BLOCKED, SLEEPS, TURNS},
    walk,
};

/// Where glibc keeps a thread's id, counted from its `pthread_t` (x86-64: `nptl/descr.h`, `struct pthread`).
const GLIBC_TID: u64 = 0x2d0;

/// Longer than a look takes, on an emulated machine too, from the moment that is looked at until the GIL's fields are read.
const LOOK_TAKES_NS: u64 = 100_000;

/// Of [`Thread::takes_again_ns`]: it is in the call. At this time no thread was on the CPU since before.
const RELEASING: u64 = 1;

#[inline(always)]
fn turns(tgid: u32, gil_id: u32) -> Option<&'static mut Turns> {
    // SAFETY: an entry lasts as long as its process is traced. Who reads a turn while it is written sees by its number
    // whether it is the one that is looked for, or takes a time that is a moment old.
    TURNS
        .get_ptr_mut(GilKey { tgid, gil_id })
        .map(|turns| unsafe { &mut *turns })
}

/// The present thread looks at itself, as the holder. It waits for nothing then, so there is room in its division.
#[inline(always)]
fn looks_at_itself(thread: &mut Thread, number: u64, now_ns: u64) -> Option<()> {
    let holder = filter::own_tid(thread)?;
    let look = &mut thread.division.look;
    (look.number, look.holder, look.now_ns) = (number, holder, now_ns);
    thread.sched.look(now_ns, &mut look.holders);
    look.off_cpu = thread.sched.was_off_cpu();
    look.took_again(thread.takes_again_ns);
    Some(())
}

/// The present thread has had the GIL since its wait was over.
#[inline(always)]
pub fn took(thread: &mut Thread, gil_id: u32, number: u64) -> Option<()> {
    let turns = turns(thread.tgid, gil_id)?;
    looks_at_itself(thread, number, thread.wait.finished.end_ns)?;
    let look = &mut thread.division.look;
    // It has not slept since, or its wait would have been over before.
    look.holders.on_cpu_ns = thread.wait.cpu_ns;
    look.holders.runnable_ns = thread.wait.runnable_ns;
    turns.gets(look);
    Some(())
}

/// The present thread, which is the last holder, wakes others now: by unlocking the mutex (`unlocks`), by a signal, or on a word that is no
/// GIL's. If it has the GIL it has just taken it (`takes`), as `take_gil` signals and unlocks at its end, or some time ago.
#[inline(always)]
pub fn tells(
    thread: &mut Thread,
    gil_id: u32,
    view: &GilView,
    now_ns: u64,
    unlocks: bool,
    takes: bool,
) -> Option<()> {
    thread.slept.has_gil();
    let turns = turns(thread.tgid, gil_id)?;
    looks_at_itself(thread, view.switch_number, now_ns)?;
    let look = &thread.division.look;
    if view.locked == 0 {
        turns.dropped(look, !unlocks);
        thread.dropped = view.switch_number;
    } else if takes {
        turns.gets(look);
    } else {
        turns.has(look);
    }
    Some(())
}

/// The present thread, which leaves the processor, is seen to have a semaphore since its wait was over.
#[inline(always)]
pub fn has_semaphore(thread: &mut Thread) -> Option<()> {
    let gil_id = thread.wait.gil_id;
    let number = turns(thread.tgid, gil_id)?.turn_of(filter::own_tid(thread)?);
    took(thread, gil_id, number)
}

/// It releases a semaphore, and others wait: if its wait is finished by that, it has had it since. A function of its own: the programs' stack is small.
#[inline(never)]
pub fn releases(thread: &mut Thread, gil_id: u32, finished: bool) -> Option<()> {
    thread.slept.has_gil();
    let now_ns = filter::now_ns();
    let turns = turns(thread.tgid, gil_id)?;
    history::settles(turns, thread.tgid, gil_id);
    let number = turns.turn_released_by(filter::own_tid(thread)?);
    if finished {
        took(thread, gil_id, number);
    }
    looks_at_itself(thread, number, turns.released_ns(number, now_ns))?;
    turns.dropped(&thread.division.look, true);
    thread.dropped = number;
    let offsets = &filter::target(thread.tgid)?.semaphore;
    thread.takes_again_ns = 0;
    let interval: u32 = read(offsets.check_interval)?;
    if read(offsets.ticker) == Some(interval) {
        turns.will_be_taken_again(number);
        thread.takes_again_ns = RELEASING;
    }
    Some(())
}

/// The present thread has dropped a GIL, and has been out of it for as long as it takes to wake somebody. A function of its own: the programs' stack is small.
#[inline(never)]
pub fn has_dropped(thread: &mut Thread) -> Option<()> {
    let turns = turns(thread.tgid, thread.wait.gil_id)?;
    let mut now_ns = filter::now_ns();
    if walk::own(thread, turns, now_ns).is_some() {
        now_ns = filter::now_ns();
    }
    let cpu_ns = thread.sched.cpu_time_ns(now_ns);
    turns.was_dropping(&thread.division.look, now_ns, cpu_ns);
    if thread.takes_again_ns == RELEASING {
        thread.takes_again_ns = now_ns;
    }
    Some(())
}

/// The present thread goes to sleep in a wait for this GIL.
#[inline(always)]
pub fn waits(thread: &mut Thread, info: &WordInfo, view: &GilView, now_ns: u64) {
    if thread.wait.kind != kind::WAIT {
        return;
    }
    if info.word == word::SEMAPHORE
        && let Some(turns) = turns(thread.tgid, info.gil_id)
        && let Some(own) = filter::own_tid(thread)
    {
        turns.sleeps(own);
        thread.takes_again_ns = 0;
    }
    // In a wait that goes on, those who wait as well profit.
    if looks(thread, view, info.gil_id, now_ns).is_some() && thread.wait.start_ns == now_ns {
        thread.division.begins();
    }
}

/// Its sleep is over.
#[inline(always)]
pub fn wakes_up(thread: &mut Thread, view: &GilView, now_ns: u64) {
    let wait = &thread.wait;
    // A mutex that refused to sleep may be no wait at all.
    if wait.phase == phase::AWAKE && wait.kind == kind::WAIT && wait.slept > 0 {
        goes_on(thread, view, now_ns);
    }
}

#[inline(always)]
fn goes_on(thread: &mut Thread, view: &GilView, now_ns: u64) -> Option<()> {
    let gil_id = thread.wait.gil_id;
    let turns = looks(thread, view, gil_id, now_ns)?;
    let waited_ns = now_ns.saturating_sub(thread.wait.start_ns);
    walk::both(thread, turns, view.last_holder, waited_ns);
    // It was under way when tracing began, or its first look failed: what was before this look is not known.
    if thread.division.since_ns < thread.wait.start_ns {
        thread.division.begins();
        return None;
    }
    thread.division.waiter = filter::own_tid(thread)?;
    let Thread {
        division,
        blocked: key,
        stacks,
        wait,
        ..
    } = thread;
    (key.started_ns, key.tgid, key.tid) = (thread.started_ns, thread.tgid, thread.tid);
    (stacks.waiter, stacks.tgid) = (division.stack.number, thread.tgid);
    (key.gil_id, stacks.gil_id) = (gil_id, gil_id);
    if wait.word == word::SEMAPHORE && division.has_missed_turns() {
        history::skips(division, key);
    }
    let turns = &*turns;
    division.goes_on(turns, &mut |piece| {
        key.holder = piece.holder;
        blocked(key, piece);
        walk::add(stacks, turns, piece);
    });
    Some(())
}

#[inline(never)]
fn blocked(key: &BlockedKey, piece: &Piece) {
    match BLOCKED.get_ptr_mut(key) {
        // SAFETY: only the waiter itself writes its rows.
        Some(blocked) => unsafe { (*blocked).add(piece) },
        None => {
            let mut blocked = Blocked::default();
            blocked.add(piece);
            // What finds no room is known of nobody.
            if BLOCKED.insert(key, blocked, 0).is_err() {
                return;
            }
        }
    }
    if piece.parts.asleep_ns > 0 {
        slept(key, piece);
    }
}

/// Many turns of a holder's, of which only the sums are known.
#[inline(never)]
pub fn blocked_by_turns(key: &BlockedKey, more: &HadMore) {
    match BLOCKED.get_ptr_mut(key) {
        // SAFETY: only the waiter itself writes its rows.
        Some(blocked) => unsafe { (*blocked).add_all(more) },
        None => {
            let mut blocked = Blocked::default();
            blocked.add_all(more);
            // What finds no room is known of nobody.
            let _ = BLOCKED.insert(key, blocked, 0);
        }
    }
}

/// The holder slept.
#[inline(never)]
fn slept(key: &BlockedKey, piece: &Piece) {
    let key = SleepKey {
        pair: *key,
        call: piece.parts.call,
        padding: 0,
    };
    match SLEEPS.get_ptr_mut(key) {
        // SAFETY: only the waiter itself writes its rows.
        Some(sleeps) => unsafe { (*sleeps).add(piece) },
        None => {
            let mut sleeps = Sleeps::default();
            sleeps.add(piece);
            // What finds no room is of an unknown call.
            let _ = SLEEPS.insert(key, sleeps, 0);
        }
    }
}

/// The present thread looks, and tells whoever waits that the holder has the GIL by now.
#[inline(always)]
fn looks(
    thread: &mut Thread,
    view: &GilView,
    gil_id: u32,
    now_ns: u64,
) -> Option<&'static mut Turns> {
    let turns = turns(thread.tgid, gil_id)?;
    // Preempted in between: who has it by this view may have got it long after the moment that is looked at.
    if filter::now_ns() - now_ns > LOOK_TAKES_NS {
        return None;
    }
    let (number, holder) = match thread.wait.word {
        word::SEMAPHORE => has_now(thread, turns, view, now_ns)?,
        _ => (view.switch_number, has_turn(thread, turns, view)?),
    };
    let look = &mut thread.division.look;
    (look.number, look.holder, look.now_ns) = (number, holder, now_ns);
    looks_at_holder(thread.tgid, look);
    if holder == NOBODY {
        is_free(turns, number, thread.tgid, now_ns);
    } else if holder != UNKNOWN {
        turns.has(look);
    }
    Some(turns)
}

#[inline(always)]
fn has_turn(thread: &Thread, turns: &Turns, view: &GilView) -> Option<u32> {
    Some(match turns.get(view.switch_number) {
        _ if view.locked == 0 => NOBODY,
        Some(turn) => turn.holder,
        None => tid(filter::target(thread.tgid)?, view.last_holder).unwrap_or(UNKNOWN),
    })
}

/// Who has a semaphore that the present thread waits for, and the number of its turn.
#[inline(always)]
fn has_now(thread: &Thread, turns: &mut Turns, view: &GilView, now_ns: u64) -> Option<(u64, u32)> {
    if view.last_holder != 0 {
        let holder = tid(filter::target(thread.tgid)?, view.last_holder)?;
        return Some((turns.turn_of(holder), holder));
    }
    let holder = if view.locked == 0 {
        turns.is_free(now_ns);
        NOBODY
    } else {
        turns.holder_in_between()
    };
    // It has just been taken: the next look says by whom.
    if holder == UNKNOWN && thread.wait.start_ns != now_ns {
        return None;
    }
    Some((turns.changes, holder))
}

/// What the holder has done so far, if it is known. A function of its own: the programs' stack is small.
#[inline(never)]
fn looks_at_holder(tgid: u32, look: &mut Look) {
    look.holders.known = known::NOTHING;
    look.off_cpu = OffCpu::NONE;
    look.took_again_ns = 0;
    if look.holder != NOBODY
        && look.holder != UNKNOWN
        && let Some(holder) = filter::other(tgid, look.holder)
    {
        holder.sched.look(look.now_ns, &mut look.holders);
        look.off_cpu = holder.sched.was_off_cpu();
        look.took_again(holder.takes_again_ns);
    }
}

/// The GIL is free: so it has been while the thread that has dropped it had no processor.
#[inline(never)]
fn is_free(turns: &mut Turns, number: u64, tgid: u32, now_ns: u64) {
    if let Some(turn) = turns.last_dropped(number)
        && let Some(thread) = filter::other(tgid, turn.holder)
        && let Some((off_cpu, cpu_ns)) = thread.sched.had_no_cpu(now_ns)
    {
        turn.is_free(&off_cpu, cpu_ns);
    }
}

/// A thread's id in its PID namespace, from its thread state.
#[inline(always)]
fn tid(target: &Target, state: u64) -> Option<u32> {
    let offsets = &target.frames;
    if offsets.thread_id == 0 || state == 0 {
        return None;
    }
    if offsets.native_id != 0 {
        return read(state.wrapping_add(offsets.native_id.into()));
    }
    let pthread: u64 = read(state.wrapping_add(offsets.thread_id.into()))?;
    read(pthread.wrapping_add(GLIBC_TID))
}

#[inline(always)]
fn read<T>(address: u64) -> Option<T> {
    // SAFETY: a faulting read is answered by an error.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}
