//! Who had the GIL while who waited for it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::record::{Call, TAKE};

/// How long one thread can have had the GIL while another waited for it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct BlockedBy {
    waiter: u32,
    holder: u32,
    /// Between the return of `take_gil` and the entry of `drop_gil`, while the waiter was between its first and its last futex
    /// call.
    at_least_ns: u64,
    /// From the last futex call's exit in `take_gil`, or its entry, to the return of `drop_gil`, or where that
    /// waits for another to take it; while the waiter was inside `take_gil`.
    at_most_ns: u64,
}

type Span = (u64, u64);

/// A thread that takes the GIL again so soon may have had it all the time: it has not been out of the function that released it for
/// long, and nobody can have seen it without. CPython 2.7 does that at each end of a check interval.
const AGAIN_NS: u64 = 20_000;

/// A thread had the GIL.
struct Hold {
    tid: u32,
    surely: Span,
    perhaps: Span,
}

/// From every call of one process. Nothing where calls of `drop_gil` go unseen, as the compiler has copied it into some callers (Debian's
/// 3.14).
pub fn blocked_by(calls: &[&Call]) -> Option<Vec<BlockedBy>> {
    let takes = calls.iter().filter(|call| call.kind == TAKE).count();
    let drops = calls.len() - takes;
    if takes.abs_diff(drops) > takes / 100 + 100 {
        return None;
    }
    let holds = holds(calls);
    let mut pairs: BTreeMap<(u32, u32), Span> = BTreeMap::new();
    let waits = calls.iter().filter(|call| call.kind == TAKE);
    for wait in waits.filter(|call| call.futex.first_enter_ns != 0) {
        let surely = (wait.futex.first_enter_ns, wait.futex.last_exit_ns);
        let perhaps = (wait.start_ns, wait.end_ns);
        // Sure ones follow each other; one that is not may reach over its neighbour's end.
        let first = holds
            .partition_point(|hold| hold.surely.1 < perhaps.0)
            .saturating_sub(2);
        let behind = holds.partition_point(|hold| hold.surely.0 <= perhaps.1);
        for hold in holds.iter().take(behind + 2).skip(first) {
            let most_ns = overlap(perhaps, hold.perhaps);
            if hold.tid != wait.tid && most_ns > 0 {
                let pair = pairs.entry((wait.tid, hold.tid)).or_default();
                pair.0 += overlap(surely, hold.surely);
                pair.1 += most_ns;
            }
        }
    }
    let rows = pairs.into_iter();
    let rows = rows.map(|((waiter, holder), (at_least_ns, at_most_ns))| BlockedBy {
        waiter,
        holder,
        at_least_ns,
        at_most_ns,
    });
    Some(rows.collect())
}

fn overlap(a: Span, b: Span) -> u64 {
    a.1.min(b.1).saturating_sub(a.0.max(b.0))
}

fn holds(calls: &[&Call]) -> Vec<Hold> {
    let mut by_thread: BTreeMap<u32, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        by_thread.entry(call.tid).or_default().push(call);
    }
    let mut holds = Vec::new();
    for (tid, mut calls) in by_thread {
        calls.sort_by_key(|call| call.start_ns);
        // It may have had it before it was looked at, and after.
        let mut since = Some((0, 0));
        for call in calls {
            if call.kind == TAKE {
                // Who looks by another program may have seen the exit before the thread was preempted, and this one after.
                let exit_ns = call.futex.last_exit_ns.saturating_sub(call.disturbed_ns);
                since = Some((call.end_ns, call.start_ns.max(exit_ns)));
            } else if let Some((surely_ns, perhaps_ns)) = since.take() {
                let dropped_ns = match call.first_cond_wait_ns {
                    0 => call.end_ns,
                    waits_ns => waits_ns,
                };
                holds.push(Hold {
                    tid,
                    surely: (surely_ns, call.start_ns),
                    perhaps: (perhaps_ns, dropped_ns),
                });
            }
        }
        if let Some((surely_ns, perhaps_ns)) = since.filter(|(surely_ns, _)| *surely_ns > 0) {
            holds.push(Hold {
                tid,
                surely: (surely_ns, u64::MAX),
                perhaps: (perhaps_ns, u64::MAX),
            });
        }
    }
    holds.sort_by_key(|hold| hold.surely);
    for at in 1..holds.len() {
        let [before, next] = &mut holds[at - 1..=at] else {
            continue;
        };
        if before.tid == next.tid && next.perhaps.0 < before.perhaps.1.saturating_add(AGAIN_NS) {
            before.perhaps.1 = before.perhaps.1.max(next.perhaps.0);
        }
    }
    holds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DROP, Futex};

    fn call(tid: u32, kind: u32, start_ns: u64, end_ns: u64) -> Call {
        Call {
            tid,
            kind,
            start_ns,
            end_ns,
            ..Call::default()
        }
    }

    #[test]
    fn between_two_bounds() {
        let waits = Call {
            futex: Futex {
                first_enter_ns: 120,
                last_exit_ns: 290,
                ..Futex::default()
            },
            ..call(2, TAKE, 110, 300)
        };
        let calls = [
            call(1, TAKE, 90, 100),
            waits,
            call(1, DROP, 200, 210),
            call(3, TAKE, 220, 230),
            call(3, DROP, 260, 280),
            call(2, DROP, 400, 410),
        ];
        let rows = blocked_by(&calls.iter().collect::<Vec<_>>());
        let row = |holder, at_least_ns, at_most_ns| BlockedBy {
            waiter: 2,
            holder,
            at_least_ns,
            at_most_ns,
        };
        assert_eq!(rows, Some(vec![row(1, 80, 100), row(3, 30, 60)]));
    }

    /// Of two threads each.
    #[test]
    fn a_hold_reaches_to_one_that_follows_at_once() {
        let reaches = |second: u32, again_ns: u64| {
            let calls = [
                call(1, TAKE, 10, 20),
                call(1, DROP, 100, 110),
                call(second, TAKE, again_ns, again_ns + 10),
                call(second, DROP, 90_000, 90_010),
            ];
            holds(&calls.iter().collect::<Vec<_>>())[0].perhaps
        };
        assert_eq!(reaches(1, 5_000), (10, 5_000));
        assert_eq!(reaches(1, 50_000), (10, 110));
        assert_eq!(reaches(2, 5_000), (10, 110));
    }

    /// It may have had it since before it was preempted.
    #[test]
    fn a_preemption_at_the_exit_counts_as_perhaps() {
        let takes = Call {
            futex: Futex {
                first_enter_ns: 20,
                last_exit_ns: 190,
                ..Futex::default()
            },
            disturbed_ns: 60,
            ..call(1, TAKE, 10, 200)
        };
        let calls = [takes, call(1, DROP, 300, 310)];
        let holds = holds(&calls.iter().collect::<Vec<_>>());
        let spans: Vec<_> = holds
            .iter()
            .map(|hold| (hold.surely, hold.perhaps))
            .collect();
        assert_eq!(spans, [((200, 300), (130, 310))]);
    }
}
