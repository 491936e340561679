//! Loads the embedded object with the facts of this kernel.

use super::{ProbeError, btf::Btf};
use aya::{Ebpf, EbpfLoader};

/// Built from `gilscope-ebpf` by `cargo xtask ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/gilscope.bpf.o");

/// How much the kernel sets aside. Each entry takes some 250 bytes of kernel memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Threads followed at one time.
    pub threads: u32,
    /// Processes followed at one time.
    pub processes: u32,
    /// Bytes of the ring buffer; a power of two, a multiple of the page size.
    pub ring_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            threads: 16_384,
            processes: 1024,
            ring_bytes: 4 << 20,
        }
    }
}

/// What the programs must be told about the running kernel.
struct KernelFacts {
    task_pid_offset: u32,
    /// 0 where `sched_switch` tells the state itself (5.18+).
    task_state_offset: u32,
    task_exit_code_offset: u32,
}

impl KernelFacts {
    fn read() -> Result<Self, ProbeError> {
        let btf = Btf::of_kernel()?;
        let untold = |what: &str| ProbeError::NoBtf {
            path: super::btf::PATH,
            reason: format!("it does not tell {what}"),
        };
        let task = |member: &str| btf.member_offset("task_struct", member);
        let arguments = btf
            .tracepoint_arguments("sched_switch")
            .ok_or_else(|| untold("the arguments of sched_switch"))?;
        Ok(Self {
            task_pid_offset: task("pid").ok_or_else(|| untold("where task_struct.pid lies"))?,
            task_exit_code_offset: task("exit_code")
                .ok_or_else(|| untold("where task_struct.exit_code lies"))?,
            // The fourth argument is the state (since 5.18: 9c2136be0878); the field was renamed
            // in 5.14 (2f064a59a11f).
            task_state_offset: match arguments {
                4.. => 0,
                _ => task("__state")
                    .or_else(|| task("state"))
                    .ok_or_else(|| untold("where task_struct.state lies"))?,
            },
        })
    }
}

/// Loads the object and makes its maps. Nothing is attached yet.
pub fn load(limits: &Limits) -> Result<Ebpf, ProbeError> {
    let facts = KernelFacts::read()?;
    // aya parses the kernel's types here, whether they are wanted or not: some 15 MB.
    let mut loader = EbpfLoader::new();
    let loaded = loader
        // No relocations against the kernel's types: parsing them would take 40 MB.
        .btf(None)
        .override_global("TASK_PID_OFFSET", &facts.task_pid_offset, true)
        .override_global("TASK_STATE_OFFSET", &facts.task_state_offset, true)
        .override_global("TASK_EXIT_CODE_OFFSET", &facts.task_exit_code_offset, true)
        .map_max_entries("TARGETS", limits.processes)
        // A process has one GIL as a rule, with 26 words.
        .map_max_entries("WORDS", limits.processes.saturating_mul(32))
        .map_max_entries("THREADS", limits.threads)
        .map_max_entries("TOTALS", limits.threads.saturating_mul(2))
        .map_max_entries("RECORDS", limits.ring_bytes)
        .load(OBJECT)
        .map_err(|error| ProbeError::Load {
            program: "object".to_owned(),
            reason: chain(&error),
        });
    drop(loader);
    give_memory_back();
    loaded
}

/// Gives what was freed back to the system, before the ring buffer is mapped.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only looks at what is free already, under the allocator's own lock.
    unsafe {
        nix::libc::malloc_trim(0)
    };
}

/// An error with all that caused it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
