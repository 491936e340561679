//! Who slept with a GIL held, in which system call.

use crate::model::{AsleepWithGil, BlockedBy, Call, HolderSleeps};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

/// Rows that are kept: beyond, the smallest are forgotten, and their time is of an unknown call.
const MAX_ROWS: usize = 16_384;

/// A waiter, when it began to be followed, a GIL, a holder and what it slept in.
type Key = (u32, u64, u32, u32, Call);

/// What the kernel said last of each waiter and sleeper.
#[derive(Debug, Default)]
pub(super) struct Asleep {
    rows: HashMap<Key, HolderSleeps>,
}

impl Asleep {
    /// Replaces what was said of the same before.
    pub fn set(&mut self, said: HolderSleeps) {
        let key = (
            said.waiter,
            said.started_ns,
            said.gil_id,
            said.holder,
            said.call,
        );
        self.rows.insert(key, said);
        // Not at every new one, since it looks at all.
        if self.rows.len() > MAX_ROWS + MAX_ROWS / 4 {
            let sizes = self.rows.iter().map(|(key, row)| (row.sum_ns, *key));
            let mut keys: Vec<_> = sizes.collect();
            keys.sort_unstable();
            for (_, key) in keys.drain(..keys.len() - MAX_ROWS) {
                self.rows.remove(&key);
            }
        }
    }

    /// By holder and call, longest first. What these pairs of threads have of time asleep and no row here tells is of an unknown call.
    pub fn report(self, blocked_by: &[BlockedBy]) -> Vec<AsleepWithGil> {
        let mut sums: BTreeMap<(u32, u32, Call), (u64, u64)> = BTreeMap::new();
        let mut missing: HashMap<(u32, u32), u64> = HashMap::new();
        for row in blocked_by {
            let missing_ns = missing.entry((row.holder, row.gil_id)).or_default();
            *missing_ns = missing_ns.saturating_add(row.asleep_ns);
        }
        for said in self.rows.into_values() {
            // Of a row that is there; another's waits were too short to be kept.
            let Some(missing_ns) = missing.get_mut(&(said.holder, said.gil_id)) else {
                continue;
            };
            let sum_ns = said.sum_ns.min(*missing_ns);
            *missing_ns -= sum_ns;
            let key = (said.holder, said.gil_id, said.call);
            let (count, all_ns) = sums.entry(key).or_default();
            *count = count.saturating_add(said.count);
            *all_ns = all_ns.saturating_add(sum_ns);
        }
        for ((holder, gil_id), missing_ns) in missing {
            if missing_ns > 0 {
                let (_, all_ns) = sums.entry((holder, gil_id, Call::Unknown)).or_default();
                *all_ns = all_ns.saturating_add(missing_ns);
            }
        }
        let mut rows: Vec<_> = sums.into_iter().collect();
        rows.sort_by_key(|(key, (_, sum_ns))| (Reverse(*sum_ns), *key));
        let rows = rows
            .into_iter()
            .map(|((holder, gil_id, call), (count, sum_ns))| AsleepWithGil {
                holder,
                gil_id,
                syscall: call.name(),
                syscall_number: call.number(),
                count,
                sum_ns,
            });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(waiter: u32, holder: u32, call: u16, sum_ns: u64) -> HolderSleeps {
        HolderSleeps {
            waiter,
            started_ns: 0,
            gil_id: 0,
            holder,
            call: Call::Number(call),
            count: 2,
            sum_ns,
        }
    }

    fn blocked_by(waiter: u32, holder: u32, asleep_ns: u64) -> BlockedBy {
        BlockedBy {
            waiter,
            gil_id: 0,
            holder,
            count: 1,
            sum_ns: asleep_ns,
            max_ns: Some(asleep_ns),
            on_cpu_ns: 0,
            runnable_ns: 0,
            asleep_ns,
            unknown_ns: 0,
        }
    }

    #[test]
    fn all_time_asleep_is_of_some_call_or_of_an_unknown_one() {
        let mut asleep = Asleep::default();
        for one in [
            said(1, 9, 0, 10),
            said(1, 9, 0, 40),
            said(2, 9, 0, 20),
            said(2, 9, 35, 5),
            said(2, 8, 35, 5),
        ] {
            asleep.set(one);
        }
        let rows = asleep.report(&[blocked_by(1, 9, 40), blocked_by(2, 9, 28)]);
        let rows: Vec<_> = (rows.iter())
            .map(|row| (row.holder, row.syscall, row.count, row.sum_ns))
            .collect();
        let expected = [
            (9, Some("read"), 4, 60),
            (9, Some("nanosleep"), 2, 5),
            (9, None, 0, 3),
        ];
        assert_eq!(rows, expected);
    }
}
