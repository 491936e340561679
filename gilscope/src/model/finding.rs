//! What is wrong with a process, in words and figures.

use serde::Serialize;

/// What a finding says. `docs/report.md` tells when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Threads wait for each other, or for a lock that nobody will give back.
    Deadlock,
    /// A thread sleeps with the GIL held.
    AsleepWithGil,
    /// Collecting garbage takes a noticeable part of the time.
    GcPauses,
    /// A thread keeps the GIL for long, out of Python's reach.
    NativeHoldsGil,
    /// Many threads wake up again and again to find nothing to do.
    IdlePollers,
    /// Threads are woken for a GIL that is taken again before they run.
    GilThrash,
    /// Threads that do little wait behind threads that compute.
    Convoy,
    /// One function keeps the GIL.
    TightLoop,
    /// Threads that compute share one GIL.
    GilBound,
    /// There are too few processors for the threads that want to run.
    Oversubscribed,
    /// None of these.
    Healthy,
    /// Too little was seen to say.
    NotJudged,
}

/// A figure that a finding rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// What it is, with its unit.
    pub name: &'static str,
    /// It.
    pub value: f64,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which.
    pub rule: Rule,
    /// A sentence with the figures.
    pub says: String,
    /// The figures.
    pub evidence: Vec<Evidence>,
    /// What to do about it; `None` where nothing is to be done.
    pub suggestion: Option<&'static str>,
    /// The threads that are to blame, or that are stuck; 16 at most.
    pub threads: Vec<u32>,
    /// Where in Python that is, as an index in the process's stacks; `None` where it is not known, or in many places.
    pub stack: Option<usize>,
}
