//! What the one does that has the GIL.

use super::case::{Case, Found, called, evidence};
use super::{percent, seconds};
use crate::analyse::samples::Doing;
use crate::model::{BlockedBy, NativeFunction};
use std::collections::{BTreeMap, HashMap};

/// Looks that say so, in percent, and how many at least.
const LOOKS_PERCENT: f64 = 10.0;
const LOOKS: u64 = 3;
/// Time in which at least one thread waited, in percent: below, what the holder does hinders nobody.
const CONTENDED_PERCENT: f64 = 5.0;
/// Who runs Python gives the GIL away 5 ms after it was asked to (`Python/ceval_gil.h`, 3.12: `DEFAULT_INTERVAL`); so long on end on the CPU it does
/// not, on average.
const NATIVE_NS: u64 = 20_000_000;
/// The same on 2.7, which counts no time, by the mean wait: 100 bytecodes are over much sooner (`Python/ceval.c`, 2.7.18: `_Py_CheckInterval`).
const NATIVE_WAIT_NS: u64 = 50_000_000;
/// A native function is named if it has so many percent of the samples, and so many of them at least.
const SAMPLES_PERCENT: f64 = 25.0;
const SAMPLES: u64 = 5;
/// And a waiter is then woken once for each of its waits, nearly.
const FUTILE_WAKEUPS: f64 = 2.0;
/// A function that keeps the GIL is seen in so many of the looks, in percent,
const LOOP_PERCENT: f64 = 75.0;
/// so often on end: functions that are called in turn may be seen in turn,
const LOOP_LOOKS: u64 = 15;
/// for so long,
const LOOP_NS: u64 = 1_000_000_000;
/// and for so much of the trace, in percent.
const LOOP_OF_ALL_PERCENT: f64 = 25.0;

/// A thread sleeps with the GIL held, and others wait for it.
pub(super) fn asleep_with_gil(case: &Case<'_>) -> Option<Found> {
    let asleep = case.samples.totals().asleep;
    let looks = case.looks_percent(asleep);
    let contended = percent(case.process.contended_ns, case.observed_ns());
    if asleep < LOOKS || looks < LOOKS_PERCENT || contended < CONTENDED_PERCENT {
        return None;
    }
    let threads = case.holders(Doing::Asleep);
    let longest = case.process.asleep_with_gil.first();
    let call = longest
        .and_then(|row| row.syscall)
        .map_or(String::new(), |call| format!(", mostly in {call}"));
    let says = format!(
        "{} slept with the GIL held in {looks:.0} % of the looks at it{call}; others waited for it {contended:.1} % of the time.",
        first(case, &threads),
    );
    let asleep_ns = case.process.asleep_with_gil.iter().map(|row| row.sum_ns);
    let figures = vec![
        evidence("asleep_looks_percent", looks),
        evidence("contended_percent", contended),
        evidence(
            "waited_while_asleep_ns",
            asleep_ns.fold(0, u64::saturating_add) as f64,
        ),
    ];
    let suggestion = "Let go of the GIL around the call: CDLL in the place of PyDLL, Py_BEGIN_ALLOW_THREADS in C, nogil in Cython.";
    let place = case.sampled_at(Doing::Asleep);
    Some(Found::new(says, figures, suggestion).of(threads).at(place))
}

/// Much of the time goes into the garbage collector, which keeps the GIL, and others wait for it.
pub(super) fn gc_pauses(case: &Case<'_>) -> Option<Found> {
    let collecting = case.samples.totals().collecting?;
    let looks = case.looks_percent(collecting);
    let contended = percent(case.process.contended_ns, case.observed_ns());
    if collecting < LOOKS || looks < LOOKS_PERCENT || contended < CONTENDED_PERCENT {
        return None;
    }
    let threads = case.holders(Doing::Collecting);
    let says = format!(
        "{} was collecting garbage, with the GIL held, in {looks:.0} % of the looks at it; others waited for it {contended:.1} % of the time.",
        first(case, &threads),
    );
    let mut figures = vec![
        evidence("collecting_looks_percent", looks),
        evidence("contended_percent", contended),
    ];
    if let Some(collections) = &case.process.collections {
        let [_, _, full] = collections.generations;
        figures.push(evidence("generation_2_collections", full.count as f64));
    }
    let suggestion = "Collect less often (gc.set_threshold), and leave out what stays (gc.freeze after start-up); make fewer objects in cycles.";
    let place = case.sampled_at(Doing::Collecting);
    Some(Found::new(says, figures, suggestion).of(threads).at(place))
}

/// A thread is on the CPU with the GIL for longer than the interpreter would have it.
pub(super) fn native_holds_gil(case: &Case<'_>) -> Option<Found> {
    let contended = percent(case.process.contended_ns, case.observed_ns());
    // That is native code too, and has a rule of its own.
    let collecting = case.samples.totals().collecting.unwrap_or(0);
    if contended < CONTENDED_PERCENT || case.looks_percent(collecting) >= LOOKS_PERCENT {
        return None;
    }
    let (threads, kept_ns) = match case.is_semaphore {
        true => by_waits(case)?,
        false => by_holders(case)?,
    };
    let is_blamed = |tid| threads.contains(&tid);
    let place = case.blamed_at(is_blamed);
    let says = format!(
        "{} keeps the GIL for {} on average while others ask for it: native code that does not let go of it{}. They waited {contended:.1} % of the time.",
        first(case, &threads),
        seconds(kept_ns),
        native(case, &threads),
    );
    let figures = vec![
        evidence("kept_mean_ns", kept_ns as f64),
        evidence("contended_percent", contended),
    ];
    let suggestion = "Let go of the GIL in that function, or call it in another process.";
    Some(Found::new(says, figures, suggestion).of(threads).at(place))
}

/// The native function that these threads were seen in most often and which one Python called for it, as a part of a sentence, if that is much of
/// what was seen at all.
fn native(case: &Case<'_>, threads: &[u32]) -> String {
    let taken = case
        .process
        .on_cpu_samples
        .map_or(0, |samples| samples.taken);
    let rows = case.process.native_at.iter();
    let rows: Vec<_> = rows.filter(|row| threads.contains(&row.holder)).collect();
    let Some((at, samples)) = most_seen(rows.iter().map(|row| (&row.at, row.samples))) else {
        return String::new();
    };
    let seen = percent(samples, taken);
    if samples < SAMPLES || seen < SAMPLES_PERCENT {
        return String::new();
    }
    let of_it = rows.iter().filter(|row| row.at == *at);
    let callers = of_it.flat_map(|row| &row.callers);
    let by_python = callers.filter_map(|it| Some((it.functions.last()?, it.samples)));
    let caller = most_seen(by_python).filter(|(_, called)| called * 2 >= samples);
    let caller = caller.map_or(String::new(), |(caller, _)| {
        format!(", called from {}", named(caller))
    });
    format!(" ({}{caller} in {seen:.0} % of {taken} samples)", named(at))
}

/// The function that most samples are of.
fn most_seen<'a>(
    rows: impl Iterator<Item = (&'a NativeFunction, u64)>,
) -> Option<(&'a NativeFunction, u64)> {
    let mut sums: BTreeMap<_, u64> = BTreeMap::new();
    for (function, samples) in rows {
        *sums.entry(function).or_default() += samples;
    }
    sums.into_iter().max_by_key(|(_, samples)| *samples)
}

fn named(function: &NativeFunction) -> String {
    let name = function.function.as_ref();
    let name = name.map_or(String::new(), |name| format!(" {name}"));
    format!("{}{name}", function.library)
}

/// The holders that kept the GIL on the CPU, and for how long on end, on average.
fn by_holders(case: &Case<'_>) -> Option<(Vec<u32>, u64)> {
    let mut sums: HashMap<u32, (u64, u64, u64)> = HashMap::new();
    for row in &case.process.blocked_by {
        let BlockedBy {
            count,
            sum_ns,
            on_cpu_ns,
            ..
        } = *row;
        let (all, all_ns, all_on_cpu_ns) = sums.entry(row.holder).or_default();
        *all = all.saturating_add(count);
        *all_ns = all_ns.saturating_add(sum_ns);
        *all_on_cpu_ns = all_on_cpu_ns.saturating_add(on_cpu_ns);
    }
    let kept = sums
        .into_iter()
        .filter_map(|(tid, (count, sum_ns, on_cpu_ns))| {
            let mean_ns = on_cpu_ns / count.max(1);
            let is_long =
                mean_ns >= NATIVE_NS && percent(sum_ns, case.observed_ns()) >= CONTENDED_PERCENT;
            is_long.then_some((on_cpu_ns, tid, mean_ns))
        });
    let mut kept: Vec<_> = kept.collect();
    kept.sort_unstable_by(|one, other| other.cmp(one));
    let mean_ns = kept.first()?.2;
    Some((kept.into_iter().map(|(_, tid, _)| tid).collect(), mean_ns))
}

/// The same by the waits alone: who waits for a semaphore sees who has it only as it is released.
fn by_waits(case: &Case<'_>) -> Option<(Vec<u32>, u64)> {
    let count = case.process.gil_wait.count;
    let mean_ns = case.process.gil_wait.sum_ns / count.max(1);
    let futile = case.waits().map(|waits| waits.futile_wakeups);
    let futile = futile.fold(0, u64::saturating_add) as f64 / count.max(1) as f64;
    let is_asleep = case.looks_percent(case.samples.totals().asleep) >= LOOKS_PERCENT;
    let is_long = mean_ns >= NATIVE_WAIT_NS && futile < FUTILE_WAKEUPS && !is_asleep;
    (count > 0 && is_long).then(|| (case.holders(Doing::Running), mean_ns))
}

/// One function has the GIL nearly all the time.
pub(super) fn tight_loop(case: &Case<'_>) -> Option<Found> {
    let stretch = case.samples.longest()?;
    let length_ns = stretch.ended_ns.saturating_sub(stretch.began_ns);
    let looks = percent(stretch.samples, stretch.looks);
    let of_all = percent(length_ns, case.observed_ns());
    let is_seldom = looks < LOOP_PERCENT || stretch.samples < LOOP_LOOKS;
    if is_seldom || length_ns < LOOP_NS || of_all < LOOP_OF_ALL_PERCENT {
        return None;
    }
    let place = case.samples.place_of(stretch).cloned();
    let says = format!(
        "{} was in one function, with the GIL, in {looks:.0} % of the looks in {}: a loop that does not end.",
        capital(&called(case.process, stretch.tid)),
        seconds(length_ns),
    );
    let figures = vec![
        evidence("loop_looks_percent", looks),
        evidence("loop_ns", length_ns as f64),
    ];
    let suggestion = "Look at that loop's condition; if it is meant to compute for so long, do that in another process.";
    Some(
        Found::new(says, figures, suggestion)
            .of(vec![stretch.tid])
            .at(place),
    )
}

/// The first of these threads, at the beginning of a sentence.
fn first(case: &Case<'_>, threads: &[u32]) -> String {
    match threads.first() {
        Some(tid) => capital(&called(case.process, *tid)),
        None => "A thread".to_owned(),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}
