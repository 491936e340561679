//! `cargo xtask vm`: gilscope on other kernels than this machine's.

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::{process, root};

mod kernel;
mod machine;

/// Which kernels, and whose.
const KERNELS: [(&str, &str); 4] = [
    ("5.10", "bullseye"),
    ("6.1", "bookworm"),
    ("6.12", "trixie"),
    ("newest", "trixie-backports"),
];

/// Boots Debian's kernels in an emulated machine and runs gilscope's smoke test in each; prints a table.
///
/// Functional only: emulation is some 16 times slower. Downloads some 120 MB by apt, whose own state stays untouched; needs root, for
/// chroot.
#[derive(clap::Args)]
pub struct Args {
    /// Which kernel: 5.10, 6.1, 6.12 or newest [default: all]
    #[arg(long, value_parser = KERNELS.map(|(version, _)| version))]
    kernel: Vec<String>,
}

/// What the guest tells of one check.
#[derive(Deserialize)]
struct Check {
    check: String,
    bad: Vec<String>,
    detail: String,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    process::run(process::cargo().args(["build", "--release", "--package", "gilscope"]))?;
    root::become_root()?;
    let machine = machine::Machine::make()?;
    let mut failed = 0;
    for (version, suite) in KERNELS {
        if args.kernel.is_empty() || args.kernel.iter().any(|wanted| wanted == version) {
            let prefix = match version {
                "newest" => String::new(),
                _ => format!("{version}."),
            };
            failed += print(&machine.boot(suite, &prefix)?)?;
        }
    }
    if failed > 0 {
        bail!("{failed} checks failed");
    }
    Ok(())
}

/// Prints a kernel's results; answers how many are bad.
fn print(results: &str) -> Result<usize> {
    let mut failed = 0;
    let mut done = false;
    for line in results.lines() {
        let Ok(check) = serde_json::from_str::<Check>(line) else {
            println!("{line}");
            continue;
        };
        done |= check.check == "done";
        failed += usize::from(!check.bad.is_empty());
        let verdict = if check.bad.is_empty() { "ok" } else { "FAILED" };
        let bad = check.bad.join("; ");
        println!("{verdict:7}{:28}{} {bad}", check.check, check.detail);
    }
    if !done {
        bail!("the guest did not finish");
    }
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bad_or_missing_fails() {
        let line =
            |check, bad| format!("{{\"check\":\"{check}\",\"bad\":{bad},\"detail\":\"\"}}\n");
        let results = line("spin", "[\"no waits\"]") + &line("done", "[]");
        assert_eq!(print(&results).unwrap(), 1);
        assert_eq!(print(&line("done", "[]")).unwrap(), 0);
        assert!(print(&line("spin", "[]")).is_err());
    }
}
