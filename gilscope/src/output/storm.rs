//! A storm in a line.

use super::shown::{count, counted, share, time};
use crate::model::{Storm, StormKind, StormNews};

/// What is said at once of a storm that has begun or is over, and how many pauses before it were not told.
pub fn line(pid: u32, news: &StormNews, untold: u64) -> String {
    let storm = &news.storm;
    let what = match storm.kind {
        StormKind::Contention => "contention storm",
        StormKind::Pause => "pause",
    };
    let since = time(storm.started_at_ns);
    let began = match news.is_over {
        false => format!("process {pid}: {what} since {since}"),
        true => format!("process {pid}: {what} from {since} is over"),
    };
    let untold = match untold {
        0 => String::new(),
        untold => format!("; {} before it not told", counted(untold, "pause")),
    };
    format!("{began}: {}{untold}", summary(storm))
}

/// How long it was, who waited, and for whom.
pub(super) fn summary(storm: &Storm) -> String {
    let holder = match storm.top_holder {
        Some(holder) => format!(
            ", {} behind {}",
            share(holder.blocked_ns, storm.waited_ns)
                .as_deref()
                .unwrap_or("most"),
            holder.tid
        ),
        None => String::new(),
    };
    format!(
        "{}, {} waited {} in all{holder}",
        time(storm.length_ns),
        counted(storm.threads_waited, "thread"),
        time(storm.waited_ns),
    )
}

/// What it used meanwhile, in two lines.
pub(super) fn used(storm: &Storm) -> [String; 2] {
    let seconds = (storm.figures_ns as f64 / 1e9).max(1e-9);
    let a_second = |number: u64| count((number as f64 / seconds) as u64);
    let system = storm.system_ns.map(|ns| format!(" (system {})", time(ns)));
    [
        format!(
            "up to {} at once; ran {}{}; ready without a processor {}",
            storm.waiters_peak,
            time(storm.on_cpu_ns),
            system.unwrap_or_default(),
            time(storm.runnable_ns),
        ),
        format!(
            "switches/s: {}, {} for the GIL; woken in vain {} times/s",
            a_second(storm.voluntary_switches),
            a_second(storm.gil_switches),
            a_second(storm.futile_wakeups),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::sample::storm;
    use super::*;

    #[test]
    fn says_when_how_long_and_behind_whom() {
        let news = StormNews {
            storm: storm(),
            is_over: true,
        };
        assert_eq!(
            line(7, &news, 0),
            "process 7: contention storm from 1.20 s is over: 3.00 s, 2 threads waited 4.50 s in all, 66.7 % behind 4243"
        );
        let pause = StormNews {
            storm: Storm {
                kind: StormKind::Pause,
                top_holder: None,
                ..storm()
            },
            is_over: false,
        };
        assert_eq!(
            line(7, &pause, 3),
            "process 7: pause since 1.20 s: 3.00 s, 2 threads waited 4.50 s in all; 3 pauses before it not told"
        );
    }
}
