//! Loads the embedded object with the facts of this kernel.

use super::{ProbeError, btf::Btf, callers::MAX_CALLERS};
use aya::{Ebpf, EbpfLoader, util::KernelVersion};
use nix::sys::{
    resource::{RLIM_INFINITY, Resource, getrlimit},
    signal::{SigSet, SigmaskHow},
};
use std::{error::Error, io};

/// Built from `gilscope-ebpf` by `cargo xtask ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/gilscope.bpf.o");

/// How much the kernel sets aside and does. Each entry takes some 500 bytes of kernel memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Threads followed at one time.
    pub threads: u32,
    /// Processes followed at one time.
    pub processes: u32,
    /// Bytes of the ring buffer; a power of two, a multiple of the page size.
    pub ring_bytes: u32,
    /// Python stacks are read, at a bounded rate.
    pub stacks: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            threads: 16_384,
            processes: 1024,
            ring_bytes: 2 << 20,
            stacks: true,
        }
    }
}

/// What the programs must be told about the running kernel.
struct KernelFacts {
    task_pid_offset: u32,
    /// 0 where `sched_switch` tells the state itself (5.18+).
    task_state_offset: u32,
    task_exit_code_offset: u32,
    /// 0 where the kernel does not tell.
    task_fs_base_offset: u32,
    /// 1 where the kernel has the helper `bpf_task_pt_regs` (5.15+). Older ones take minutes to verify the walk of Python's frames, so
    /// it tells whether stacks can be read too.
    has_task_registers: u32,
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
            has_task_registers: btf.names("BPF_FUNC_task_pt_regs").into(),
            task_fs_base_offset: task("thread")
                .zip(btf.member_offset("thread_struct", "fsbase"))
                .map_or(0, |(thread, fs_base)| thread + fs_base),
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
    let reads_stacks = facts.has_task_registers & u32::from(limits.stacks);
    EbpfLoader::new()
        // No relocations against the kernel's types: parsing them would take 40 MB.
        .btf(None)
        .override_global("TASK_PID_OFFSET", &facts.task_pid_offset, true)
        .override_global("TASK_STATE_OFFSET", &facts.task_state_offset, true)
        .override_global("TASK_FS_BASE_OFFSET", &facts.task_fs_base_offset, true)
        .override_global("READS_STACKS", &reads_stacks, true)
        .override_global("HAS_TASK_REGISTERS", &facts.has_task_registers, true)
        .override_global("TASK_EXIT_CODE_OFFSET", &facts.task_exit_code_offset, true)
        .map_max_entries("TARGETS", limits.processes)
        // A process has one GIL as a rule, with 26 words.
        .map_max_entries("WORDS", limits.processes.saturating_mul(32))
        .map_max_entries("CALLERS", MAX_CALLERS)
        .map_max_entries("THREADS", limits.threads)
        .map_max_entries("TOTALS", limits.threads.saturating_mul(2))
        .map_max_entries("TURNS", limits.processes.saturating_mul(4))
        // One in sixteen may have a semaphore: before 5.11 the whole of it counts as locked memory.
        .map_max_entries("HISTORY", limits.processes.saturating_mul(4))
        .map_max_entries("BLOCKED", limits.threads)
        .map_max_entries("SLEEPS", limits.threads)
        .map_max_entries("TIDS", limits.threads)
        .map_max_entries("RECORDS", limits.ring_bytes)
        .load(OBJECT)
        .map_err(|error| refused("object", &error))
}

/// A signal that comes while the kernel checks a program ends that (`kernel/bpf/verifier.c`, `do_check`: `EAGAIN`), and aya would have it
/// checked again with a log, which takes many times as long. So it comes when the work is done.
pub fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    // What cannot be held back ends the check, as without this.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok();
    let result = work();
    if let Some(Err(error)) = before.map(|before| before.thread_set_mask()) {
        log::error!("signals stay blocked: {error}");
    }
    result
}

/// What it means that the kernel did not take a program or its maps.
pub fn refused(program: &str, error: &(dyn Error + 'static)) -> ProbeError {
    match memory_limit() {
        Some(limit_bytes) if is_not_permitted(error) => ProbeError::LockedMemory { limit_bytes },
        _ => ProbeError::Load {
            program: program.to_owned(),
            reason: chain(error),
        },
    }
}

/// The limit on locked memory, where maps and programs count against it: before 5.11, after which
/// they count against the cgroup's memory. aya has tried to raise it by then.
fn memory_limit() -> Option<u64> {
    if KernelVersion::current().ok()? >= KernelVersion::new(5, 11, 0) {
        return None;
    }
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

fn is_not_permitted(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// An error with all that caused it.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;

    fn without_room(kind: io::ErrorKind) -> aya::EbpfError {
        aya::EbpfError::MapError(aya::maps::MapError::CreateError {
            name: "THREADS".to_owned(),
            io_error: kind.into(),
        })
    }

    #[test]
    fn a_refusal_is_told_by_any_cause() {
        let refusal = without_room(io::ErrorKind::PermissionDenied);
        assert!(is_not_permitted(&refusal));
        assert!(!is_not_permitted(&without_room(io::ErrorKind::OutOfMemory)));
    }

    #[test]
    fn signals_wait_until_the_work_is_done() {
        let is_blocked = || SigSet::thread_get_mask().map(|mask| mask.contains(Signal::SIGCHLD));
        assert_eq!(without_signals(is_blocked), Ok(true));
        assert_eq!(is_blocked(), Ok(false));
    }
}
