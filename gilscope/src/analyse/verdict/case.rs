//! What the rules look at.

use super::rounded;
use crate::analyse::samples::{Doing, Samples};
use crate::model::{Dump, Evidence, Frame, GilWaits, ProcessReport, PythonStack, ThreadReport};
use std::collections::HashMap;

/// A process, as it was measured.
pub(super) struct Case<'a> {
    pub process: &'a ProcessReport,
    pub samples: &'a Samples,
    /// Its GILs are semaphores, whose waiters do not ask for them (2.7).
    pub is_semaphore: bool,
    /// Its threads at the end; `None` of one that has ended.
    pub dump: Option<&'a Dump>,
}

/// What a rule has found.
pub(super) struct Found {
    pub says: String,
    pub evidence: Vec<Evidence>,
    pub suggestion: &'static str,
    pub threads: Vec<u32>,
    pub stack: Option<PythonStack>,
}

/// A figure of a finding.
pub(super) fn evidence(name: &'static str, value: f64) -> Evidence {
    Evidence {
        name,
        value: rounded(value),
    }
}

impl Case<'_> {
    /// How long it was followed.
    pub fn observed_ns(&self) -> u64 {
        self.process.observed_ns
    }

    /// How often a second something happened.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / (self.observed_ns().max(1) as f64 / 1e9)
    }

    /// All waits of the threads that have rows.
    pub fn waits(&self) -> impl Iterator<Item = &GilWaits> {
        self.process.threads.iter().flat_map(|thread| &thread.gil)
    }

    /// Looks that saw a thread do this while it had a GIL, in percent of all.
    pub fn looks_percent(&self, looks: u64) -> f64 {
        super::percent(looks, self.samples.totals().taken)
    }

    /// Threads by how often they were seen to do this with a GIL, most often first.
    pub fn holders(&self, doing: Doing) -> Vec<u32> {
        let mut counts: HashMap<u32, u64> = HashMap::new();
        for (tid, did, _, count) in self.samples.places() {
            if did == doing {
                *counts.entry(tid).or_default() += count;
            }
        }
        let mut all: Vec<_> = counts.into_iter().collect();
        all.sort_by_key(|(tid, count)| (std::cmp::Reverse(*count), *tid));
        all.into_iter().map(|(tid, _)| tid).collect()
    }

    /// Where threads were seen most often to do this with a GIL.
    pub fn sampled_at(&self, doing: Doing) -> Option<PythonStack> {
        let all = self.samples.places().into_iter();
        let places = all.filter(|(_, did, ..)| *did == doing);
        most(places.map(|(_, _, stack, count)| (stack, count)))
    }

    /// Where those were that had the GIL while others waited, if `counts` for them; else where they were seen to have it.
    pub fn blamed_at(&self, counts: impl Fn(u32) -> bool) -> Option<PythonStack> {
        let rows = self.process.waited_at.iter();
        let rows = rows
            .filter(|row| row.holder.is_some_and(&counts))
            .filter_map(|row| {
                let stack = self.process.stacks.get(row.holder_stack?)?;
                Some((stack, row.sum_ns))
            });
        most(rows).or_else(|| {
            let places = self.samples.places().into_iter();
            let places = places.filter(|(tid, ..)| counts(*tid));
            most(places.map(|(_, _, stack, count)| (stack, count)))
        })
    }

    /// Where these threads were at the end, most of them.
    pub fn ended_at(&self, tids: &[u32]) -> Option<PythonStack> {
        let threads = self.dump.map_or(&[][..], |dump| &dump.threads);
        let those = threads.iter().filter(|thread| tids.contains(&thread.tid));
        let stacks = those.filter_map(|thread| thread.stacks.first());
        let stacks: Vec<_> = stacks.cloned().map(PythonStack::from).collect();
        most(stacks.iter().map(|stack| (stack, 1)))
    }
}

/// Of the function that has the most, the stack that has.
fn most<'a>(all: impl Iterator<Item = (&'a PythonStack, u64)>) -> Option<PythonStack> {
    fn function(frame: &Frame) -> (&str, &str) {
        (
            &frame.file,
            frame.qualified_name.as_ref().unwrap_or(&frame.name),
        )
    }
    let mut functions: HashMap<_, u64> = HashMap::new();
    let mut stacks: HashMap<&PythonStack, u64> = HashMap::new();
    for (stack, sum) in all {
        if let Some(first) = stack.frames.first() {
            *functions.entry(function(first)).or_default() += sum;
            *stacks.entry(stack).or_default() += sum;
        }
    }
    let key = |stack: &PythonStack, sum: u64| {
        let of_function = stack.frames.first().map(function);
        let all = of_function.and_then(|one| functions.get(&one).copied());
        (all, sum, std::cmp::Reverse(format!("{stack:?}")))
    };
    let best = stacks.iter().max_by_key(|(stack, sum)| key(stack, **sum));
    best.map(|(stack, _)| (*stack).clone())
}

/// Time on the CPU in percent of the time that a thread was followed.
pub(super) fn on_cpu_percent(thread: &ThreadReport) -> f64 {
    super::percent(thread.cpu.on_cpu_ns, thread.observed_ns)
}

/// Its id and name, as a sentence names it.
pub(super) fn called(process: &ProcessReport, tid: u32) -> String {
    let thread = process.threads.iter().find(|thread| thread.tid == tid);
    let name = thread.and_then(|thread| thread.name.as_ref().or(thread.os_name.as_ref()));
    match name {
        Some(name) => format!("thread {tid} ({name})"),
        None => format!("thread {tid}"),
    }
}

impl Found {
    /// Nothing more than words and figures.
    pub fn new(says: String, evidence: Vec<Evidence>, suggestion: &'static str) -> Found {
        Found {
            says,
            evidence,
            suggestion,
            threads: Vec::new(),
            stack: None,
        }
    }

    /// With the threads to blame.
    pub fn of(self, threads: Vec<u32>) -> Found {
        Found { threads, ..self }
    }

    /// With the place to blame.
    pub fn at(self, stack: Option<PythonStack>) -> Found {
        Found { stack, ..self }
    }
}
