//! `cargo xtask overhead`: what tracing costs the traced.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{assets, process, root, workspace};

mod futex;
mod programs;
mod table;
mod target;
mod tool;
mod tracer;

use table::{Cell, Table, percent, rate};
use target::Target;
use tool::Tool;

/// The workloads, in the order of the table's columns.
const WORKLOADS: [&str; 5] = ["spin", "pipe", "churn", "convoy", "pollers"];

/// Measures how fast a program runs while it is traced, by gilscope and by others, and prints the table of the README.
///
/// Each workload runs untraced and traced in turn (A B A B ...). A ratio is traced/untraced work done in a second, of two runs next to
/// each other: 1 is "costs nothing". The tracer attaches before the work begins and stays until it is done. Tools that are not
/// here are named below the table, with the way to get them. Needs root.
#[derive(clap::Args)]
pub struct Args {
    /// Pairs of runs for each workload and tool
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of a run
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Only these workloads
    #[arg(long, value_parser = WORKLOADS)]
    workload: Vec<String>,
    /// Only these tools
    #[arg(long)]
    tool: Vec<Tool>,
    /// The interpreter to trace [default: pyenv's newest that has symbols for take_gil, else python3]
    #[arg(long)]
    python: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    root::become_root()?;
    programs::are_not_counted()?;
    let python = args
        .python
        .clone()
        .or_else(assets::newest_pyenv)
        .or_else(|| process::which("python3"));
    let python = python.context("no Python here: name one by --python")?;
    let workloads: Vec<_> = WORKLOADS
        .into_iter()
        .filter(|name| chosen(&args.workload, &(*name).to_owned()))
        .collect();
    let mut table = Table::new(&workloads);
    for tool in Tool::ALL
        .into_iter()
        .filter(|tool| chosen(&args.tool, tool))
    {
        let tried = tool.prepare(&python).and_then(|()| {
            workloads
                .iter()
                .map(|name| cell(args, &python, name, tool))
                .collect()
        });
        match tried {
            Ok(cells) => table.add(tool.title(), cells),
            Err(error) => table.add_absent(tool.title(), &format!("{error:#}")),
        }
    }
    let mut figures = |what: &'static str, of: &dyn Fn(Target) -> Result<String>| {
        let figures = workloads.iter().map(|name| {
            eprintln!("{name}: {what}");
            of(Target::start(
                &python,
                &workspace::workload(name),
                args.seconds,
            )?)
        });
        match figures.collect() {
            Ok(figures) => table.add_figures(what, figures),
            Err(error) => table.add_absent(what, &format!("{error:#}")),
        }
    };
    if chosen(&args.tool, &Tool::Futex) {
        figures("gilscope's programs, on the whole machine", &|target| {
            programs::share_of_a_core(target).map(percent)
        });
    }
    figures("the target's futex calls in a second", &|target| {
        futex::calls_per_second(target).map(rate)
    });
    println!(
        "{}, {} pairs of {} s a workload\n\n{table}",
        python.display(),
        args.rounds,
        args.seconds
    );
    Ok(())
}

fn chosen<T: PartialEq>(wanted: &[T], one: &T) -> bool {
    wanted.is_empty() || wanted.contains(one)
}

/// All pairs of one workload and one tool.
fn cell(args: &Args, python: &Path, name: &str, tool: Tool) -> Result<Cell> {
    let script = workspace::workload(name);
    let mut cell = Cell::default();
    for round in 1..=args.rounds {
        eprintln!("{name}, {}: {round}/{}", tool.title(), args.rounds);
        let untraced = Target::start(python, &script, args.seconds)?.work()?;
        let target = Target::start(python, &script, args.seconds)?;
        let tracer = tool.attach(&target).with_context(|| format!("on {name}"))?;
        cell.add(untraced, tracer.while_working(target)?);
    }
    Ok(cell)
}
