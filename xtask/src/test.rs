//! `cargo xtask test`: everything that the tests need, then the tests.

use std::process::Command;

use anyhow::Result;

use crate::{assets, process, root, workspace};

const END_TO_END: &str = "gilscope-tests";

/// Makes the test assets, then runs the unit tests of the workspace and the end-to-end tests, which trace real interpreters.
///
/// The end-to-end tests need root: they are run by sudo unless this is root already. They run one at a time, as they measure.
#[derive(clap::Args)]
pub struct Args {
    /// Make no assets: tests whose interpreter is not there say so
    #[arg(long)]
    quick: bool,
    /// For the end-to-end tests' own command line, such as a test's name
    #[arg(last = true)]
    extra: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    if !args.quick
        && let Err(error) = assets::make(&[])
    {
        eprintln!("going on without all assets: {error:#}");
    }
    // What the end-to-end tests run.
    process::run(process::cargo().args([
        "build",
        "--release",
        "--package",
        "gilscope",
        "--package",
        "gil-oracle",
    ]))?;
    process::run(process::cargo().args(["test", "--workspace", "--exclude", END_TO_END]))?;
    let mut tests = process::cargo();
    tests
        // What fails says nothing of the rest.
        .args(["test", "--package", END_TO_END, "--tests", "--no-fail-fast"])
        .arg("--")
        .arg("--test-threads=1")
        .args(&args.extra);
    as_root(&mut tests)?;
    tests.env("GILSCOPE_BIN", workspace::gilscope());
    process::run(tests.env("GILSCOPE_ASSETS", assets::home()?))
}

/// Lets cargo start the test binaries by sudo: cargo itself then builds as the user.
fn as_root(cargo: &mut Command) -> Result<()> {
    if !root::is_root() {
        let host = process::output(Command::new("rustc").args(["--print", "host-tuple"]))?;
        eprintln!("the end-to-end tests need root: running them by sudo");
        cargo.env(runner_variable(&host), "sudo -E");
    }
    Ok(())
}

fn runner_variable(host: &str) -> String {
    format!(
        "CARGO_TARGET_{}_RUNNER",
        host.to_uppercase().replace(['-', '.'], "_")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_variable_for_a_host() {
        assert_eq!(
            runner_variable("x86_64-unknown-linux-gnu"),
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"
        );
    }
}
