//! `cargo xtask verdict`: how right gilscope is about what is wrong.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use gilscope_tests::{Python, interpreters, judge, python, python_with_packages, use_gilscope};

use crate::{process, root, workspace};

mod matrix;
mod programs;

use matrix::Judged;
use programs::Case;

/// Traces programs that know what is wrong with them, and prints how often gilscope's first finding is right, and its place.
///
/// The programs are those of tests/workloads: each of the incidents with four sets of parameters, which are none that thresholds were set
/// by; as many near misses of each, which look alike and are healthy; and eight healthy ones, which need `cargo xtask assets pypi`. The
/// table has a row for each truth, and a column for each rule that came first. What is right is defined in tests/harness/judge.rs. A run in which other programs took the
/// processors is made again, three times in all.
///
/// Takes some 4 minutes for each interpreter, one run after the other: let nothing else run meanwhile. Exit status 1 if anything is wrong. Needs root.
#[derive(clap::Args)]
pub struct Args {
    /// Only interpreters with this in their name, such as 3.12 or debian; pypi is that of the healthy programs [default: the newest of pyenv's,
    /// one of each other version, and pypi]
    #[arg(long)]
    python: Vec<String>,
    /// Only these programs
    #[arg(long, value_parser = programs::names())]
    program: Vec<String>,
    /// How long each is traced
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Run nothing, print the programs with their parameters
    #[arg(long, conflicts_with_all = ["python", "seconds"])]
    parameters: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    if args.parameters {
        let all = programs::incidents().into_iter().chain(programs::healthy());
        let lines = wanted(args, all).map(|case| format!("{case}\n"));
        print!("{}", lines.collect::<String>());
        return Ok(());
    }
    root::become_root()?;
    process::run(process::cargo().args(["build", "--release", "--package", "gilscope"]))?;
    use_gilscope(workspace::gilscope());
    let mut skipped = Vec::new();
    let runs = runs(args, &mut skipped);
    ensure!(
        !runs.is_empty(),
        "nothing to judge on: no interpreter of this name runs such a program\n{}",
        skipped.join("\n")
    );
    let all: Vec<_> = runs
        .into_iter()
        .map(|(python, case)| judged(args, &python, case))
        .collect();
    print!("{}", matrix::markdown(&all, &skipped, &command()));
    let flawed = |one: &&Judged| !one.judgement.is_flawless();
    match all.iter().filter(flawed).count() {
        0 => Ok(()),
        wrong => bail!("{wrong} of {} wrong", all.len()),
    }
}

/// What to run by what.
fn runs(args: &Args, skipped: &mut Vec<String>) -> Vec<(Python, Case)> {
    let mut runs = Vec::new();
    for python in pythons(args) {
        let cases = wanted(args, programs::incidents().into_iter());
        runs.extend(cases.map(|case| (python.clone(), case)));
    }
    let is_wanted = |name: &str| args.python.is_empty() || is_named(args, name);
    let healthy: Vec<_> = wanted(args, programs::healthy().into_iter()).collect();
    if !healthy.is_empty() && is_wanted("pypi") {
        match python_with_packages() {
            Some(python) => runs.extend(healthy.into_iter().map(|case| (python.clone(), case))),
            None => skipped.push(
                "the healthy programs: no packages from PyPI: cargo xtask assets pypi".to_owned(),
            ),
        }
    }
    runs
}

fn wanted(args: &Args, cases: impl Iterator<Item = Case>) -> impl Iterator<Item = Case> {
    let wanted = |case: &Case| {
        let is_it = |name: &String| {
            case.name
                .split_once('/')
                .is_some_and(|(_, own)| own == name)
        };
        args.program.is_empty() || args.program.iter().any(is_it)
    };
    cases.filter(wanted)
}

/// The interpreters for the incidents.
fn pythons(args: &Args) -> Vec<Python> {
    let mut all = interpreters();
    if !args.python.is_empty() {
        all.retain(|one| is_named(args, &one.name));
        return all;
    }
    let mut chosen = vec![python().clone()];
    for one in all {
        let is_new = |other: &Python| minor(&other.version) != minor(&one.version);
        if chosen.iter().all(is_new) {
            chosen.push(one);
        }
    }
    chosen
}

fn is_named(args: &Args, name: &str) -> bool {
    args.python.iter().any(|part| name.contains(part.as_str()))
}

/// `3.12` of `3.12.1`.
fn minor(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

fn judged(args: &Args, python: &Python, case: Case) -> Judged {
    let arguments: Vec<_> = case.arguments.iter().map(String::as_str).collect();
    let length = Duration::from_secs(args.seconds);
    let judgement = judge(python, &case.name, &arguments, length);
    let right = if judgement.is_flawless() {
        ""
    } else {
        "wrong: "
    };
    eprintln!("{}: {case}: {right}{judgement}", python.name);
    Judged {
        python: python.name.clone(),
        case,
        judgement,
    }
}

/// As it was called.
fn command() -> String {
    let words = std::env::args().skip(1);
    let words = std::iter::once("cargo xtask".to_owned()).chain(words);
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_version() {
        assert_eq!(
            ["3.12.1", "2.7.18", "3.15.0"].map(minor),
            ["3.12", "2.7", "3.15"]
        );
    }
}
