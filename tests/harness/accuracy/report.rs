//! What is read of the two reports.

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The figures of a set of waits, by the names that both reports use.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Figures {
    /// How many.
    pub count: u64,
    /// Their time.
    pub sum_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Median.
    pub p50_ns: Option<u64>,
    /// 99th percentile.
    pub p99_ns: Option<u64>,
    /// The oracle's percentiles 0.5 below and above p50.
    pub p50_near_ns: Option<[u64; 2]>,
    /// Those 0.1 below and above p99.
    pub p99_near_ns: Option<[u64; 2]>,
    /// The oracle's second longest, and the two longest together.
    pub max_near_ns: Option<[u64; 2]>,
    /// How much of the oracle's time lies between the two tracers' programs at the same instant, where the thread was preempted.
    #[serde(default)]
    pub disturbed_ns: u64,
    /// The least and the most that the oracle's longest can be to the other one for that.
    pub max_disturbed_ns: Option<[u64; 2]>,
}

/// The oracle's report. `futex` is what is judged by: docs/accuracy.md says why.
#[derive(Deserialize)]
pub struct Oracle {
    records_lost: u64,
    untracked_calls: u64,
    unreturned_calls: u64,
    programs_missed: u64,
    processes: Vec<OracleProcess>,
}

/// One process of it.
#[derive(Deserialize)]
pub struct OracleProcess {
    /// Contended calls, whole.
    pub take_gil: Figures,
    /// Their futex calls, first to last.
    pub futex: Figures,
    /// The same of forced switches.
    pub forced_switch_futex: Figures,
    /// The same by the function that waits.
    pub forced_switch: Figures,
    /// Each thread that called.
    pub threads: Vec<OracleThread>,
    /// How long a thread can have had the GIL while another waited for it, where that can be told.
    pub blocked_by: Option<Vec<Bounds>>,
}

/// One row of it.
#[derive(Deserialize)]
pub struct Bounds {
    /// Thread that waited.
    pub waiter: u32,
    /// Thread that had it.
    pub holder: u32,
    /// So long at least,
    pub at_least_ns: u64,
    /// and no longer than that.
    pub at_most_ns: u64,
}

/// One thread of it.
#[derive(Deserialize)]
pub struct OracleThread {
    /// Its id.
    pub tid: u32,
    /// As above.
    pub take_gil: Figures,
    /// As above.
    pub futex: Figures,
}

impl Oracle {
    /// The only process.
    pub fn process(&self) -> Result<&OracleProcess> {
        self.processes.first().context("the oracle saw no process")
    }

    /// What makes its figures worthless.
    pub fn lost(&self) -> Option<String> {
        let lost = self.records_lost + self.untracked_calls + self.unreturned_calls;
        let missed = self.programs_missed;
        (lost + missed > 0)
            .then(|| format!("the oracle lost {lost} calls and missed {missed} events"))
    }
}

/// gilscope's report.
#[derive(Deserialize)]
pub struct Gilscope {
    loss: Loss,
    processes: Vec<GilscopeProcess>,
}

#[derive(Deserialize)]
struct Loss {
    events_lost: u64,
    waits_lost: u64,
}

/// One process of it.
#[derive(Deserialize)]
pub struct GilscopeProcess {
    /// Waits of all threads.
    pub gil_wait: Figures,
    /// Each thread.
    pub threads: Vec<GilscopeThread>,
    /// Who had the GIL while who waited.
    pub blocked_by: Vec<BlockedBy>,
    /// Time waited in which nobody had it.
    pub blocked_by_nobody_ns: u64,
    /// Time waited in which it is not known who had it.
    pub blocked_by_unknown_ns: u64,
    gils: Vec<Gil>,
}

/// Who had the GIL while who waited.
#[derive(Deserialize)]
pub struct BlockedBy {
    /// Thread that waited.
    pub waiter: u32,
    /// Thread that had it.
    pub holder: u32,
    /// For so long.
    pub sum_ns: u64,
}

#[derive(Deserialize)]
struct Gil {
    source: String,
    python: String,
}

/// One thread of it.
#[derive(Deserialize)]
pub struct GilscopeThread {
    /// Its id.
    pub tid: u32,
    gil: Vec<GilWaits>,
}

#[derive(Deserialize)]
struct GilWaits {
    wait: Figures,
    #[serde(rename = "yield")]
    forced_switch: Figures,
}

impl Gilscope {
    /// The only process.
    pub fn process(&self) -> Result<&GilscopeProcess> {
        self.processes.first().context("gilscope saw no process")
    }

    /// A run without losses is asked for: the machine is not that busy.
    pub fn lost(&self) -> Option<String> {
        let Loss {
            events_lost,
            waits_lost,
        } = self.loss;
        (events_lost + waits_lost > 0)
            .then(|| format!("gilscope lost {events_lost} events, {waits_lost} of them waits"))
    }
}

impl GilscopeProcess {
    /// Whether it measured functions, not futex calls.
    pub fn is_by_uprobes(&self) -> bool {
        self.gils.iter().any(|gil| gil.source == "uprobe")
    }

    /// Whether the GIL is a semaphore, which tells nobody who had it.
    pub fn is_semaphore(&self) -> bool {
        self.gils.iter().any(|gil| gil.python.starts_with("2."))
    }

    /// Forced switches of all threads: count, sum and max.
    pub fn forced_switch(&self) -> Figures {
        let all = self.threads.iter().flat_map(|thread| &thread.gil);
        all.fold(Figures::default(), |sum, gil| Figures {
            count: sum.count + gil.forced_switch.count,
            sum_ns: sum.sum_ns + gil.forced_switch.sum_ns,
            max_ns: sum.max_ns.max(gil.forced_switch.max_ns),
            ..sum
        })
    }
}

impl GilscopeThread {
    /// Its waits. The workloads have one interpreter, so one GIL.
    pub fn wait(&self) -> Figures {
        self.gil.first().map(|gil| gil.wait).unwrap_or_default()
    }
}
