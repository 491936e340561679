//! Who had a GIL while others waited for it.

use crate::model::{BlockedBy, Blocking};
use std::{cmp::Reverse, collections::HashMap};

/// Rows that are kept: beyond, the smallest are forgotten, and their time is nobody's that is known.
const MAX_ROWS: usize = 16_384;

/// A waiter, when it began to be followed, a GIL and a holder.
type Key = (u32, u64, u32, Option<u32>);

/// What the kernel said last of each pair.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    rows: HashMap<Key, Blocking>,
}

impl Blocked {
    /// Replaces what was said of the two before; answers how much longer it has been.
    pub fn set(&mut self, said: Blocking) -> u64 {
        let key = (said.waiter, said.started_ns, said.gil_id, said.holder);
        let before = self.rows.insert(key, said);
        let more_ns = (said.sum_ns).saturating_sub(before.map_or(0, |before| before.sum_ns));
        // Not at every new one, since it looks at all.
        if self.rows.len() > MAX_ROWS + MAX_ROWS / 4 {
            let mut keys: Vec<_> = self
                .rows
                .iter()
                .map(|(key, row)| (row.sum_ns, *key))
                .collect();
            keys.sort_unstable();
            for (_, key) in keys.drain(..keys.len() - MAX_ROWS) {
                self.rows.remove(&key);
            }
        }
        more_ns
    }

    /// Longest first; and the time in which nobody had it.
    pub fn report(self) -> (Vec<BlockedBy>, u64) {
        let nobody_ns = (self.rows.values())
            .filter(|said| said.holder.is_none())
            .fold(0, |sum, said| said.sum_ns.saturating_add(sum));
        let mut rows: Vec<_> = self.rows.into_values().filter_map(row).collect();
        rows.sort_by_key(|row| (Reverse(row.sum_ns), row.waiter, row.holder));
        (rows, nobody_ns)
    }
}

fn row(said: Blocking) -> Option<BlockedBy> {
    Some(BlockedBy {
        waiter: said.waiter,
        gil_id: said.gil_id,
        holder: said.holder?,
        count: said.parts,
        sum_ns: said.sum_ns,
        max_ns: said.max_ns,
        on_cpu_ns: said.on_cpu_ns,
        runnable_ns: said.runnable_ns,
        asleep_ns: said.asleep_ns,
        unknown_ns: (said.sum_ns)
            .saturating_sub(said.on_cpu_ns)
            .saturating_sub(said.runnable_ns)
            .saturating_sub(said.asleep_ns),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(waiter: u32, holder: u32, sum_ns: u64) -> Blocking {
        Blocking {
            waiter,
            started_ns: 0,
            gil_id: 0,
            holder: Some(holder),
            parts: 1,
            sum_ns,
            max_ns: Some(sum_ns),
            on_cpu_ns: sum_ns / 2,
            runnable_ns: sum_ns / 10,
            asleep_ns: sum_ns / 5,
        }
    }

    #[test]
    fn the_last_word_counts_and_the_longest_comes_first() {
        let mut blocked = Blocked::default();
        let nobody = Blocking {
            holder: None,
            ..said(1, 0, 5)
        };
        for one in [said(1, 2, 10), said(2, 1, 30), said(1, 2, 20), nobody] {
            blocked.set(one);
        }
        let (rows, nobody_ns) = blocked.report();
        let seen: Vec<_> = rows.iter().map(|row| (row.waiter, row.sum_ns)).collect();
        assert_eq!((seen, nobody_ns), (vec![(2, 30), (1, 20)], 5));
        assert_eq!(rows[0].unknown_ns, 30 - 15 - 3 - 6);
    }

    #[test]
    fn beyond_the_limit_the_smallest_are_forgotten() {
        let mut blocked = Blocked::default();
        for waiter in 0..50_000 {
            blocked.set(said(waiter, 1, waiter.into()));
        }
        let (rows, _) = blocked.report();
        assert!((MAX_ROWS..=MAX_ROWS + MAX_ROWS / 4).contains(&rows.len()));
        assert_eq!(rows.first().map(|row| row.waiter), Some(49_999));
    }
}
