//! From raw calls to exact figures.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    ops::Range,
};

use serde::Serialize;

use crate::{
    holders::{BlockedBy, blocked_by},
    record::{Call, DROP, TAKE, counts},
    trace::Run,
};

/// Exact figures of a set of lengths; quantiles by nearest rank.
#[derive(Serialize)]
pub struct Lengths {
    count: u64,
    sum_ns: u64,
    max_ns: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    /// The quantiles 0.5 % of the ranks below and above p50: what it is if so many lengths more or less are in one half.
    p50_near_ns: [u64; 2],
    /// The same of p99, by 0.1 %.
    p99_near_ns: [u64; 2],
    /// What the longest becomes by one wrong step: cut in two, it is the second; the two taken for one, it is their sum.
    max_near_ns: [u64; 2],
    /// How much of all of them one that looks by other programs at the same instants may see differently: the thread was
    /// preempted between the two programs.
    disturbed_ns: u64,
    /// The least and the most that the longest is to such a one.
    max_disturbed_ns: [u64; 2],
}

impl Lengths {
    fn of(mut lengths: Vec<u64>) -> Self {
        lengths.sort_unstable();
        let rank = |per_mille: usize| {
            let index = (lengths.len() * per_mille).div_ceil(1000).saturating_sub(1);
            lengths.get(index).copied().unwrap_or(0)
        };
        let mut longest = lengths.iter().rev().copied();
        let [max_ns, second_ns] = [longest.next(), longest.next()].map(Option::unwrap_or_default);
        Self {
            count: lengths.len() as u64,
            sum_ns: lengths.iter().sum(),
            max_ns,
            p50_ns: rank(500),
            p90_ns: rank(900),
            p99_ns: rank(990),
            p50_near_ns: [rank(495), rank(505)],
            p99_near_ns: [rank(989), rank(991)],
            max_near_ns: [second_ns, max_ns + second_ns],
            disturbed_ns: 0,
            max_disturbed_ns: [max_ns; 2],
        }
    }

    /// Each with how much of it may be seen differently.
    fn of_disturbed(lengths: &[(u64, u64)]) -> Self {
        let least = lengths
            .iter()
            .map(|(ns, off_ns)| ns.saturating_sub(*off_ns));
        let most = lengths.iter().map(|(ns, off_ns)| ns + off_ns);
        Self {
            disturbed_ns: lengths.iter().map(|(_, off_ns)| off_ns).sum(),
            max_disturbed_ns: [least.max().unwrap_or(0), most.max().unwrap_or(0)],
            ..Self::of(lengths.iter().map(|(ns, _)| *ns).collect())
        }
    }
}

/// The figures of one thread or process.
#[derive(Serialize)]
pub struct Waits {
    /// Calls of `take_gil` that returned, contended or not.
    take_gil_calls: u64,
    /// Contended `take_gil`, from entry to return.
    take_gil: Lengths,
    /// Those that left the CPU asleep: from the first time off it to the last time back on it.
    asleep: Lengths,
    /// Those that called `FUTEX_WAIT*`: from the first such call's entry to the last one's exit. By `--futex-view`.
    futex: Option<Lengths>,
    /// Contended calls that entered a timed wait.
    timed_wait: u64,
    /// Contended calls that entered none, but left the CPU asleep: on the mutex.
    mutex_only: u64,
    /// Calls, not counted as contended, that were only preempted: they waited for a CPU, not for the GIL.
    preempted_only: u64,
    /// `drop_gil` that waited for another to take the GIL, the forced switch: from that wait's entry to the return. By
    /// `--yields`.
    forced_switch: Lengths,
    /// The same by its futex calls, as in `futex`. By `--futex-view` too.
    forced_switch_futex: Option<Lengths>,
}

impl Waits {
    fn of(calls: &[&Call], take_gil_calls: u64, futex_view: bool) -> Self {
        let lengths = |kind: u32, of: fn(&Call) -> Option<u64>| {
            let wanted = calls
                .iter()
                .filter(|call| call.kind == kind && contended(call));
            let lengths: Vec<_> = wanted
                .filter_map(|call| Some((of(call)?, call.disturbed_ns)))
                .collect();
            Lengths::of_disturbed(&lengths)
        };
        let count = |test: fn(&Call) -> bool| {
            calls
                .iter()
                .filter(|call| call.kind == TAKE && test(call))
                .count() as u64
        };
        Self {
            take_gil_calls,
            take_gil: lengths(TAKE, |call| between(call.start_ns, call.end_ns)),
            asleep: lengths(TAKE, |call| between(call.first_off_ns, call.last_on_ns)),
            futex: futex_view.then(|| lengths(TAKE, futex)),
            timed_wait: count(|call| call.cond_waits > 0),
            mutex_only: count(|call| call.cond_waits == 0 && call.voluntary > 0),
            preempted_only: count(|call| !contended(call) && call.involuntary > 0),
            forced_switch: lengths(DROP, |call| between(call.first_cond_wait_ns, call.end_ns)),
            forced_switch_futex: futex_view.then(|| lengths(DROP, futex)),
        }
    }
}

/// `take_gil`: it entered a timed wait, or left the CPU asleep, inside. `drop_gil`: it entered a wait.
fn contended(call: &Call) -> bool {
    call.cond_waits > 0 || (call.kind == TAKE && call.voluntary > 0)
}

/// Where the condvar and the mutex of the forced switch lie behind the GIL's mutex (`struct _gil_runtime_state`, CPython 3.7 to 3.15: `mutex`,
/// `switch_cond`, `switch_mutex`; x86-64 glibc and musl: 40, 48 and 40 bytes).
const SWITCH: Range<u64> = 40..128;

/// The GILs' mutexes, as far as a timed wait has told them.
fn mutexes(calls: &[&Call]) -> BTreeSet<u64> {
    let timed = calls
        .iter()
        .filter(|call| call.kind == TAKE && call.mutex != 0);
    timed.map(|call| call.mutex).collect()
}

/// `take_gil` that found the GIL free, and slept only on what belongs to the forced switch, as the one that gives way was just about to wait there: no
/// wait for the GIL.
fn is_for_the_switch(call: &Call, mutexes: &BTreeSet<u64>) -> bool {
    let behind = |mutex: &u64| SWITCH.contains(&call.futex.plain_addr.wrapping_sub(*mutex));
    call.kind == TAKE && call.cond_waits == 0 && mutexes.iter().any(behind)
}

fn futex(call: &Call) -> Option<u64> {
    between(call.futex.first_enter_ns, call.futex.last_exit_ns)
}

/// 0 stands for "never".
fn between(first_ns: u64, last_ns: u64) -> Option<u64> {
    if first_ns == 0 {
        None
    } else {
        last_ns.checked_sub(first_ns)
    }
}

#[derive(Serialize)]
struct Thread {
    tid: u32,
    /// Inside `take_gil` since then when tracing ended; not in the figures.
    unfinished_since_ns: Option<u64>,
    #[serde(flatten)]
    waits: Waits,
}

#[derive(Serialize)]
struct Process {
    pid: u32,
    #[serde(flatten)]
    waits: Waits,
    threads: Vec<Thread>,
    /// By `--holders`, where it can be told.
    blocked_by: Option<Vec<BlockedBy>>,
}

#[derive(Serialize)]
struct Probe {
    module: String,
    symbol: String,
    offset: u64,
}

/// What the oracle says; its JSON.
#[derive(Serialize)]
pub struct Verdict {
    /// The time traced, in `CLOCK_MONOTONIC`.
    first_ns: u64,
    last_ns: u64,
    records_lost: u64,
    untracked_calls: u64,
    unreturned_calls: u64,
    programs_missed: u64,
    probes: Vec<Probe>,
    processes: Vec<Process>,
}

impl Verdict {
    /// Judges a run.
    pub fn new(run: &Run, pids: &[u32], futex_view: bool, holders: bool) -> Self {
        let count = |index: u32| run.counts.get(index as usize).copied().unwrap_or(0);
        let probe = |place: &crate::symbols::Place| Probe {
            module: place.module.clone(),
            symbol: place.symbol.clone(),
            offset: place.offset,
        };
        Self {
            first_ns: run.window_ns.0,
            last_ns: run.window_ns.1,
            records_lost: count(counts::RECORDS_LOST),
            untracked_calls: count(counts::UNTRACKED),
            unreturned_calls: count(counts::UNRETURNED),
            programs_missed: run.programs_missed,
            probes: run.places.iter().map(probe).collect(),
            processes: pids
                .iter()
                .map(|&pid| Process::of(run, pid, futex_view, holders))
                .collect(),
        }
    }
}

impl Process {
    fn of(run: &Run, pid: u32, futex_view: bool, holders: bool) -> Self {
        let mine: Vec<_> = run.calls.iter().filter(|call| call.tgid == pid).collect();
        let mutexes = mutexes(&mine);
        let waits = mine.iter().copied();
        let waits: Vec<_> = waits
            .filter(|call| !is_for_the_switch(call, &mutexes))
            .collect();
        let mut by_thread: BTreeMap<u32, Vec<&Call>> = BTreeMap::new();
        for call in &waits {
            by_thread.entry(call.tid).or_default().push(call);
        }
        let mut threads = Vec::new();
        let mut all_calls = 0;
        for (&tid, state) in run
            .threads
            .iter()
            .filter(|(_, state)| state.call.tgid == pid)
        {
            all_calls += state.takes;
            let calls = by_thread.remove(&tid).unwrap_or_default();
            threads.push(Thread {
                tid,
                unfinished_since_ns: run.unfinished.get(&tid).copied(),
                waits: Waits::of(&calls, state.takes, futex_view),
            });
        }
        Self {
            pid,
            waits: Waits::of(&waits, all_calls, futex_view),
            threads,
            blocked_by: holders.then(|| blocked_by(&mine)).flatten(),
        }
    }
}

/// Writes every call as CSV, for analysis elsewhere.
pub fn write_samples(calls: &[Call], mut out: impl Write) -> io::Result<()> {
    writeln!(
        out,
        "tgid,tid,kind,start_ns,end_ns,cond_waits,voluntary,involuntary,first_cond_wait_ns,first_off_ns,last_on_ns,\
         cond,mutex,first_enter_ns,last_exit_ns,first_sleep_ns,last_wake_ns,sleep_ns,cond_sleeps,plain_sleeps,\
         other_sleeps,refused,plain_addr,other_addr"
    )?;
    for c in calls {
        let f = &c.futex;
        let kind = if c.kind == DROP { "drop" } else { "take" };
        writeln!(
            out,
            "{},{},{kind},{},{},{},{},{},{},{},{},{:#x},{:#x},{},{},{},{},{},{},{},{},{},{:#x},{:#x}",
            c.tgid,
            c.tid,
            c.start_ns,
            c.end_ns,
            c.cond_waits,
            c.voluntary,
            c.involuntary,
            c.first_cond_wait_ns,
            c.first_off_ns,
            c.last_on_ns,
            c.cond,
            c.mutex,
            f.first_enter_ns,
            f.last_exit_ns,
            f.first_sleep_ns,
            f.last_wake_ns,
            f.sleep_ns,
            f.cond_sleeps,
            f.plain_sleeps,
            f.other_sleeps,
            f.refused,
            f.plain_addr,
            f.other_addr
        )?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Futex;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let lengths = Lengths::of((1..=200).rev().collect());
        assert_eq!(
            (lengths.count, lengths.sum_ns, lengths.max_ns),
            (200, 20_100, 200)
        );
        assert_eq!(
            (lengths.p50_ns, lengths.p90_ns, lengths.p99_ns),
            (100, 180, 198)
        );
        let many = Lengths::of((1..=1000).collect());
        assert_eq!(
            (many.p50_near_ns, many.p99_near_ns, many.max_near_ns),
            ([495, 505], [989, 991], [999, 1_999])
        );
        let one = Lengths::of(vec![7]);
        assert_eq!((one.p50_ns, one.p99_ns, one.max_ns), (7, 7, 7));
        assert_eq!(Lengths::of(Vec::new()).p99_ns, 0);
        let disturbed = Lengths::of_disturbed(&[(900, 300), (700, 0), (650, 400)]);
        assert_eq!(
            (
                disturbed.max_ns,
                disturbed.disturbed_ns,
                disturbed.max_disturbed_ns
            ),
            (900, 700, [700, 1_200])
        );
    }

    #[test]
    fn a_preempted_call_is_not_contended() {
        let preempted = Call {
            start_ns: 1,
            end_ns: 9_000,
            involuntary: 1,
            ..Call::default()
        };
        let asleep = Call {
            start_ns: 1_000,
            end_ns: 9_000,
            voluntary: 1,
            first_off_ns: 2_000,
            last_on_ns: 8_000,
            ..Call::default()
        };
        let waits = Waits::of(&[&preempted, &asleep], 5, false);
        assert_eq!(
            (
                waits.take_gil.count,
                waits.take_gil.sum_ns,
                waits.preempted_only
            ),
            (1, 8_000, 1)
        );
        assert_eq!(
            (waits.asleep.sum_ns, waits.mutex_only, waits.timed_wait),
            (6_000, 1, 0)
        );
    }

    #[test]
    fn the_mutex_of_the_forced_switch_is_no_wait_for_the_gil() {
        let on = |plain_addr, cond_waits| Call {
            cond_waits,
            mutex: u64::from(cond_waits) * 0x3e0,
            voluntary: 1,
            futex: Futex {
                plain_addr,
                ..Futex::default()
            },
            ..Call::default()
        };
        // Of musl's mutexes the second word is slept on.
        let calls = [on(0, 1), on(0x3e4, 0), on(0x43c, 0), on(0x43c, 1)];
        let mutexes = mutexes(&calls.iter().collect::<Vec<_>>());
        let told = calls.map(|call| is_for_the_switch(&call, &mutexes));
        assert_eq!(told, [false, false, true, false]);
    }

    #[test]
    fn the_mutex_of_drop_gil_is_no_forced_switch() {
        let mutex = Call {
            kind: DROP,
            end_ns: 9_000,
            voluntary: 1,
            ..Call::default()
        };
        let switch = Call {
            kind: DROP,
            start_ns: 1,
            first_cond_wait_ns: 2_000,
            end_ns: 9_000,
            cond_waits: 1,
            ..Call::default()
        };
        let waits = Waits::of(&[&mutex, &switch], 0, false);
        assert_eq!(
            (waits.forced_switch.count, waits.forced_switch.sum_ns),
            (1, 7_000)
        );
        assert_eq!(waits.take_gil.count, 0);
    }
}
