//! The line of a second, while tracing.

use super::shown::{count, counted, share, time};
use crate::model::Progress;

/// What happened between two looks: how far the run is, how many threads live, how many waits a
/// second ended and in which share of the time at least one thread waited.
pub fn line(before: &Progress, now: &Progress) -> String {
    let elapsed_ns = now.elapsed_ns.saturating_sub(before.elapsed_ns);
    let waits = u128::from(now.waits.saturating_sub(before.waits)) * 1_000_000_000;
    let rate = waits.checked_div(elapsed_ns.into()).unwrap_or(0);
    let contended_ns = now.contended_ns.saturating_sub(before.contended_ns);
    let mut line = format!(
        "{:>7}  {}, {} waits/s, a thread waited {} of the time",
        time(now.elapsed_ns / 1_000_000_000 * 1_000_000_000),
        counted(now.threads, "thread"),
        count(rate.try_into().unwrap_or(u64::MAX)),
        share(contended_ns, elapsed_ns).as_deref().unwrap_or("–"),
    );
    if now.events_lost > 0 {
        line.push_str(&format!(", {} lost", counted(now.events_lost, "record")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn says_what_the_last_second_was() {
        let before = Progress {
            elapsed_ns: 11 * S,
            waits: 1_000,
            contended_ns: 2 * S,
            ..Progress::default()
        };
        let now = Progress {
            elapsed_ns: 12 * S + 5_000_000,
            threads: 38,
            waits: 13_405,
            contended_ns: 2 * S + 615_000_000,
            ..before
        };
        let shown = line(&before, &now);
        assert_eq!(
            shown,
            " 12.0 s  38 threads, 12,343 waits/s, a thread waited 61.2 % of the time"
        );
        let lossy = line(
            &before,
            &Progress {
                events_lost: 1,
                ..now
            },
        );
        assert_eq!(lossy, format!("{shown}, 1 record lost"));
    }

    #[test]
    fn takes_any_numbers() {
        let most = Progress {
            elapsed_ns: u64::MAX,
            threads: u64::MAX,
            waits: u64::MAX,
            waited_ns: u64::MAX,
            contended_ns: u64::MAX,
            events_lost: u64::MAX,
        };
        assert!(line(&Progress::default(), &most).chars().count() <= 100);
        assert!(line(&most, &Progress::default()).contains("waited – of the time"));
    }
}
