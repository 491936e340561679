//! What is wrong with a process: rules with names, each with its evidence.
//!
//! [`RULES`] is the list, most important first; a rule is a function of a [`Case`] in the file of its kind: [`stuck`] of threads that cannot go
//! on, [`holder`] of what the one does that has the GIL, [`waiters`] of those that wait for it, [`processors`] of what the machine has.

mod case;
mod holder;
mod processors;
mod stuck;
mod waiters;

use self::case::{Case, Found};
use super::samples::Samples;
use crate::model::{Dump, Evidence, Finding, HeldAt, ProcessReport, PythonStack, Rule};

/// A process that was followed for less is not judged.
const MIN_OBSERVED_NS: u64 = 500_000_000;
/// Threads that a finding names.
const MAX_THREADS: usize = 16;
/// Places that the report names.
const MAX_HELD_AT: usize = 100;

/// Whether a rule has found what it is about.
type Check = fn(&Case<'_>) -> Option<Found>;

/// The rules, most important first.
const RULES: [(Rule, Check); 10] = [
    (Rule::Deadlock, stuck::deadlock),
    (Rule::AsleepWithGil, holder::asleep_with_gil),
    (Rule::GcPauses, holder::gc_pauses),
    (Rule::NativeHoldsGil, holder::native_holds_gil),
    (Rule::IdlePollers, waiters::idle_pollers),
    (Rule::GilThrash, waiters::gil_thrash),
    (Rule::Convoy, waiters::convoy),
    (Rule::TightLoop, holder::tight_loop),
    (Rule::GilBound, waiters::gil_bound),
    (Rule::Oversubscribed, processors::oversubscribed),
];

/// Completes the report of a process: who had its GILs when, and what is wrong with it. `is_semaphore`: its GILs are semaphores (2.7). `dump`:
/// how its threads were at the end.
pub fn judge(
    process: &mut ProcessReport,
    samples: &Samples,
    is_semaphore: bool,
    dump: Option<&Dump>,
) {
    process.gil_samples = samples.totals();
    for (holder, _, stack, samples) in samples.places() {
        if process.held_at.len() == MAX_HELD_AT {
            break;
        }
        let stack = index_of(process, stack.clone());
        let known = process.held_at.iter_mut();
        let mut known = known.filter(|row| (row.holder, row.stack) == (holder, stack));
        match known.next() {
            Some(row) => row.samples += samples,
            None => process.held_at.push(HeldAt {
                holder,
                stack,
                samples,
            }),
        }
    }
    let case = Case {
        process,
        samples,
        is_semaphore,
        dump,
    };
    let found = RULES
        .iter()
        .filter_map(|(rule, check)| Some((*rule, check(&case)?)));
    let found: Vec<_> = found.collect();
    let nothing = found.is_empty().then(|| nothing(process));
    for (rule, found) in found {
        let stack = found.stack.map(|stack| index_of(process, stack));
        let mut threads = found.threads;
        threads.truncate(MAX_THREADS);
        process.findings.push(Finding {
            rule,
            says: found.says,
            evidence: found.evidence,
            suggestion: Some(found.suggestion),
            threads,
            stack,
        });
    }
    process.findings.extend(nothing);
}

/// Where this stack is among the process's, which has it from now on.
fn index_of(process: &mut ProcessReport, stack: PythonStack) -> usize {
    let known = process.stacks.iter().position(|one| *one == stack);
    known.unwrap_or_else(|| {
        process.stacks.push(stack);
        process.stacks.len() - 1
    })
}

/// No rule has found anything.
fn nothing(process: &ProcessReport) -> Finding {
    let is_short = process.observed_ns < MIN_OBSERVED_NS;
    let contended = percent(process.contended_ns, process.observed_ns);
    let (traced, not_traced) = (process.gils.len(), process.gils_not_traced);
    let (rule, says) = match (is_short, traced, not_traced) {
        (true, ..) => (
            Rule::NotJudged,
            format!(
                "It was followed for {} only, which is too short to say.",
                seconds(process.observed_ns)
            ),
        ),
        (_, 0, 0) => (
            Rule::NotJudged,
            "No GIL was found in it, so nothing can be said of it.".to_owned(),
        ),
        (_, _, 1..) => (
            Rule::NotJudged,
            format!(
                "There was no room for {not_traced} of its GILs, so nothing can be said of them."
            ),
        ),
        _ => (
            Rule::Healthy,
            format!(
                "Threads waited for the GIL {contended:.1} % of the time; none of what gilscope looks for was found."
            ),
        ),
    };
    Finding {
        rule,
        says,
        evidence: vec![Evidence {
            name: "contended_percent",
            value: rounded(contended),
        }],
        suggestion: None,
        threads: Vec::new(),
        stack: None,
    }
}

/// A part of a whole, in percent; 0 of nothing.
fn percent(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64 * 100.0,
    }
}

/// A figure to a thousandth.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// A time in words.
fn seconds(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests;
