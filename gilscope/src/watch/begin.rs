//! The threads that are there when tracing begins: what each is doing at that moment.

use crate::{
    model::{Gil, GilLock},
    probe::fields_of,
    target::{Thread as TargetThread, process::Stat},
};
use gilscope_common::{
    holder::{BlockedKey, Division},
    lock::Lock,
    maps::{StackKey, Thread},
    parts::{Slept, call},
    sched::{Sched, state},
    wait::{Wait, word},
};

/// How far the words that a waiter sleeps on lie into a condition variable (`pthread_cond_t` has
/// 48 bytes; none of its signal words lies before byte 32).
const SIGNAL_WORDS: std::ops::Range<u64> = 32..48;

/// What the kernel should know of a thread that is there already. One that sleeps on a GIL's
/// condition variable or semaphore, or for another of the locks, is in a wait whose beginning nobody saw.
pub fn thread<'a>(
    pid: u32,
    thread: &TargetThread,
    stat: &Stat,
    gils: impl Iterator<Item = &'a Gil>,
    locks: impl FnOnce() -> Option<Lock>,
    now_ns: u64,
) -> Thread {
    let (wait, lock) = match asleep_on(thread, gils) {
        Some((id, gil)) => {
            let wait = Wait::cut_at_start(id, word_of(gil), fields_of(gil), now_ns);
            (wait, Lock::NONE)
        }
        None => (Wait::NONE, locks().unwrap_or(Lock::NONE)),
    };
    let state = match stat.state {
        'R' => state::UNKNOWN,
        _ => state::ASLEEP,
    };
    let mut sched = Sched::seen(now_ns, state);
    let mut slept = Slept::NONE;
    if state == state::ASLEEP
        && let Ok(Some(call)) = thread.system_call()
    {
        sched.call = call::of(call.number);
        slept.sleeps(sched.call, 0);
    }
    Thread {
        dropped: 0,
        takes_again_ns: 0,
        division: Division::NONE,
        blocked: BlockedKey::NONE,
        stacks: StackKey::NONE,
        started_ns: now_ns,
        ended_ns: 0,
        sched,
        slept,
        ns_tid: 0,
        padding: 0,
        wait,
        lock,
        tgid: pid,
        tid: thread.tid,
    }
}

/// The GIL that a thread sleeps for right now.
fn asleep_on<'a>(
    thread: &TargetThread,
    gils: impl Iterator<Item = &'a Gil>,
) -> Option<(u32, &'a Gil)> {
    let call = thread.system_call().ok().flatten()?;
    if !call.is_futex() {
        return None;
    }
    let is_of = |gil: &Gil| match &gil.lock {
        GilLock::Condvar(lock) => {
            let offset = call.arguments[0].checked_sub(lock.cond);
            offset.is_some_and(|offset| SIGNAL_WORDS.contains(&offset))
        }
        GilLock::Semaphore { .. } => call.arguments[0] == gil.address,
    };
    let (id, gil) = gils.enumerate().find(|(_, gil)| is_of(gil))?;
    Some((u32::try_from(id).ok()?, gil))
}

/// What the word is that a waiter for it sleeps on.
fn word_of(gil: &Gil) -> u32 {
    match gil.lock {
        GilLock::Condvar(_) => word::COND,
        GilLock::Semaphore { .. } => word::SEMAPHORE,
    }
}
