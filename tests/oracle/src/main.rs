//! The oracle: times every contended `take_gil` of an unstripped CPython by uprobes at its entry and return.
//!
//! It shares no code with gilscope, whose figures the tests hold against these.

mod holders;
mod judge;
#[path = "../../oracle-ebpf/src/record.rs"]
mod record;
mod stop;
mod symbols;
mod trace;
mod tracefs;

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser;
use judge::Verdict;

/// Measures GIL waits by uprobes on take_gil. Prints "ready" once attached; writes JSON at the end.
#[derive(Parser)]
struct Options {
    /// A CPython process; may be given more than once.
    #[arg(long, required = true)]
    pid: Vec<u32>,
    /// Seconds to trace; without it until SIGINT, SIGTERM or, when asked, the end of stdin.
    #[arg(long, value_parser = seconds)]
    duration: Option<Duration>,
    /// Also stop when a line arrives on stdin or stdin closes.
    #[arg(long)]
    until_stdin_closes: bool,
    /// Where to write the JSON; stdout without it.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where to write every contended call, as CSV.
    #[arg(long)]
    samples: Option<PathBuf>,
    /// Take the symbols from this debug file; its build ID picks the module.
    #[arg(long)]
    debug_file: Option<PathBuf>,
    /// Also watch the futex calls made inside take_gil.
    #[arg(long)]
    futex_view: bool,
    /// Also time the forced switches in drop_gil.
    #[arg(long)]
    yields: bool,
    /// Also tell who had the GIL while who waited. Implies --yields.
    #[arg(long)]
    holders: bool,
}

fn seconds(text: &str) -> anyhow::Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tracefs::ensure_mounted()?;
    let mut stop = stop::Stop::new(options.duration, options.until_stdin_closes, &options.pid)?;

    let trace = trace::Trace::attach(
        &options.pid,
        options.debug_file.as_deref(),
        &trace::Views {
            futexes: options.futex_view,
            yields: options.yields || options.holders,
            every_call: options.holders,
        },
    )?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "ready")?;
    stdout.flush()?;
    stop.start();
    let run = trace.run(&stop)?;

    if let Some(path) = &options.samples {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        judge::write_samples(&run.calls, BufWriter::new(file))?;
    }
    let verdict = Verdict::new(&run, &options.pid, options.futex_view, options.holders);
    match &options.json {
        Some(path) => {
            let file =
                File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            serde_json::to_writer_pretty(BufWriter::new(file), &verdict)?;
        }
        None => writeln!(stdout, "{}", serde_json::to_string_pretty(&verdict)?)?,
    }
    Ok(())
}
