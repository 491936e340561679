//! Storms: stretches of time in which a process lost more than it should. `docs/report.md` defines them.
//!
//! Contention is judged by what the kernel has counted from look to look, so that neither a wait that does not end nor a lost record changes
//! it; pauses by when the waits began and ended.

mod pauses;
mod slice;

use crate::model::{
    Blocking, GilTotals, Interval, Look, OtherStorms, Storm, StormKind, StormNews, StormThresholds,
    ThreadTotals,
};
use pauses::Pauses;
use slice::{Slice, Window, is_stormy};
use std::collections::{BTreeMap, HashMap};

/// Storms that are kept; of those beyond, the ones with the least waiting are only counted.
const MAX_STORMS: usize = 100;
/// News that nobody has asked for.
const MAX_NEWS: usize = 1_000;
/// A storm is over when it is less than this share of what makes one.
const OVER: f64 = 0.5;

/// The storms of one process.
#[derive(Debug, Default)]
pub(super) struct Storms {
    thresholds: StormThresholds,
    origin_ns: u64,
    /// What the kernel had counted, by thread.
    seen: HashMap<u32, Seen>,
    last: Look,
    contended_ns: u64,
    slice: Slice,
    window: Window,
    present: Option<Contention>,
    pauses: BTreeMap<u32, Pauses>,
    /// By time waited, and a running number.
    kept: BTreeMap<(u64, u64), Storm>,
    storms: u64,
    others: OtherStorms,
    news: Vec<StormNews>,
}

/// The most that was counted of a thread: a wait under way counts, and is not always seen.
#[derive(Debug, Default)]
struct Seen {
    on_cpu_ns: u64,
    runnable_ns: u64,
    voluntary_switches: u64,
    gils: HashMap<u32, Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    waited_ns: u64,
    futile_wakeups: u64,
    switches: u64,
}

/// Contention under way.
#[derive(Debug, Default)]
struct Contention {
    figures: Slice,
    /// What has followed and is not stormy by itself.
    calm: Slice,
}

/// Raises `most` to `now`; answers by how much.
fn raise(most: &mut u64, now: u64) -> u64 {
    let more = now.saturating_sub(*most);
    *most += more;
    more
}

/// What is told may be any number.
fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

impl Storms {
    /// Those of a process that is followed from `from_ns` on, in a trace that began at `origin_ns`.
    pub fn new(origin_ns: u64, from_ns: u64, thresholds: StormThresholds) -> Self {
        Self {
            thresholds,
            origin_ns,
            last: Look {
                at_ns: from_ns,
                ..Look::default()
            },
            ..Self::default()
        }
    }

    /// A wait has ended.
    pub fn wait(&mut self, wait: &Interval) {
        let pauses = self.pauses.entry(wait.gil_id).or_default();
        let least_ns = self.thresholds.pause_ns;
        pauses.wait(wait.tid, wait.start_ns, wait.end_ns, least_ns);
    }

    /// What the kernel counted of a thread.
    pub fn thread(&mut self, tid: u32, totals: &ThreadTotals) {
        let seen = self.seen.entry(tid).or_default();
        add(
            &mut self.slice.on_cpu_ns,
            raise(&mut seen.on_cpu_ns, totals.on_cpu_ns),
        );
        add(
            &mut self.slice.runnable_ns,
            raise(&mut seen.runnable_ns, totals.runnable_ns),
        );
        let switches = raise(&mut seen.voluntary_switches, totals.voluntary_switches);
        add(&mut self.slice.voluntary_switches, switches);
    }

    /// What the kernel counted of a thread's waits for a GIL.
    pub fn gil(&mut self, tid: u32, gil_id: u32, totals: &GilTotals) {
        let seen = self.seen.entry(tid).or_default();
        let counted = seen.gils.entry(gil_id).or_default();
        let waited_ns = (totals.wait_sum_ns)
            .saturating_add(totals.unfinished_at_start_ns)
            .saturating_add(totals.unfinished_at_end_ns);
        let waited_ns = raise(&mut counted.waited_ns, waited_ns);
        let slice = &mut self.slice;
        add(&mut slice.waited_ns, waited_ns);
        add(
            &mut slice.futile_wakeups,
            raise(&mut counted.futile_wakeups, totals.futile_wakeups),
        );
        add(
            &mut slice.gil_switches,
            raise(&mut counted.switches, totals.voluntary_switches),
        );
        if waited_ns > 0 {
            add(slice.threads.entry(tid).or_default(), waited_ns);
        }
        let pauses = self.pauses.entry(gil_id).or_default();
        pauses.waits(tid, totals.waiting_since_ns);
    }

    /// A thread is gone.
    pub fn thread_ended(&mut self, tid: u32) {
        self.seen.remove(&tid);
        (self.pauses.values_mut()).for_each(|pauses| pauses.waits(tid, None));
    }

    /// Somebody had a GIL for so much longer while another waited.
    pub fn blocked(&mut self, said: &Blocking, more_ns: u64) {
        if let Some(holder) = said.holder.filter(|_| more_ns > 0) {
            add(self.slice.holders.entry(holder).or_default(), more_ns);
        }
    }

    /// The same, and it was in this stack.
    pub fn blocked_at(&mut self, holder: u32, stack: usize, more_ns: u64) {
        add(
            self.slice.places.entry((holder, stack)).or_default(),
            more_ns,
        );
    }

    /// The first of the waits under way.
    pub fn waiting_since_ns(&self) -> Option<u64> {
        self.pauses.values().filter_map(Pauses::since_ns).min()
    }

    /// A look, and the time until then in which at least one thread waited.
    pub fn look(&mut self, look: &Look, contended_ns: u64) {
        if look.at_ns <= self.last.at_ns {
            return;
        }
        let slice = self.slice(look, contended_ns);
        self.look_for_pauses(&slice);
        self.look_for_contention(slice);
        self.news.truncate(MAX_NEWS);
    }

    fn slice(&mut self, look: &Look, contended_ns: u64) -> Slice {
        let before = std::mem::replace(&mut self.last, *look);
        self.last.system_ns = look.system_ns.or(before.system_ns);
        let system_ns = look.system_ns.zip(before.system_ns);
        let contended_before_ns = self.contended_ns.min(contended_ns);
        self.contended_ns = contended_ns;
        Slice {
            from_ns: before.at_ns,
            to_ns: look.at_ns,
            contended_ns: contended_ns - contended_before_ns,
            system_ns: system_ns.map(|(now, before)| now.saturating_sub(before)),
            waiters: self.pauses.values().map(|one| one.waiters() as u64).sum(),
            events_lost: look.events_lost.saturating_sub(before.events_lost),
            ..std::mem::take(&mut self.slice)
        }
    }

    fn look_for_pauses(&mut self, slice: &Slice) {
        let mut all_over = Vec::new();
        for (gil_id, pauses) in &mut self.pauses {
            let (over, news) = pauses.look(slice, self.thresholds.pause_ns, *gil_id);
            all_over.extend(over);
            if let Some(storm) = news {
                self.news.push(news_of(storm, self.origin_ns, false));
            }
        }
        all_over.into_iter().for_each(|storm| self.over(storm));
    }

    fn look_for_contention(&mut self, slice: Slice) {
        let thresholds = self.thresholds;
        self.window.push(slice, thresholds.length_ns);
        let share = if self.present.is_some() { OVER } else { 1.0 };
        let is_full = self.window.length_ns() >= thresholds.length_ns;
        let is_stormy_now = is_full && is_stormy(self.window.iter(), &thresholds, share);
        match &mut self.present {
            Some(present) => {
                if let Some(slice) = self.window.iter().last() {
                    present.add(slice, &thresholds);
                }
                // Shorter than the window, one has not ended for a calm moment.
                if is_full && !is_stormy_now {
                    let storm = present.storm();
                    self.present = None;
                    self.window.clear();
                    self.over(storm);
                }
            }
            None if is_stormy_now => {
                let mut begun = Contention::default();
                let is_calm =
                    |slice: &&Slice| !is_stormy(std::iter::once(*slice), &thresholds, OVER);
                let slices = self.window.iter().skip_while(is_calm);
                slices.for_each(|slice| begun.add(slice, &thresholds));
                let storm = Storm {
                    unfinished: true,
                    ..begun.storm()
                };
                self.news.push(news_of(storm, self.origin_ns, false));
                self.present = Some(begun);
            }
            None => {}
        }
    }

    fn over(&mut self, storm: Storm) {
        let news = news_of(storm, self.origin_ns, true);
        self.keep(news.storm.clone());
        self.news.push(news);
    }

    fn keep(&mut self, storm: Storm) {
        self.storms += 1;
        self.kept.insert((storm.waited_ns, self.storms), storm);
        if self.kept.len() > MAX_STORMS
            && let Some((_, least)) = self.kept.pop_first()
        {
            self.others.storms += 1;
            self.others.length_ns = self.others.length_ns.saturating_add(least.length_ns);
            self.others.waited_ns = self.others.waited_ns.saturating_add(least.waited_ns);
        }
    }

    /// What has happened since this was asked last.
    pub fn news(&mut self) -> Vec<StormNews> {
        std::mem::take(&mut self.news)
    }

    /// All, most waited in first, and what is said of those that were too many. After the last look.
    pub fn report(mut self) -> (Vec<Storm>, Option<OtherStorms>) {
        let mut unfinished = Vec::new();
        if let Some(present) = self.present.take() {
            unfinished.push(Storm {
                unfinished: true,
                ..present.storm()
            });
        }
        for (gil_id, pauses) in std::mem::take(&mut self.pauses) {
            unfinished.extend(pauses.unfinished(self.thresholds.pause_ns, gil_id));
        }
        for storm in unfinished {
            self.keep(news_of(storm, self.origin_ns, false).storm);
        }
        let others = (self.others.storms > 0).then_some(self.others);
        (self.kept.into_values().rev().collect(), others)
    }
}

/// From the clock's time to the trace's.
fn news_of(storm: Storm, origin_ns: u64, is_over: bool) -> StormNews {
    let storm = Storm {
        started_at_ns: storm.started_at_ns.saturating_sub(origin_ns),
        ..storm
    };
    StormNews { storm, is_over }
}

impl Contention {
    fn add(&mut self, slice: &Slice, thresholds: &StormThresholds) {
        self.calm.add(slice);
        if is_stormy(std::iter::once(slice), thresholds, OVER) {
            self.figures.add(&std::mem::take(&mut self.calm));
        }
    }

    /// It so far, without the calm that followed.
    fn storm(&self) -> Storm {
        let figures = &self.figures;
        figures.storm(StormKind::Contention, figures.from_ns, figures.length_ns())
    }
}

#[cfg(test)]
mod tests;
