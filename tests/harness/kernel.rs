//! What the kernel itself says: of threads, and of what gilscope has in it.

use anyhow::Context as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    time::Duration,
};

use crate::until;

/// A thread's figures, as the scheduler keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduled {
    /// Time on a processor.
    pub on_cpu_ns: u64,
    /// Time without one, though ready to run.
    pub runnable_ns: u64,
    /// Switches by itself.
    pub voluntary: u64,
    /// Switches by others.
    pub involuntary: u64,
}

impl Scheduled {
    /// Reads them from `/proc` (proc(5): `schedstat` has on-CPU time, waiting time, time slices).
    pub fn of(pid: u32, tid: u32) -> Self {
        let read = |file| fs::read_to_string(format!("/proc/{pid}/task/{tid}/{file}")).unwrap();
        let schedstat = read("schedstat");
        let mut times = schedstat.split(' ').map(|number| number.parse().unwrap());
        let status = read("status");
        Self {
            on_cpu_ns: times.next().unwrap(),
            runnable_ns: times.next().unwrap(),
            voluntary: field(&status, "voluntary_ctxt_switches"),
            involuntary: field(&status, "nonvoluntary_ctxt_switches"),
        }
    }

    /// What came on top of `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            on_cpu_ns: self.on_cpu_ns - before.on_cpu_ns,
            runnable_ns: self.runnable_ns - before.runnable_ns,
            voluntary: self.voluntary - before.voluntary,
            involuntary: self.involuntary - before.involuntary,
        }
    }
}

fn field(status: &str, name: &str) -> u64 {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(":"));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in {status}"))
}

/// The threads of a process.
pub fn threads(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.filter_map(|entry| name(entry.ok()?)).collect()
}

/// Waits until every thread of a process sleeps and none has run for a while; answers with what the
/// kernel counted of each until then.
pub fn idle_threads(pid: u32) -> BTreeMap<u32, Scheduled> {
    let now = || -> BTreeMap<_, _> {
        let threads = threads(pid).into_iter();
        threads.map(|tid| (tid, Scheduled::of(pid, tid))).collect()
    };
    until("idle threads", || {
        let before = now();
        // Not a wait for a condition but the condition: nothing happens for as long.
        std::thread::sleep(Duration::from_millis(50));
        (now() == before).then_some(before)
    })
}

/// What a process takes of the machine's memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now.
    pub resident_kib: u64,
    /// At most so far.
    pub peak_kib: u64,
}

/// The memory of a process.
pub fn memory_of(pid: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    Memory {
        resident_kib: field(&status, "VmRSS"),
        peak_kib: field(&status, "VmHWM"),
    }
}

/// Programs, maps or links in the kernel, as bpftool names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// `prog`, `map` or `link`.
    pub kind: String,
    /// Its number; none is given out twice in a boot, as the kernel counts up.
    pub id: u64,
}

/// What a process has in the kernel, by the descriptors it holds.
pub fn objects_of(pid: u32) -> BTreeSet<Object> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let infos = descriptors.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    infos.flat_map(|info| objects_in(&info)).collect()
}

fn objects_in(info: &str) -> Vec<Object> {
    let object = |line: &str| {
        let (kind, id) = line.split_once("_id:")?;
        let kind = ["prog", "map", "link"]
            .into_iter()
            .find(|&one| one == kind)?;
        Some(Object {
            kind: kind.to_owned(),
            id: id.trim().parse().ok()?,
        })
    };
    info.lines().filter_map(object).collect()
}

/// All that is in the kernel.
///
/// # Panics
/// Without bpftool.
pub fn objects() -> BTreeSet<Object> {
    let of_kind = |kind: &str| {
        let output = Command::new("bpftool")
            .args(["--json", kind, "show"])
            .output();
        let output = output.expect("bpftool is needed: apt-get install bpftool");
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let shown = shown.as_array().cloned().unwrap_or_default();
        let object = |one: &serde_json::Value| Object {
            kind: kind.to_owned(),
            id: one["id"].as_u64().unwrap(),
        };
        shown.iter().map(object).collect::<Vec<_>>()
    };
    ["prog", "map", "link"]
        .into_iter()
        .flat_map(of_kind)
        .collect()
}

/// Time for which the machine's processors were taken away so far, in steps of 10 ms (proc_stat(5): `steal`).
///
/// # Errors
/// If `/proc/stat` cannot be read.
pub fn stolen_ms() -> anyhow::Result<u64> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let ticks = stat.split_whitespace().nth(8);
    let ticks: u64 = ticks.context("/proc/stat is cut off")?.parse()?;
    Ok(ticks * 10)
}
