//! Pauses: somebody waits for a GIL, and nobody who waits gets it.
//!
//! Every wait that is under way in a stretch in which none ends lasts until the end of it. So a pause begins with the first wait that
//! is under way, or with the last end of one, and ends with the next end.

use super::slice::Slice;
use crate::model::{Storm, StormKind};
use std::collections::HashMap;

/// A pause that is as long as this is told of while it lasts.
const TOLD_FROM_NS: u64 = 1_000_000_000;

/// One GIL's.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// When the last wait ended.
    last_end_ns: u64,
    /// Who waits since when, as of the last look.
    waiting: HashMap<u32, u64>,
    /// What seems to be one, at the last look: since when, until when.
    present: Option<(u64, u64)>,
    figures: Slice,
    told: bool,
    /// Their figures are complete at the next look.
    over: Vec<Pause>,
}

#[derive(Debug)]
struct Pause {
    start_ns: u64,
    end_ns: u64,
    figures: Slice,
}

impl Pauses {
    /// A wait has ended.
    pub fn wait(&mut self, tid: u32, start_ns: u64, end_ns: u64, least_ns: u64) {
        self.waiting.remove(&tid);
        // One that is told late splits what was told before, which is rare: each thread that gets a GIL is seen to.
        if end_ns <= self.last_end_ns {
            return;
        }
        let before_ns = std::mem::replace(&mut self.last_end_ns, end_ns);
        let is_long = end_ns - before_ns >= least_ns;
        let first = is_long
            .then(|| self.waiting.values().copied().min())
            .flatten();
        let start_ns = first.unwrap_or(start_ns).min(start_ns).max(before_ns);
        let figures = match self.present.take() {
            Some(_) => std::mem::take(&mut self.figures),
            None => Slice::default(),
        };
        self.told = false;
        if end_ns.saturating_sub(start_ns) >= least_ns {
            self.over.push(Pause {
                start_ns,
                end_ns,
                figures,
            });
        }
    }

    /// What is known of a thread at a look that comes.
    pub fn waits(&mut self, tid: u32, since_ns: Option<u64>) {
        match since_ns {
            Some(since_ns) => self.waiting.insert(tid, since_ns),
            None => self.waiting.remove(&tid),
        };
    }

    /// Threads that wait.
    pub fn waiters(&self) -> usize {
        self.waiting.len()
    }

    /// The first of the waits under way.
    pub fn since_ns(&self) -> Option<u64> {
        self.waiting.values().copied().min()
    }

    /// A look: those that are over since the last one, and one under way that is to be told.
    pub fn look(
        &mut self,
        slice: &Slice,
        least_ns: u64,
        gil_id: u32,
    ) -> (Vec<Storm>, Option<Storm>) {
        let since_ns = self
            .since_ns()
            .map(|since_ns| since_ns.max(self.last_end_ns));
        if let Some((start_ns, until_ns)) = self.present
            && since_ns.is_none_or(|since_ns| since_ns > start_ns)
        {
            // It ended, and no record told when.
            self.end_unseen(start_ns, until_ns, least_ns);
        }
        let over = self.over.drain(..).map(|pause| pause.storm(slice, gil_id));
        let over = over.collect();
        self.present = since_ns.map(|since_ns| (since_ns, slice.to_ns));
        let Some(since_ns) = since_ns else {
            return (over, None);
        };
        self.figures.add(slice);
        let length_ns = slice.to_ns.saturating_sub(since_ns);
        let is_news = !self.told && length_ns >= TOLD_FROM_NS.max(least_ns);
        self.told |= is_news;
        let news = is_news.then(|| Storm {
            gil_id: Some(gil_id),
            unfinished: true,
            ..self.figures.storm(StormKind::Pause, since_ns, length_ns)
        });
        (over, news)
    }

    fn end_unseen(&mut self, start_ns: u64, end_ns: u64, least_ns: u64) {
        let figures = std::mem::take(&mut self.figures);
        self.told = false;
        self.last_end_ns = self.last_end_ns.max(end_ns);
        if end_ns.saturating_sub(start_ns) >= least_ns {
            self.over.push(Pause {
                start_ns,
                end_ns,
                figures,
            });
        }
    }

    /// The one that is under way, after the last look.
    pub fn unfinished(self, least_ns: u64, gil_id: u32) -> Option<Storm> {
        let (start_ns, until_ns) = self.present?;
        let length_ns = until_ns.saturating_sub(start_ns);
        (length_ns >= least_ns).then(|| Storm {
            gil_id: Some(gil_id),
            unfinished: true,
            ..self.figures.storm(StormKind::Pause, start_ns, length_ns)
        })
    }
}

impl Pause {
    fn storm(mut self, last: &Slice, gil_id: u32) -> Storm {
        self.figures.add(last);
        let length_ns = self.end_ns.saturating_sub(self.start_ns);
        // What has ended before a look was seen by none.
        let storm = self
            .figures
            .storm(StormKind::Pause, self.start_ns, length_ns);
        Storm {
            gil_id: Some(gil_id),
            waiters_peak: storm.waiters_peak.max(1),
            ..storm
        }
    }
}
