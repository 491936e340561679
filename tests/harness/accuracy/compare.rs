//! Two reports of one run, and what the differences are worth.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, Result};

use super::{
    Holders, JUDGED_FROM,
    report::{Figures, Gilscope, Oracle},
};

/// Fewer waits than this say nothing at all.
const NOTHING_BELOW: u64 = 100;

/// How far apart two programs on the same tracepoint may see the ends of a forced switch, in the mean (0.4 – 0.6 µs measured).
const FORCED_SWITCH_NS: u64 = 1_000;

/// How far apart they may see those of a wait: no percentile is judged finer. Only in CPython 2.7 is half of the waits
/// shorter than twenty times that.
const RESOLUTION_NS: u64 = 200;

/// One of the figures that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// How many waits.
    Count,
    /// Their time.
    Sum,
    /// Median.
    P50,
    /// 99th percentile.
    P99,
    /// The longest.
    Max,
}

impl Figure {
    /// All, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Count, Self::Sum, Self::P50, Self::P99, Self::Max];
    /// Those that one wait does not decide.
    const BUT_LONGEST: [Self; 4] = [Self::Count, Self::Sum, Self::P50, Self::P99];
    /// Those that need no distribution.
    const TOTALS: [Self; 2] = [Self::Count, Self::Sum];

    /// The share by which gilscope may be off.
    pub const fn bound(self) -> f64 {
        match self {
            Self::Count => 0.03,
            Self::Sum => 0.02,
            Self::P50 | Self::P99 | Self::Max => 0.05,
        }
    }

    fn of(self, figures: &Figures) -> Option<u64> {
        match self {
            Self::Count => Some(figures.count),
            Self::Sum => Some(figures.sum_ns),
            Self::P50 => figures.p50_ns,
            Self::P99 => figures.p99_ns,
            Self::Max => Some(figures.max_ns),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "waits",
            Self::Sum => "total wait",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Max => "max",
        })
    }
}

/// The same waits as the two saw them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pair {
    /// The truth: by the futex calls inside the function.
    pub oracle: Figures,
    /// The same waits by the whole function. There where gilscope measures a part of it that contains the futex calls: each of
    /// its waits lies between the two then.
    pub whole: Option<Figures>,
    /// What is judged.
    pub gilscope: Figures,
    /// A longest wait may be wrong by one step of [`Figures::max_near_ns`].
    pub by_guesses: bool,
}

impl Pair {
    /// By what share of the oracle's figure gilscope's is too high, or higher than allowed by [`Pair::whole`]; nothing where one of
    /// them has none.
    pub fn error(&self, figure: Figure) -> Option<f64> {
        let (truth, said) = (figure.of(&self.oracle)?, figure.of(&self.gilscope)?);
        let whole = self.whole.as_ref().and_then(|whole| figure.of(whole));
        let nearest = match whole {
            Some(whole) if figure != Figure::Count => said.clamp(truth, whole.max(truth)),
            _ => truth,
        };
        (truth > 0).then(|| (said as f64 - nearest as f64) / truth as f64)
    }

    /// Whether the error is within its bound. The 99th percentile of 1,000 waits is the tenth longest: one wait more or less,
    /// or another way to round a rank, makes it its neighbour, which may be far. So a percentile has to be off from those
    /// next to it as well. The two tracers' programs see each instant one after the other: up to [`RESOLUTION_NS`] is no error
    /// of a percentile, up to `mean_ns` for each interval none of their sum; nor is it if the thread was preempted in between.
    fn is_within(&self, figure: Figure, mean_ns: u64) -> bool {
        let near = |figures: &Figures| match figure {
            Figure::P50 => figures.p50_near_ns,
            Figure::P99 => figures.p99_near_ns,
            Figure::Max if self.by_guesses => figures.max_near_ns,
            Figure::Max => figures.max_disturbed_ns,
            _ => None,
        };
        let (Some(truth), Some(said)) = (figure.of(&self.oracle), figure.of(&self.gilscope)) else {
            return false;
        };
        let [low, mut high] = near(&self.oracle).unwrap_or([truth; 2]);
        if let Some(whole) = &self.whole
            && figure != Figure::Count
        {
            let above = near(whole).map(|[_, high]| high).or(figure.of(whole));
            high = high.max(above.unwrap_or(0));
        }
        let off = low.saturating_sub(said).max(said.saturating_sub(high));
        let programs_ns = match figure {
            Figure::Sum => self.oracle.count * mean_ns + self.oracle.disturbed_ns,
            Figure::P50 | Figure::P99 => RESOLUTION_NS,
            Figure::Count | Figure::Max => 0,
        };
        off as f64 <= (figure.bound() * truth as f64).max(programs_ns as f64)
    }

    /// The figures that there are waits enough to judge.
    pub fn judged(&self) -> &'static [Figure] {
        match self.oracle.count {
            0..NOTHING_BELOW => &[],
            NOTHING_BELOW..JUDGED_FROM => &Figure::TOTALS,
            JUDGED_FROM.. => &Figure::ALL,
        }
    }

    fn broken(&self, figures: &[Figure], mean_ns: u64) -> Vec<String> {
        let (waits, judged) = (self.oracle.count, self.judged());
        let broken = figures.iter().filter(|figure| judged.contains(figure));
        let broken = broken.filter(|figure| !self.is_within(**figure, mean_ns));
        let broken = broken.map(|&figure| match self.error(figure) {
            Some(error) => format!(
                "{figure} {:+.2} %, bound {} %, of {waits}",
                error * 100.0,
                figure.bound() * 100.0
            ),
            None => format!("{figure} missing, of {waits}"),
        });
        broken.collect()
    }
}

/// One run, judged.
#[derive(Debug)]
pub struct Comparison {
    /// The interpreter's name.
    pub python: String,
    /// The workload's.
    pub workload: String,
    /// Waits of all threads.
    pub waits: Pair,
    /// Forced switches of all threads.
    pub yields: Pair,
    /// Waits of each thread, by its id.
    pub threads: BTreeMap<u32, Pair>,
    /// Contended acquisitions that made no futex call, which nobody sees who looks from the kernel. Not among the waits.
    pub without_futex: u64,
    /// Who had the GIL while they waited.
    pub holders: Holders,
    lost: Vec<String>,
}

impl Comparison {
    /// Reads the two reports, which must be of one process each.
    pub fn new(python: &str, workload: &str, oracle: &[u8], gilscope: &[u8]) -> Result<Self> {
        let oracle: Oracle = serde_json::from_slice(oracle).context("the oracle's report")?;
        let gilscope: Gilscope = serde_json::from_slice(gilscope).context("gilscope's report")?;
        let (truth, said) = (oracle.process()?, gilscope.process()?);
        let mut threads: BTreeMap<u32, Pair> = BTreeMap::new();
        let (by_uprobes, by_guesses) = (said.is_by_uprobes(), said.is_semaphore());
        let pair = |oracle, whole, gilscope| Pair {
            oracle,
            whole: by_uprobes.then_some(whole),
            gilscope,
            by_guesses,
        };
        for thread in &truth.threads {
            let unseen = pair(thread.futex, thread.take_gil, Figures::default());
            threads.insert(thread.tid, unseen);
        }
        for thread in &said.threads {
            threads.entry(thread.tid).or_default().gilscope = thread.wait();
        }
        Ok(Self {
            python: python.to_owned(),
            workload: workload.to_owned(),
            waits: pair(truth.futex, truth.take_gil, said.gil_wait),
            yields: pair(
                truth.forced_switch_futex,
                truth.forced_switch,
                said.forced_switch(),
            ),
            threads,
            holders: Holders::new(truth, said),
            without_futex: truth.take_gil.count.saturating_sub(truth.futex.count),
            lost: oracle.lost().into_iter().chain(gilscope.lost()).collect(),
        })
    }

    /// The threads with enough waits to be judged.
    pub fn judged_threads(&self) -> impl Iterator<Item = (u32, &Pair)> {
        let all = self.threads.iter().map(|(&tid, pair)| (tid, pair));
        all.filter(|(_, pair)| pair.oracle.count >= JUDGED_FROM)
    }

    /// The error of the thread that is furthest off in this figure.
    pub fn worst_thread(&self, figure: Figure) -> Option<f64> {
        let errors = self
            .judged_threads()
            .filter_map(|(_, pair)| pair.error(figure));
        errors.max_by(|a, b| a.abs().total_cmp(&b.abs()))
    }

    /// What either lost, which makes the run worthless: a sentence each.
    pub fn lost(&self) -> &[String] {
        &self.lost
    }

    /// What is off by more than its bound, and what was lost: a sentence each, which names the run.
    pub fn broken(&self) -> Vec<String> {
        self.broken_of(&Figure::ALL)
    }

    /// Whether that is about longest waits only, each of which is one event, or about few waits, of which a moment may decide.
    pub fn is_broken_by_single_events(&self) -> bool {
        self.waits.oracle.count < JUDGED_FROM || self.broken_of(&Figure::BUT_LONGEST).is_empty()
    }

    fn broken_of(&self, figures: &[Figure]) -> Vec<String> {
        let mut broken = self.lost.clone();
        broken.extend(self.waits.broken(figures, 0));
        for (tid, pair) in self.judged_threads() {
            let of_thread = pair.broken(figures, 0);
            broken.extend(of_thread.iter().map(|what| format!("thread {tid}: {what}")));
        }
        let yields = self.yields.broken(&Figure::TOTALS, FORCED_SWITCH_NS);
        broken.extend(yields.iter().map(|what| format!("forced switches: {what}")));
        broken.extend(self.holders.broken());
        let run = format!("{}, {}", self.python, self.workload);
        broken.iter().map(|what| format!("{run}: {what}")).collect()
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
