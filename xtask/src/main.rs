//! Everything about gilscope that is not plain cargo: the list of verbs, each in a file of its name.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod apt;
mod assets;
mod demo;
mod ebpf;
mod oracle;
mod overhead;
mod process;
#[cfg(test)]
mod rooms;
mod root;
mod test;
mod verdict;
mod vm;
mod workspace;

/// Tasks of the gilscope workspace: `cargo xtask VERB`.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Ebpf(ebpf::Args),
    Assets(assets::Args),
    Demo(demo::Args),
    Test(test::Args),
    Overhead(overhead::Args),
    Oracle(oracle::Args),
    Verdict(verdict::Args),
    Vm(vm::Args),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    ebpf::become_rustc_if_called_so()?;
    match Cli::parse().verb {
        Verb::Ebpf(args) => ebpf::run(&args),
        Verb::Assets(args) => assets::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Overhead(args) => overhead::run(&args),
        Verb::Oracle(args) => oracle::run(&args),
        Verb::Verdict(args) => verdict::run(&args),
        Verb::Vm(args) => vm::run(&args),
    }
}
