//! A target whose whole work is traced, with what the kernel counted of its threads meanwhile.

use crate::{Process, Python, Report, Running, Tracer, kernel};

const WORKLOAD: &str = include_str!("../workloads/held.py");

/// A run of `workloads/held.py`: its threads are idle when tracing begins and when it ends.
pub struct Held {
    pid: u32,
    /// Of each thread, what the kernel counted of it.
    pub scheduled: Vec<(u32, kernel::Scheduled)>,
    /// Time that a hypervisor took from all processors meanwhile: the kernel leaves it out of a thread's, of whichever thread it was. In steps of 10 ms.
    pub stolen_ns: u64,
    /// The JSON report.
    pub report: Report,
    /// The text report.
    pub text: String,
}

impl Held {
    /// Runs the workload with these options.
    pub fn trace(python: &Python, options: &[&str]) -> Self {
        let mut target = Running::start(&mut python.workload(WORKLOAD, options));
        target.prints("idle");
        let pid = target.pid();
        kernel::idle_threads(pid);
        let tracer = Tracer::attach(&[pid]);
        let before = kernel::idle_threads(pid);
        let stolen_ms = || kernel::stolen_ms().unwrap_or_else(|error| panic!("{error:#}"));
        let stolen_before_ms = stolen_ms();
        target.tell("go");
        target.prints("done");
        let after = kernel::idle_threads(pid);
        let stolen_ns = stolen_ms().saturating_sub(stolen_before_ms) * 1_000_000;
        let traced = tracer.finish();
        assert_eq!(traced.ended.status, 0, "{:?}", traced.ended);
        let scheduled = after
            .iter()
            .map(|(tid, after)| (*tid, after.since(before[tid])));
        Self {
            pid,
            scheduled: scheduled.collect(),
            stolen_ns,
            report: traced.report,
            text: traced.ended.stdout,
        }
    }

    /// Its part of the report.
    pub fn process(&self) -> Process<'_> {
        self.report.process(self.pid)
    }

    /// Every thread's switches are as many as the kernel itself has counted.
    pub fn check_switches(&self) {
        let process = self.process();
        for (tid, kernels) in &self.scheduled {
            let thread = process.thread(*tid);
            let pairs = [
                ("cpu/voluntary_switches", kernels.voluntary),
                ("cpu/involuntary_switches", kernels.involuntary),
            ];
            for (field, kernels_own) in pairs {
                let apart = thread.number(field).abs_diff(kernels_own);
                assert!(apart <= 2, "{field}: {kernels:?}: {thread:?}");
            }
        }
    }
}
