//! Threads that cannot go on.

use super::case::{Case, Found, evidence};
use super::{percent, seconds};
use crate::model::{DumpLock, Owner, Purpose, ThreadReport};
use std::collections::BTreeSet;

/// A lock that has been waited for during so much of the trace, in percent, and at its end, is taken to stay locked.
const ALL_THE_TIME_PERCENT: f64 = 90.0;
/// And for so long at least.
const LONG_NS: u64 = 1_000_000_000;

/// Threads that wait for each other, or for what nobody will give back.
pub(super) fn deadlock(case: &Case<'_>) -> Option<Found> {
    circle(case)
        .or_else(|| left_behind(case))
        .or_else(|| inferred(case))
}

fn circle(case: &Case<'_>) -> Option<Found> {
    let deadlocks = &case.dump?.deadlocks;
    let threads = deadlocks.iter().flat_map(|one| one.threads.iter().copied());
    let threads: Vec<u32> = threads.collect();
    if threads.is_empty() {
        return None;
    }
    let mut says = match (deadlocks.len(), threads.len()) {
        (1, 1) => "A thread waits for a lock that it has itself, and cannot go on.".to_owned(),
        (1, count) => format!("{count} threads wait for each other, and none can go on."),
        (circles, count) => {
            format!(
                "{count} threads wait for each other, in {circles} circles, and none can go on."
            )
        }
    };
    let mut figures = vec![evidence("stuck_threads", threads.len() as f64)];
    if deadlocks.iter().any(|one| one.inferred) {
        says += " A plain Lock does not record who has it: each seems to have what another waits for, as it is inside a with on it.";
        figures.push(evidence("inferred", 1.0));
    }
    let suggestion = "Take these locks in the same order everywhere, or one lock instead of them.";
    let place = case.ended_at(&threads);
    Some(Found::new(says, figures, suggestion).of(threads).at(place))
}

fn left_behind(case: &Case<'_>) -> Option<Found> {
    let dump = case.dump?;
    let (lock, owner) = dump.locks.iter().find_map(|lock| match lock.owner {
        Some(owner @ (Owner::LeftBehindByFork | Owner::Ended)) => Some((lock, owner)),
        _ => None,
    })?;
    let threads = waiting(case, lock);
    if threads.is_empty() {
        return None;
    }
    let (why, suggestion) = match owner {
        Owner::LeftBehindByFork => (
            "was locked by a thread of the parent as it forked, which is not in this process",
            "Start processes by spawn or forkserver, or fork before the first thread starts; \
             os.register_at_fork can take the lock around the fork.",
        ),
        _ => (
            "was locked by a thread that has ended",
            "Release the lock in a finally clause, or take it by `with`.",
        ),
    };
    let says = format!(
        "{} for a lock that {why}: nobody will unlock it.",
        match threads.len() {
            1 => "A thread waits".to_owned(),
            count => format!("{count} threads wait"),
        }
    );
    let figures = vec![evidence("stuck_threads", threads.len() as f64)];
    let place = case.ended_at(&threads);
    Some(Found::new(says, figures, suggestion).of(threads).at(place))
}

fn waiting(case: &Case<'_>, lock: &DumpLock) -> Vec<u32> {
    let threads = case.dump.map_or(&[][..], |dump| &dump.threads);
    let those = threads
        .iter()
        .filter(|thread| thread.doing.waits_for(lock.id));
    those.map(|thread| thread.tid).collect()
}

/// Plain locks do not record who has them. Two or more that were waited for all the time, and by threads that are not just idle, are most likely each had
/// by one that waits for another.
fn inferred(case: &Case<'_>) -> Option<Found> {
    let (mut threads, mut locks, mut least_ns) = (Vec::new(), BTreeSet::new(), u64::MAX);
    for thread in &case.process.threads {
        if let Some((lock, waited_ns)) = stuck_on(case, thread) {
            threads.push(thread.tid);
            locks.insert(lock);
            least_ns = least_ns.min(waited_ns);
        }
    }
    if locks.len() < 2 {
        return None;
    }
    let says = format!(
        "{} threads have waited for {} locks for {} or more, to the end: most likely for each other. Such locks do not record who has them.",
        threads.len(),
        locks.len(),
        seconds(least_ns),
    );
    let figures = vec![
        evidence("stuck_threads", threads.len() as f64),
        evidence("locks", locks.len() as f64),
        evidence("waited_ns", least_ns as f64),
        evidence("inferred", 1.0),
    ];
    let suggestion = "Take these locks in the same order everywhere, or one lock instead of them.";
    let place = case.ended_at(&threads);
    Some(Found::new(says, figures, suggestion).of(threads).at(place))
}

/// The lock that a thread has waited for nearly all the time, and for how long.
fn stuck_on(case: &Case<'_>, thread: &ThreadReport) -> Option<(u32, u64)> {
    if thread.ended_at_ns.is_some() {
        return None;
    }
    thread.locks.iter().find_map(|waits| {
        let lock = case
            .process
            .locks
            .iter()
            .find(|lock| lock.id == waits.lock_id)?;
        let waited_ns = waits.unfinished.total_ns();
        let is_all = percent(waited_ns, thread.observed_ns) >= ALL_THE_TIME_PERCENT;
        let is_stuck = lock.purpose == Purpose::Contention && is_all && waited_ns >= LONG_NS;
        (is_stuck && waits.wait.count == 0).then_some((lock.id, waited_ns))
    })
}
