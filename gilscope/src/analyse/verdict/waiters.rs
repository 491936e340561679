//! Those that wait for the GIL.

use super::case::{Case, Found, called, evidence, on_cpu_percent};
use super::{percent, seconds};
use crate::model::{Doing, ThreadReport};
use std::cmp::Reverse;

/// Threads that wake up this often each second, besides for the GIL,
const POLLS_PER_SECOND: f64 = 4.0;
/// and run for so short a time each time on average,
const POLL_NS: u64 = 500_000;
/// and so much of the time at most, in percent,
const POLLER_CPU_PERCENT: f64 = 5.0;
/// are pollers if they are so many,
const POLLERS: usize = 16;
/// and wake up so often together.
const ALL_POLLS_PER_SECOND: f64 = 300.0;

/// Who sleeps in these is woken by somebody who has something for it.
const FED_IN: [&str; 5] = ["read", "recvfrom", "recvmsg", "accept", "accept4"];

/// So many wake-ups a second that find the GIL taken again.
const FUTILE_PER_SECOND: f64 = 1_000.0;
/// And so many of the sleeps for the GIL, in percent.
const FUTILE_PERCENT: f64 = 4.0;

/// Who runs less than this, in percent of its life,
const LITTLE_CPU_PERCENT: f64 = 25.0;
/// and less than one part in so many of what the busiest thread runs,
const LITTLE_PART: u64 = 4;
/// and waits for the GIL more than this,
const CONVOY_PERCENT: f64 = 5.0;
/// so often each second,
const CONVOY_WAITS_PER_SECOND: f64 = 2.0;
/// and for so long each time, on average, is in a convoy.
const CONVOY_WAIT_NS: u64 = 1_500_000;

/// Who runs, or waits for the GIL to run, so much of its life, in percent, wants to compute all the time.
const COMPUTES_PERCENT: f64 = 75.0;
/// And who waits so much of it, in percent, is held up.
const HELD_UP_PERCENT: f64 = 25.0;

/// Many threads look again and again whether there is something to do.
pub(super) fn idle_pollers(case: &Case<'_>) -> Option<Found> {
    let polls = |thread: &ThreadReport| {
        let for_gil = thread.gil.iter().map(|gil| gil.voluntary_switches);
        let for_gil = for_gil.fold(0, u64::saturating_add);
        thread.cpu.voluntary_switches.saturating_sub(for_gil)
    };
    let is_poller = |thread: &&ThreadReport| {
        let polls = polls(thread);
        let per_second = polls as f64 / (thread.observed_ns.max(1) as f64 / 1e9);
        per_second >= POLLS_PER_SECOND
            && thread.cpu.on_cpu_ns / polls.max(1) < POLL_NS
            && on_cpu_percent(thread) < POLLER_CPU_PERCENT
            && !is_fed(case, thread.tid)
    };
    let pollers: Vec<_> = case.process.threads.iter().filter(is_poller).collect();
    let all: u64 = pollers
        .iter()
        .map(|thread| polls(thread))
        .fold(0, u64::saturating_add);
    let per_second = case.per_second(all);
    if pollers.len() < POLLERS || per_second < ALL_POLLS_PER_SECOND {
        return None;
    }
    let switches = case
        .process
        .threads
        .iter()
        .map(|thread| thread.cpu.voluntary_switches);
    let switches = case.per_second(switches.fold(0, u64::saturating_add));
    let says = format!(
        "{} threads wake up {per_second:.0} times a second, {:.0} times each, to find nothing to do: the process switches {switches:.0} times a second.",
        pollers.len(),
        per_second / pollers.len() as f64,
    );
    let figures = vec![
        evidence("pollers", pollers.len() as f64),
        evidence("polls_per_second", per_second),
        evidence("voluntary_switches_per_second", switches),
    ];
    let suggestion = "Wait for work without a timeout (queue.get(), Condition.wait()), or poll seldom, or in one thread.";
    let threads: Vec<u32> = pollers.iter().map(|thread| thread.tid).collect();
    let place = case.ended_at(&threads);
    Some(Found::new(says, figures, suggestion).of(threads).at(place))
}

/// Whether a thread waits, at the end, for what others send. With a time limit CPython calls `poll` first (`Modules/socketmodule.c`, 3.12: `sock_call_impl`).
fn is_fed(case: &Case<'_>, tid: u32) -> bool {
    let threads = case.dump.map_or(&[][..], |dump| &dump.threads);
    let doing = threads.iter().find(|thread| thread.tid == tid);
    matches!(doing.map(|thread| thread.doing), Some(Doing::SystemCall { name: Some(name), .. }) if FED_IN.contains(&name))
}

/// Threads are woken for the GIL, and find it taken again.
pub(super) fn gil_thrash(case: &Case<'_>) -> Option<Found> {
    let futile = case
        .waits()
        .map(|waits| waits.futile_wakeups)
        .fold(0, u64::saturating_add);
    let sleeps = case
        .waits()
        .map(|waits| waits.voluntary_switches)
        .fold(0, u64::saturating_add);
    let (per_second, part) = (case.per_second(futile), percent(futile, sleeps));
    if per_second < FUTILE_PER_SECOND || part < FUTILE_PERCENT {
        return None;
    }
    let system = case
        .process
        .threads
        .iter()
        .filter_map(|thread| thread.cpu.system_ns);
    let system_ns = system.fold(0, u64::saturating_add);
    let says = format!(
        "{per_second:.0} times a second a thread was woken for the GIL and found it taken again ({part:.0} % of its sleeps); {} of system time.",
        seconds(system_ns),
    );
    let figures = vec![
        evidence("futile_wakeups_per_second", per_second),
        evidence("futile_percent", part),
        evidence("system_ns", system_ns as f64),
    ];
    let suggestion = "CPython 3.2 and later hand the GIL over; on 2.7 use fewer threads that compute, or processes, or a larger sys.setcheckinterval.";
    let threads = busiest(case);
    let place = case.blamed_at(|tid| threads.contains(&tid));
    Some(Found::new(says, figures, suggestion).of(threads).at(place))
}

/// The threads that run most of the time that any runs, busiest first.
fn busiest(case: &Case<'_>) -> Vec<u32> {
    let mut all: Vec<_> = case.process.threads.iter().collect();
    all.sort_by_key(|thread| (Reverse(thread.cpu.on_cpu_ns), thread.tid));
    let most_ns = all.first().map_or(0, |thread| thread.cpu.on_cpu_ns);
    let those = all
        .into_iter()
        .filter(|thread| thread.cpu.on_cpu_ns > most_ns / 2);
    those.map(|thread| thread.tid).collect()
}

/// Threads that do little wait behind those that compute, each time that they come back.
pub(super) fn convoy(case: &Case<'_>) -> Option<Found> {
    let ahead = busiest(case);
    let front = *ahead.first()?;
    let threads = &case.process.threads;
    let front_ns = threads
        .iter()
        .find(|thread| thread.tid == front)?
        .cpu
        .on_cpu_ns;
    let is_behind = |thread: &&ThreadReport| {
        let (waits, mean_ns) = mean(thread);
        let per_second = waits as f64 / (thread.observed_ns.max(1) as f64 / 1e9);
        on_cpu_percent(thread) < LITTLE_CPU_PERCENT
            && thread.cpu.on_cpu_ns < front_ns / LITTLE_PART
            && percent(thread.waited_ns(), thread.observed_ns) >= CONVOY_PERCENT
            && per_second >= CONVOY_WAITS_PER_SECOND
            && mean_ns >= CONVOY_WAIT_NS
    };
    let mut behind: Vec<_> = case.process.threads.iter().filter(is_behind).collect();
    behind.sort_by_key(|thread| (Reverse(thread.waited_ns()), thread.tid));
    let worst = behind.first()?;
    let share = percent(worst.waited_ns(), worst.observed_ns);
    let (count, mean_ns) = mean(worst);
    let says = format!(
        "{} that {} little waited behind {}: {} {share:.1} % of its life, {} each time ({count} waits).",
        match behind.len() {
            1 => "A thread".to_owned(),
            count => format!("{count} threads"),
        },
        match behind.len() {
            1 => "runs",
            _ => "run",
        },
        match ahead.len() {
            1 => called(case.process, front),
            count => format!("{count} that compute"),
        },
        called(case.process, worst.tid),
        seconds(mean_ns),
    );
    let figures = vec![
        evidence("threads_behind", behind.len() as f64),
        evidence("worst_waited_percent", share),
        evidence("worst_wait_mean_ns", mean_ns as f64),
    ];
    let suggestion = "Compute in other processes, or in native code that lets go of the GIL; sys.setswitchinterval makes each wait shorter, at a cost.";
    let place = case.blamed_at(|tid| ahead.contains(&tid));
    Some(Found::new(says, figures, suggestion).of(ahead).at(place))
}

/// Its finished waits, and how long they were on average.
fn mean(thread: &ThreadReport) -> (u64, u64) {
    let waits = thread.gil.iter().map(|gil| &gil.wait);
    let (count, sum_ns) = waits.fold((0_u64, 0_u64), |(count, sum_ns), wait| {
        let count = count.saturating_add(wait.count);
        (count, sum_ns.saturating_add(wait.sum_ns))
    });
    (count, sum_ns / count.max(1))
}

/// Threads that compute in Python, each of which could use a processor of its own, share one GIL.
pub(super) fn gil_bound(case: &Case<'_>) -> Option<Found> {
    let threads = case.process.threads.iter();
    let most_ns = threads.map(|thread| thread.cpu.on_cpu_ns).max()?;
    let wants = |thread: &&ThreadReport| {
        // Who runs little, and waits for the rest, does not compute.
        let computes = thread.cpu.on_cpu_ns >= most_ns / LITTLE_PART;
        let wanted_ns = thread.cpu.on_cpu_ns.saturating_add(thread.waited_ns());
        computes
            && percent(wanted_ns, thread.observed_ns) >= COMPUTES_PERCENT
            && percent(thread.waited_ns(), thread.observed_ns) >= HELD_UP_PERCENT
    };
    let mut threads: Vec<_> = case.process.threads.iter().filter(wants).collect();
    if threads.len() < 2 {
        return None;
    }
    threads.sort_by_key(|thread| (Reverse(thread.cpu.on_cpu_ns), thread.tid));
    let waited_ns = threads
        .iter()
        .map(|thread| thread.waited_ns())
        .fold(0, u64::saturating_add);
    let observed_ns = threads
        .iter()
        .map(|thread| thread.observed_ns)
        .fold(0, u64::saturating_add);
    let share = percent(waited_ns, observed_ns);
    let says = format!(
        "{} threads want to compute in Python all the time, and share one GIL: they waited {share:.1} % of their lives.",
        threads.len(),
    );
    let figures = vec![
        evidence("computing_threads", threads.len() as f64),
        evidence("waited_percent", share),
    ];
    let suggestion = "Compute in processes, in native code that lets go of the GIL, or on a free-threaded build (3.13+).";
    let threads: Vec<u32> = threads.iter().map(|thread| thread.tid).collect();
    let place = case.blamed_at(|tid| threads.contains(&tid));
    Some(Found::new(says, figures, suggestion).of(threads).at(place))
}
