//! `cargo xtask oracle`: how right gilscope's figures are.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use gilscope_tests::accuracy::{
    Comparison, Programs, Python, WORKLOADS, between_markers, list, markdown,
};

use crate::{process, root, workspace};

/// Measures gilscope against an oracle in the same runs, and prints the table of the README.
///
/// The oracle times each take_gil by uprobes at its entry and return and the futex calls inside. Both tracers see the whole run of
/// a workload. docs/accuracy.md says what is compared. Exit status 1 if a figure is off by more than its bound. Needs root, and
/// interpreters with symbols: pyenv's, or Debian's made by `cargo xtask assets`.
#[derive(clap::Args)]
pub struct Args {
    /// Only interpreters with this in their name, such as 3.12 or debian
    #[arg(long)]
    python: Vec<String>,
    /// Only these workloads
    #[arg(long, value_parser = WORKLOADS)]
    workload: Vec<String>,
    /// Length of a run [default: enough for 1,000 waits: 5 of crowd, pipe and churn, 10 of convoy, 20 of spin and pollers]
    #[arg(long)]
    seconds: Option<f64>,
    /// Write the table into README.md and docs/accuracy.md as well, between their markers
    #[arg(long)]
    write_readme: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    root::become_root()?;
    process::run(process::cargo().args([
        "build",
        "--release",
        "--package",
        "gilscope",
        "--package",
        "gil-oracle",
    ]))?;
    let (mut runs, mut skipped) = (Vec::new(), Vec::new());
    for python in list()?.iter().filter(|python| is_wanted(args, python)) {
        match python.skipped() {
            Some(reason) => skipped.push(format!("{}: {reason}", python.name)),
            None => runs.extend(runs_of(args, python)?),
        }
    }
    ensure!(
        !runs.is_empty(),
        "nothing to judge on: {}",
        skipped.join("; ")
    );
    let table = markdown(&runs, &skipped, &command());
    print!("{table}");
    if args.write_readme {
        write(&table)?;
    }
    let broken: Vec<_> = runs.iter().flat_map(Comparison::broken).collect();
    if !broken.is_empty() {
        bail!("off by more than its bound:\n{}", broken.join("\n"));
    }
    Ok(())
}

fn is_wanted(args: &Args, python: &Python) -> bool {
    args.python.is_empty()
        || args
            .python
            .iter()
            .any(|part| python.name.contains(part.as_str()))
}

fn runs_of(args: &Args, python: &Python) -> Result<Vec<Comparison>> {
    let wanted =
        |name: &&str| args.workload.is_empty() || args.workload.iter().any(|one| one == name);
    let workloads = WORKLOADS.into_iter().filter(wanted);
    let runs = workloads
        .filter(|workload| python.is_judged_on(workload))
        .map(|workload| {
            eprintln!("{}, {workload}", python.name);
            programs().compare(
                python,
                workload,
                args.seconds.unwrap_or_else(|| default_seconds(workload)),
            )
        });
    runs.collect()
}

fn programs() -> Programs {
    Programs {
        gilscope: workspace::gilscope(),
        oracle: workspace::target().join("release/gil-oracle"),
    }
}

fn default_seconds(workload: &str) -> f64 {
    match workload {
        "crowd" | "pipe" | "churn" => 5.0,
        "convoy" => 10.0,
        _ => 20.0,
    }
}

/// As it was called.
fn command() -> String {
    let words = std::env::args()
        .skip(1)
        .filter(|word| word != "--write-readme");
    std::iter::once("cargo xtask".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A document that is not there, or has no place for the table, is told of.
fn write(table: &str) -> Result<()> {
    for name in ["README.md", "docs/accuracy.md"] {
        let path = workspace::root().join(name);
        let document = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        let written = between_markers(&document, table).with_context(|| name.to_owned())?;
        fs::write(&path, written).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}
