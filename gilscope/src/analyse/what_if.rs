//! What a process could gain if its threads had not to wait for each other, at most.

use super::process::Findings;
use crate::model::{ThreadReport, WhatIf};

/// What was measured of a process.
struct Measured<'a> {
    observed_ns: u64,
    /// Time in which at least one thread waited.
    contended_ns: u64,
    /// Time that all threads waited.
    waited_ns: u64,
    /// User time of all threads, as far as it is known.
    user_ns: u64,
    /// GILs that are in use.
    gils: u32,
    /// Processors online.
    cpus: u32,
    /// Those that have a row.
    threads: &'a [ThreadReport],
}

impl Findings {
    /// What the process could gain at most. It was followed for so long, and so many of its GILs are in use.
    pub fn what_if(&self, observed_ns: u64, gils: usize, cpus: u32) -> Option<WhatIf> {
        let threads = self.threads.iter().map(|thread| thread.cpu.user_ns);
        let others = self.other_threads.iter().map(|others| others.cpu.user_ns);
        let user_ns = threads.chain(others).flatten();
        bounds(&Measured {
            observed_ns,
            contended_ns: self.contended_ns,
            waited_ns: self.waited_ns,
            user_ns: user_ns.fold(0, u64::saturating_add),
            gils: u32::try_from(gils).unwrap_or(u32::MAX),
            cpus,
            threads: &self.threads,
        })
    }
}

/// The bounds; `None` if no thread was seen to wait.
///
/// Each thread is taken to do the same as before, and the time in which nobody waited to stay as it is. While somebody waited,
/// `wanted` threads wanted to go on at once, on average, so that the same would have taken `1 / wanted` of that time at least (of the average: the
/// curve is convex, so the true time is no shorter); and no less than the user time, spread over all processors.
fn bounds(measured: &Measured<'_>) -> Option<WhatIf> {
    let observed_ns = measured.observed_ns as f64;
    let contended_ns = measured.contended_ns.min(measured.observed_ns) as f64;
    if contended_ns <= 0.0 {
        return None;
    }
    let waiting = (measured.waited_ns as f64 / contended_ns).max(1.0);
    let wanted = waiting + f64::from(measured.gils.max(1));
    let user_ns = measured.user_ns as f64 / f64::from(measured.cpus.max(1));
    let rest_ns = observed_ns - contended_ns;
    let shortest_ns =
        (rest_ns + contended_ns / wanted).clamp(user_ns.min(observed_ns), observed_ns);
    let at_once = contended_ns / (shortest_ns - rest_ns);
    let could = |thread: &ThreadReport| {
        let rest_ns = thread.observed_ns.saturating_sub(thread.waited_ns());
        // One that did nothing but wait has done nothing that could be faster.
        (rest_ns < thread.observed_ns && rest_ns > 0)
            .then(|| (thread.tid, thread.observed_ns as f64 / rest_ns as f64))
    };
    let threads = measured.threads.iter().filter_map(could);
    let thread = threads.max_by(|one, other| one.1.total_cmp(&other.1));
    Some(WhatIf {
        cpus: measured.cpus,
        wanted_at_once: rounded_up(wanted),
        without_gil_at_most: rounded_up(observed_ns / shortest_ns),
        processes: (at_once - 1e-9).ceil() as u32,
        tid: thread.map(|(tid, _)| tid),
        thread_at_most: thread.map(|(_, at_most)| rounded_up(at_most)),
    })
}

/// To a thousandth: a bound that is rounded down is none.
fn rounded_up(number: f64) -> f64 {
    (number * 1000.0 - 1e-6).ceil() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn found(contended_s: u64, waited_s: u64, user_s: u64) -> Option<(f64, f64, u32)> {
        let measured = Measured {
            observed_ns: 10 * S,
            contended_ns: contended_s * S,
            waited_ns: waited_s * S,
            user_ns: user_s * S,
            gils: 1,
            cpus: 4,
            threads: &[],
        };
        bounds(&measured).map(|it| (it.wanted_at_once, it.without_gil_at_most, it.processes))
    }

    #[test]
    fn nobody_waited() {
        assert_eq!(found(0, 0, 10), None);
    }

    #[test]
    fn a_thread_that_waits_half_of_the_time_for_another() {
        // 5 s of it would take 2.5 s.
        assert_eq!(found(5, 5, 10), Some((2.0, 1.334, 2)));
    }

    #[test]
    fn processors_are_a_limit_for_those_that_compute() {
        // Sixteen threads count, and four processors there are.
        assert_eq!(found(10, 150, 10), Some((16.0, 4.0, 4)));
        // Sixteen threads sleep with the GIL.
        assert_eq!(found(10, 150, 0), Some((16.0, 16.0, 16)));
    }

    #[test]
    fn no_gain_where_all_processors_were_busy() {
        assert_eq!(found(5, 5, 40), Some((2.0, 1.0, 1)));
        assert_eq!(found(5, 5, 50), Some((2.0, 1.0, 1)));
    }
}
