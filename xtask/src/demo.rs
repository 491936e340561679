//! `cargo xtask demo`: the main job, on a workload that shows it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{process, root, workspace};

/// Builds gilscope and traces a demo: a thread that answers packets beside two busy ones, and waits for the GIL after each.
///
/// Takes whatever python3 this machine has. Tracing needs root: gilscope is run by sudo unless this is root already.
#[derive(clap::Args)]
pub struct Args {
    /// The interpreter to trace
    #[arg(long, default_value = "python3")]
    python: String,
    /// How long to trace
    #[arg(long, default_value_t = 5)]
    seconds: u32,
}

/// Ended when dropped.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    process::run(process::cargo().args(["build", "--release", "--package", "gilscope"]))?;
    let demo = start(args)?;
    let mut gilscope = root::command(workspace::gilscope());
    process::run(gilscope.args([
        "--pid",
        &demo.0.id().to_string(),
        "--duration",
        &format!("{}s", args.seconds),
    ]))
}

/// Starts the workload and waits until it works. It would run for a minute longer than it is traced: sudo may ask for a password.
fn start(args: &Args) -> Result<Demo> {
    let mut python = Command::new(&args.python);
    python
        .arg(workspace::workload("convoy"))
        .arg("--seconds")
        .arg((args.seconds + 60).to_string());
    let child = python.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut demo = Demo(child.with_context(|| {
        format!(
            "cannot run {}; on Debian: apt-get install python3",
            args.python
        )
    })?);
    let stdout = demo.0.stdout.take().context("the demo has no stdout")?;
    match BufReader::new(stdout).lines().next() {
        Some(Ok(line)) if line == "ready" => Ok(demo),
        _ => bail!("the demo did not start"),
    }
}
