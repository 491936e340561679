//! The command line, to plain options.

mod stacks;
mod storms;

use crate::commands::{
    dump,
    options::{Options, Source, Subject},
};
use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};
use jiff::SignedDuration;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// PID_MAX_LIMIT (`include/linux/threads.h`).
const MAX_PID: u32 = 1 << 22;

const USAGE: &str = "\
gilscope [OPTIONS] --pid <PID> [--pid <PID>]...
       gilscope [OPTIONS] -- <COMMAND> [ARG]...
       gilscope dump [--json] --pid <PID>";

const AFTER_HELP: &str = "\
Examples:
  sudo gilscope --pid 4242                       until Ctrl-C, or until the process ends
  sudo gilscope --pid 4242 --duration 10s --json report.json
  sudo gilscope --json report.json -- python3 service.py
  sudo gilscope --pid 4242 --duration 10s --flamegraph gil.svg
  sudo gilscope dump --pid 4242                  what each thread is doing now, and deadlocks

A wait is one contended acquisition of the GIL, however often the thread slept in it. Nothing is
installed in the target and it is not stopped; everything is detached when gilscope ends.

Exit status: 0 a report was made (also when the target ended early), 1 it could not be made,
2 wrong usage. With a COMMAND: its status, 128 + the signal that ended it, or 125 when gilscope failed.";

const AFTER_DUMP_HELP: &str = "\
It takes milliseconds, reads memory and /proc, and attaches nothing. Exit status: 0 it was written,
1 it could not be, 2 wrong usage.";

/// Shows who waits for CPython's GIL, and for how long, in a live process.
#[derive(Debug, Parser)]
#[command(name = "gilscope", version, override_usage = USAGE, after_help = AFTER_HELP)]
#[command(
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    other: Option<Other>,

    /// Trace the CPython of this process; may be given several times
    #[arg(short, long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PID)))]
    #[arg(
        required_unless_present = "command",
        conflicts_with = "command",
        allow_negative_numbers = true
    )]
    pids: Vec<u32>,

    /// Stop after this time, for example 500ms, 10s or 1m30s [default: until Ctrl-C or the target's end]
    #[arg(short, long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    duration: Option<Duration>,

    /// Write the report as JSON to FILE as well; `-`: to standard output, in place of the text
    #[arg(short, long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// What to measure the waits by
    #[arg(long, value_enum, default_value_t = Source::Auto)]
    source: Source,

    /// Show all threads in the text report, not only the 20 that waited most
    #[arg(long)]
    all_threads: bool,

    /// Rows for threads in the report; ended threads beyond are merged
    #[arg(long, value_name = "N", default_value_t = 4096, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_threads: u32,

    /// Rows for locks other than the GIL, one for each thread and lock; waits beyond are merged
    #[arg(long, value_name = "N", default_value_t = 1024, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_locks: u32,

    /// Follow the --pid targets' children too, those there and those to come (a COMMAND's always are)
    #[arg(long)]
    children: bool,

    /// No progress while tracing
    #[arg(short, long)]
    quiet: bool,

    /// Say what is done; twice: also what the programs in the kernel have to say
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,

    /// Run this command and trace it from its start, as the invoking user under sudo
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<std::ffi::OsString>,

    #[command(flatten)]
    stacks: stacks::Args,

    #[command(flatten)]
    storms: storms::Args,
}

/// What else there is to do.
#[derive(Debug, Subcommand)]
enum Other {
    /// Show what each thread of a process is doing now: its Python functions, what it waits for and who has that; and deadlocks
    Dump(Dump),
}

#[derive(Debug, Args)]
#[command(after_help = AFTER_DUMP_HELP)]
struct Dump {
    /// The process; it is not stopped
    #[arg(short, long, value_name = "PID", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PID)))]
    pid: u32,

    /// Write JSON instead of text
    #[arg(short, long)]
    json: bool,
}

/// What is asked for.
#[derive(Debug)]
pub enum Verb {
    /// To trace.
    Trace(Options),
    /// To look once.
    Dump(dump::Options),
}

impl Cli {
    /// Log level asked for.
    pub fn log_level(&self) -> log::LevelFilter {
        match self.verbose {
            0 => log::LevelFilter::Warn,
            1 => log::LevelFilter::Info,
            2 => log::LevelFilter::Debug,
            _ => log::LevelFilter::Trace,
        }
    }

    /// Reads the command line, or says what is wrong with it and exits.
    pub fn parse_or_exit() -> Self {
        let cli = Self::parse();
        cli.check().unwrap_or_else(|error| error.exit());
        cli
    }

    /// What clap cannot be told to check.
    fn check(&self) -> Result<(), clap::Error> {
        let conflict = |message: &str| {
            let kind = ErrorKind::ArgumentConflict;
            Err(Self::command().error(kind, message))
        };
        let [folded, flamegraph] = self.stacks.files();
        let files = [self.json.as_deref(), folded, flamegraph];
        let mut files: Vec<&Path> = files.into_iter().flatten().collect();
        if !self.command.is_empty() && files.contains(&Path::new("-")) {
            return conflict("COMMAND owns standard output: write to a file, such as --json FILE");
        }
        files.sort_unstable();
        if files.windows(2).any(|two| two[0] == two[1]) {
            return conflict("--json, --folded and --flamegraph cannot share a file");
        }
        Ok(())
    }

    /// What is asked for.
    pub fn into_verb(self) -> Verb {
        match self.other {
            Some(Other::Dump(Dump { pid, json })) => Verb::Dump(dump::Options { pid, json }),
            None => Verb::Trace(self.into_options()),
        }
    }

    fn into_options(self) -> Options {
        Options {
            subject: if self.command.is_empty() {
                Subject::Processes(self.pids)
            } else {
                Subject::Command(self.command)
            },
            duration: self.duration,
            json: self.json,
            folded: self.stacks.folded,
            flamegraph: self.stacks.flamegraph,
            stacks_of: self.stacks.stacks_of,
            stacks: !self.stacks.no_stacks,
            source: self.source,
            all_threads: self.all_threads,
            max_threads: self.max_threads as usize,
            max_locks: self.max_locks as usize,
            storms: self.storms.thresholds(),
            children: self.children,
            quiet: self.quiet,
            kernel_log: self.verbose > 1,
        }
    }
}

/// `10s`, `1m30s`, `500ms`, or seconds without a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => SignedDuration::try_from_secs_f64(seconds),
        Err(_) => text.parse::<SignedDuration>(),
    };
    let signed = parsed.map_err(|_| "not a time: write 500ms, 10s or 1m30s".to_owned())?;
    let length = Duration::try_from(signed).map_err(|_| "a time cannot be negative".to_owned())?;
    if length.is_zero() {
        return Err("nothing can be seen in no time".to_owned());
    }
    if length > YEAR {
        return Err("longer than a year: leave it out to trace until Ctrl-C".to_owned());
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2.5"), Ok(Duration::from_millis(2500)));
        for wrong in [
            "0",
            "0s",
            "-1",
            "-5s",
            "1e99",
            "NaN",
            "inf",
            "soon",
            "",
            "99999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_process_or_a_command_and_not_both() {
        let parse = |words: &[&str]| Cli::try_parse_from(words);
        assert!(parse(&["gilscope"]).is_err());
        assert!(parse(&["gilscope", "--pid", "1", "--", "true"]).is_err());
        assert!(parse(&["gilscope", "--pid", "0"]).is_err());
        assert!(parse(&["gilscope", "--pid", "4194305"]).is_err());
        assert!(parse(&["gilscope", "--pid", "1", "--pid", "2"]).is_ok());
        assert!(parse(&["gilscope", "--", "true", "--pid"]).is_ok());
    }

    #[test]
    fn a_dump_is_of_one_process() {
        let parse = |words: &[&str]| Cli::try_parse_from(words).map(Cli::into_verb);
        assert!(matches!(
            parse(&["gilscope", "dump", "--pid", "7", "--json"]),
            Ok(Verb::Dump(dump::Options { pid: 7, json: true }))
        ));
        for wrong in [
            &["gilscope", "dump"][..],
            &["gilscope", "dump", "--pid", "0"],
            &["gilscope", "dump", "--pid", "1", "--pid", "2"],
            &["gilscope", "--pid", "1", "dump", "--pid", "2"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        let command = parse(&["gilscope", "--", "dump"]);
        assert!(matches!(command, Ok(Verb::Trace(_))));
    }

    #[test]
    fn a_command_owns_standard_output() {
        let check = |words: &[&str]| Cli::try_parse_from(words).map(|cli| cli.check().is_ok());
        for option in ["--json", "--folded", "--flamegraph"] {
            let to = |file| check(&["gilscope", option, file, "--", "true"]);
            assert_eq!((to("-").ok(), to("x").ok()), (Some(false), Some(true)));
        }
    }

    #[test]
    fn each_file_is_one() {
        let check = |json, folded, flamegraph| {
            let words = ["gilscope", "--pid", "1", "--json", json, "--folded", folded];
            let words = words.into_iter().chain(["--flamegraph", flamegraph]);
            Cli::try_parse_from(words).is_ok_and(|cli| cli.check().is_ok())
        };
        assert!(check("a", "b", "-"));
        assert!(!check("a", "b", "a"));
        assert!(!check("-", "-", "b"));
    }
}
