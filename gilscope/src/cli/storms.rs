//! What the user takes for a storm.

use crate::commands::options::StormThresholds;
use std::time::Duration;

/// Options of their own, below the others.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "What is a storm")]
pub struct Args {
    /// Contention is when a thread waits for a GIL in this share of the time or more,
    #[arg(long, hide_short_help = true, value_name = "PERCENT", default_value_t = 20.0, allow_negative_numbers = true, value_parser = percent)]
    storm_contended: f64,

    /// and the threads wait so long together, of the time that they run
    #[arg(long, hide_short_help = true, value_name = "PERCENT", default_value_t = 25.0, allow_negative_numbers = true, value_parser = percent)]
    storm_lost: f64,

    /// Or when they lose that and go to sleep so often a second, some of it in vain and for a GIL,
    #[arg(long, hide_short_help = true, value_name = "RATE", default_value_t = 2000.0, allow_negative_numbers = true, value_parser = number)]
    storm_switches: f64,

    /// and so many of them wait for one
    #[arg(long, hide_short_help = true, value_name = "N", default_value_t = 16, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    storm_threads: u32,

    /// The time in which that has to be so, on average
    #[arg(long, hide_short_help = true, value_name = "TIME", default_value = "1s", allow_hyphen_values = true, value_parser = super::duration)]
    storm_length: Duration,

    /// A pause is when threads wait, and none of them gets the GIL for so long
    #[arg(long, hide_short_help = true, value_name = "TIME", default_value = "100ms", allow_hyphen_values = true, value_parser = super::duration)]
    storm_pause: Duration,
}

impl Args {
    pub(super) fn thresholds(&self) -> StormThresholds {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        StormThresholds {
            contended_percent: self.storm_contended,
            lost_percent: self.storm_lost,
            switches_per_second: self.storm_switches,
            threads: self.storm_threads,
            length_ns: ns(self.storm_length),
            pause_ns: ns(self.storm_pause),
        }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    number(text.strip_suffix('%').map_or(text, str::trim))
}

fn number(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>();
    let number = number
        .ok()
        .filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "not a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        storms: Args,
    }

    fn parse(words: &[&str]) -> Option<StormThresholds> {
        let words = ["gilscope"].iter().chain(words);
        let cli = Cli::try_parse_from(words).ok()?;
        Some(cli.storms.thresholds())
    }

    #[test]
    fn the_defaults_are_the_models() {
        assert_eq!(parse(&[]), Some(StormThresholds::default()));
    }

    #[test]
    fn thresholds_are_above_nothing() {
        let parsed = parse(&["--storm-contended", "50 %", "--storm-pause", "2s"]);
        let parsed = parsed.map(|it| (it.contended_percent, it.pause_ns));
        assert_eq!(parsed, Some((50.0, 2_000_000_000)));
        for wrong in ["0", "-1", "nan", "inf", "many", ""] {
            for option in [
                "--storm-contended",
                "--storm-lost",
                "--storm-switches",
                "--storm-pause",
            ] {
                assert_eq!(parse(&[option, wrong]), None, "{option} {wrong}");
            }
        }
    }
}
