//! Who had the GIL while who waited: gilscope's time for each pair is right as far as the oracle's allows it.

use std::collections::HashMap;

use super::report::{GilscopeProcess, OracleProcess};

/// Of the time in which gilscope says who had the GIL, or that nobody had, the share that may be wrong.
const MAY_BE_WRONG: f64 = 0.001;

/// The time waited, by who had the GIL.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holders {
    /// Some thread, as gilscope says.
    pub known_ns: u64,
    /// Of that, and of what is said to be nobody's, what the oracle says cannot be, if it can tell.
    pub wrong_ns: Option<u64>,
    /// Nobody, as gilscope says.
    pub nobody_ns: u64,
    /// Not known to gilscope.
    pub unknown_ns: u64,
}

impl Holders {
    /// Compares the two.
    pub fn new(truth: &OracleProcess, said: &GilscopeProcess) -> Self {
        let wrong_ns = truth.blocked_by.as_ref().map(|possible| {
            let possible: HashMap<_, _> = (possible.iter())
                .map(|row| ((row.waiter, row.holder), (row.at_least_ns, row.at_most_ns)))
                .collect();
            let wrong = said.blocked_by.iter().map(|row| {
                let bounds = possible.get(&(row.waiter, row.holder));
                let at_most_ns = bounds.map_or(0, |(_, at_most_ns)| *at_most_ns);
                row.sum_ns.saturating_sub(at_most_ns)
            });
            // Waits lie within their calls.
            let whole_ns = truth.take_gil.sum_ns;
            let of_threads_ns = possible.values().map(|(at_least_ns, _)| at_least_ns).sum();
            let of_nobody_ns = whole_ns.saturating_sub(of_threads_ns);
            wrong.sum::<u64>() + said.blocked_by_nobody_ns.saturating_sub(of_nobody_ns)
        });
        Self {
            known_ns: said.blocked_by.iter().map(|row| row.sum_ns).sum(),
            wrong_ns,
            nobody_ns: said.blocked_by_nobody_ns,
            unknown_ns: said.blocked_by_unknown_ns,
        }
    }

    /// The share of the time that is known and wrong, if that can be told.
    pub fn wrong(&self) -> Option<f64> {
        let said_ns = self.known_ns + self.nobody_ns;
        let wrong_ns = self.wrong_ns.filter(|_| said_ns > 0)?;
        Some(wrong_ns as f64 / said_ns as f64)
    }

    /// Of all time waited, the shares in which some thread is said to have had the GIL, nobody, and nobody knows who. None if there
    /// is none.
    pub fn shares(&self) -> Option<[f64; 3]> {
        let parts = [self.known_ns, self.nobody_ns, self.unknown_ns];
        let all_ns: u64 = parts.iter().sum();
        (all_ns > 0).then(|| parts.map(|part_ns| part_ns as f64 / all_ns as f64))
    }

    /// What is wrong, if it is too much.
    pub fn broken(&self) -> Option<String> {
        let wrong = self.wrong().filter(|wrong| *wrong > MAY_BE_WRONG)?;
        Some(format!(
            "{:.3} % of {} ns are said of the wrong holder",
            wrong * 100.0,
            self.known_ns + self.nobody_ns
        ))
    }
}
