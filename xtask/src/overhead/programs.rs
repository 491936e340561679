//! How long gilscope's programs run, whoever makes them, by the kernel's own account.

use std::{collections::HashMap, fs, time::Instant};

use anyhow::{Context as _, Result, ensure};

use super::{target::Target, tool::Tool};

/// Documentation/admin-guide/sysctl/kernel.rst.
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel counts, until it is dropped.
struct Counting;

/// It makes each program dearer: no measure of speed may be taken meanwhile, so it is off before and after.
pub fn are_not_counted() -> Result<()> {
    let counted = fs::read_to_string(SWITCH).is_ok_and(|value| value.trim() != "0");
    ensure!(
        !counted,
        "every BPF program is timed: sysctl kernel.bpf_stats_enabled=0"
    );
    Ok(())
}

impl Counting {
    fn begin() -> Result<Self> {
        fs::write(SWITCH, "1").context(SWITCH)?;
        Ok(Self)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, "0");
    }
}

/// Lets the target work, traced by gilscope's default source. The account itself takes some 50 ns a run.
pub fn share_of_a_core(mut target: Target) -> Result<f64> {
    let tracer = Tool::Futex.attach(&target)?;
    let _counting = Counting::begin()?;
    let (began, before_ns) = (Instant::now(), run_ns(tracer.pid())?);
    target.work_on()?;
    let run_ns = run_ns(tracer.pid())?.saturating_sub(before_ns);
    ensure!(run_ns > 0, "the kernel has counted nothing");
    Ok(run_ns as f64 / began.elapsed().as_nanos() as f64)
}

/// How long a process's programs have run (`kernel/bpf/syscall.c`, `bpf_prog_show_fdinfo`).
fn run_ns(pid: u32) -> Result<u64> {
    let mut programs = HashMap::new();
    for file in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("the tracer has ended")? {
        // One that is closed by now is no program.
        let info = fs::read_to_string(file?.path()).unwrap_or_default();
        programs.extend(number(&info, "prog_id:").zip(number(&info, "run_time_ns:")));
    }
    Ok(programs.values().sum())
}

fn number(info: &str, key: &str) -> Option<u64> {
    let value = info.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_of_a_program() {
        let info = "pos:\t0\nprog_type:\t5\nprog_id:\t42\nrun_time_ns:\t1234\nrun_cnt:\t7\n";
        assert_eq!(number(info, "prog_id:"), Some(42));
        assert_eq!(number(info, "run_time_ns:"), Some(1234));
        assert_eq!(number("pos:\t0\nmap_id:\t42\n", "prog_id:"), None);
    }
}
