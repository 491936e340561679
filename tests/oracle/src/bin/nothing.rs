//! Programs that do nothing, on the hooks of gilscope's that are called often: what they cost the machine is the least that a tracer by those hooks can cost.

#[path = "../tracefs.rs"]
#[expect(dead_code, reason = "programs that do nothing read no field")]
mod tracefs;

use std::thread;

use anyhow::Context as _;
use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    programs::{Program, RawTracePoint, TracePoint},
};
use clap::{Parser, ValueEnum};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

/// Attaches programs that do nothing. Prints "ready" once attached; stays until it is ended.
#[derive(Parser)]
struct Options {
    /// On what.
    #[arg(long)]
    on: Hooks,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Hooks {
    /// Entry and exit of futex calls.
    Futex,
    /// These, and the scheduler's switches and wake-ups.
    All,
}

/// Program, category, name.
const FUTEX: [[&str; 3]; 2] = [
    ["nothing_futex_enter", "syscalls", "sys_enter_futex"],
    ["nothing_futex_exit", "syscalls", "sys_exit_futex"],
];

/// Program, name.
const SCHEDULER: [[&str; 2]; 3] = [
    ["nothing_sched_switch", "sched_switch"],
    ["nothing_sched_wakeup", "sched_wakeup"],
    ["nothing_sched_wakeup_new", "sched_wakeup_new"],
];

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tracefs::ensure_mounted()?;
    // Needed before Linux 5.11 only, and not granted everywhere.
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).ok();
    let mut ebpf = EbpfLoader::new().load(include_bytes_aligned!("../../oracle.bpf.o"))?;
    for [name, category, event] in FUTEX {
        let tracepoint: &mut TracePoint = program(&mut ebpf, name)?.try_into()?;
        tracepoint.load()?;
        tracepoint.attach(category, event)?;
    }
    let scheduler: &[_] = match options.on {
        Hooks::Futex => &[],
        Hooks::All => &SCHEDULER,
    };
    for [name, event] in scheduler {
        let tracepoint: &mut RawTracePoint = program(&mut ebpf, name)?.try_into()?;
        tracepoint.load()?;
        tracepoint.attach(event)?;
    }
    println!("ready");
    loop {
        thread::park();
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Program> {
    ebpf.program_mut(name)
        .with_context(|| format!("no program {name}"))
}
