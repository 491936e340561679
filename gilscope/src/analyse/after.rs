//! What threads came back from before they waited.

use crate::model::{Call, WaitsAfter};
use std::{cmp::Reverse, collections::HashMap};

/// Recorded waits, by what came before. There are no more rows than system calls have numbers.
#[derive(Debug, Default)]
pub(super) struct After {
    rows: HashMap<Call, (u64, u64)>,
}

impl After {
    /// A wait has finished.
    pub fn add(&mut self, after: Call, length_ns: u64) {
        let (count, sum_ns) = self.rows.entry(after).or_default();
        *count = count.saturating_add(1);
        *sum_ns = sum_ns.saturating_add(length_ns);
    }

    /// Longest first.
    pub fn report(self) -> Vec<WaitsAfter> {
        let mut rows: Vec<_> = self.rows.into_iter().collect();
        rows.sort_by_key(|(after, (_, sum_ns))| (Reverse(*sum_ns), *after));
        let rows = rows.into_iter().map(|(after, (count, sum_ns))| WaitsAfter {
            after: after.name(),
            syscall_number: after.number(),
            count,
            sum_ns,
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_sorted_by_what_came_before() {
        let mut after = After::default();
        for (call, ns) in [
            (Call::Number(0), 5),
            (Call::EvalLoop, 7),
            (Call::Number(0), 4),
            (Call::Unknown, u64::MAX),
            (Call::Unknown, 1),
        ] {
            after.add(call, ns);
        }
        let rows = after.report().into_iter();
        let rows: Vec<_> = rows
            .map(|row| (row.after, row.syscall_number, row.count, row.sum_ns))
            .collect();
        let expected = [
            (None, None, 2, u64::MAX),
            (Some("read"), Some(0), 2, 9),
            (Some("eval-loop"), None, 1, 7),
        ];
        assert_eq!(rows, expected);
    }
}
