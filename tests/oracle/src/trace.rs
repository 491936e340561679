//! The only room with aya: loads, attaches, drains.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroU32,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod, include_bytes_aligned,
    maps::{HashMap, PerCpuArray, RingBuf},
    programs::{TracePoint, UProbe, uprobe::UProbeScope},
};
use nix::{
    sys::resource::{RLIM_INFINITY, Resource, setrlimit},
    time::{ClockId, clock_gettime},
};

use crate::{
    record::{Call, TAKE, Thread, counts, offsets},
    stop::Stop,
    symbols::{Modules, Place},
    tracefs::check_field,
};

/// What was seen between attaching and detaching.
pub struct Run {
    /// The first instant at which every probe was attached, and the last.
    pub window_ns: (u64, u64),
    /// Every contended call.
    pub calls: Vec<Call>,
    /// The last state of each thread, by tid.
    pub threads: BTreeMap<u32, Thread>,
    /// The threads that were inside `take_gil` at the end, and since when.
    pub unfinished: BTreeMap<u32, u64>,
    /// The `COUNTS` map.
    pub counts: Vec<u64>,
    /// How often the kernel left one of the programs out, because another was at work on the
    /// processor.
    pub programs_missed: u64,
    /// What was probed.
    pub places: Vec<Place>,
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct State(Thread);
// SAFETY: `Thread` is `repr(C)` and made of integers without padding.
unsafe impl Pod for State {}

/// What is looked at besides `take_gil`.
pub struct Views {
    /// The futex calls inside.
    pub futexes: bool,
    /// `drop_gil`.
    pub yields: bool,
    /// Also calls that did not wait.
    pub every_call: bool,
}

/// The attached probes.
pub struct Trace {
    ebpf: Ebpf,
    places: Vec<Place>,
    first_ns: u64,
}

impl Trace {
    /// Attaches to every process, entries last, so that no return is seen without its whole call.
    pub fn attach(pids: &[u32], debug_file: Option<&Path>, views: &Views) -> anyhow::Result<Self> {
        // Needed before Linux 5.11 only, and not granted everywhere.
        setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).ok();
        let ebpf = EbpfLoader::new()
            .override_global("EVERY_CALL", &u32::from(views.every_call), true)
            .load(include_bytes_aligned!("../oracle.bpf.o"))?;
        let mut trace = Self {
            ebpf,
            places: Vec::new(),
            first_ns: 0,
        };
        trace.tracepoint(
            "sched_switch",
            "sched",
            "sched_switch",
            &[
                ("prev_state", offsets::PREV_STATE),
                ("next_pid", offsets::NEXT_PID),
            ],
        )?;
        if views.futexes {
            trace.tracepoint(
                "futex_enter",
                "syscalls",
                "sys_enter_futex",
                &[("* uaddr", offsets::UADDR), ("op", offsets::OP)],
            )?;
            trace.tracepoint(
                "futex_exit",
                "syscalls",
                "sys_exit_futex",
                &[("ret", offsets::RET)],
            )?;
        }
        for &pid in pids {
            trace
                .attach_process(pid, debug_file, views.yields)
                .with_context(|| format!("process {pid}"))?;
        }
        trace.first_ns = now_ns()?;
        Ok(trace)
    }

    fn attach_process(
        &mut self,
        pid: u32,
        debug_file: Option<&Path>,
        yields: bool,
    ) -> anyhow::Result<()> {
        let modules = Modules::of(pid)?;
        if let Some(gil) = modules.semaphore(pid, debug_file)? {
            return self.attach_semaphore(pid, gil, &modules, debug_file.is_some(), yields);
        }
        let mut waits = modules.exported("pthread_cond_timedwait")?;
        waits.extend(modules.exported("pthread_cond_clockwait")?);
        if yields {
            waits.extend(modules.exported("pthread_cond_wait")?);
        }
        ensure!(
            !waits.is_empty(),
            "no module exports pthread_cond_timedwait"
        );
        self.uprobes("cond_wait", &waits, pid)?;

        for (function, entry, exit) in [
            ("take_gil", "take_enter", "take_return"),
            ("drop_gil", "drop_enter", "drop_return"),
        ] {
            if function == "drop_gil" && !yields {
                continue;
            }
            let copies = modules.copies(function, debug_file)?;
            ensure!(
                !copies.is_empty(),
                "no symbol {function}: stripped? Then name its --debug-file"
            );
            self.uprobes(exit, &copies, pid)?;
            self.uprobes(entry, &copies, pid)?;
            self.places.extend(copies);
        }
        self.places.extend(waits);
        Ok(())
    }

    /// 2.7: `take_gil` is `PyThread_acquire_lock` on the GIL's semaphore. Where the whole program is optimised at link time
    /// it is copied into its callers (measured on Debian's: no hit in 1.3 million acquisitions), so there `sem_wait`,
    /// which is all that it calls; the same for `drop_gil`.
    fn attach_semaphore(
        &mut self,
        pid: u32,
        gil: u64,
        modules: &Modules,
        is_inlined: bool,
        drops: bool,
    ) -> anyhow::Result<()> {
        let mut semaphores: HashMap<_, u32, u64> = HashMap::try_from(
            self.ebpf
                .map_mut("SEMAPHORES")
                .context("no map SEMAPHORES")?,
        )?;
        semaphores.insert(pid, gil, 0)?;
        for (exported, inlined, entry, exit) in [
            (
                "PyThread_acquire_lock",
                "sem_wait",
                "semaphore_take",
                "take_return",
            ),
            (
                "PyThread_release_lock",
                "sem_post",
                "semaphore_drop",
                "drop_return",
            ),
        ] {
            if entry == "semaphore_drop" && !drops {
                continue;
            }
            let places = modules.exported(if is_inlined { inlined } else { exported })?;
            ensure!(!places.is_empty(), "no module exports {exported}");
            self.uprobes(exit, &places, pid)?;
            self.uprobes(entry, &places, pid)?;
            self.places.extend(places);
        }
        Ok(())
    }

    fn uprobes(&mut self, program: &str, places: &[Place], pid: u32) -> anyhow::Result<()> {
        let uprobe: &mut UProbe = self
            .ebpf
            .program_mut(program)
            .with_context(|| format!("no program {program}"))?
            .try_into()?;
        if uprobe.fd().is_err() {
            uprobe.load()?;
        }
        let scope = UProbeScope::OneProcess(NonZeroU32::new(pid).context("pid 0")?);
        for place in places {
            uprobe
                .attach(place.offset, &place.file, scope)
                .with_context(|| {
                    format!("cannot attach to {} in {}", place.symbol, place.module)
                })?;
        }
        Ok(())
    }

    fn tracepoint(
        &mut self,
        program: &str,
        category: &str,
        name: &str,
        fields: &[(&str, usize)],
    ) -> anyhow::Result<()> {
        for (field, offset) in fields {
            check_field(&format!("{category}/{name}"), field, *offset)?;
        }
        let tracepoint: &mut TracePoint = self
            .ebpf
            .program_mut(program)
            .with_context(|| format!("no program {program}"))?
            .try_into()?;
        tracepoint.load()?;
        tracepoint.attach(category, name)?;
        Ok(())
    }

    /// Collects until `stop` says so, then detaches.
    pub fn run(mut self, stop: &Stop) -> anyhow::Result<Run> {
        let mut take = |name: &str| {
            self.ebpf
                .take_map(name)
                .with_context(|| format!("no map {name}"))
        };
        let mut ring = RingBuf::try_from(take("RECORDS")?)?;
        let states: HashMap<_, u32, State> = HashMap::try_from(take("CALLS")?)?;
        let slots: PerCpuArray<_, u64> = PerCpuArray::try_from(take("COUNTS")?)?;
        let mut calls = Vec::new();
        while !stop.pause()? {
            drain(&mut ring, &mut calls)?;
        }
        let last_ns = now_ns()?;
        let programs_missed = missed(&self.ebpf);
        drop(self.ebpf);
        drain(&mut ring, &mut calls)?;
        let threads: BTreeMap<u32, Thread> = states
            .iter()
            .map(|entry| entry.map(|(tid, state)| (tid, state.0)))
            .collect::<Result<_, _>>()?;

        // The window ends before the probes go, one after the other.
        let inside = threads
            .values()
            .filter(|thread| thread.inside == 1)
            .map(|thread| &thread.call);
        let late = calls.iter().filter(|call| call.end_ns > last_ns);
        let unfinished = inside
            .chain(late)
            .filter(|call| call.kind == TAKE && call.start_ns <= last_ns);
        let unfinished = unfinished.map(|call| (call.tid, call.start_ns)).collect();
        calls.retain(|call| call.end_ns <= last_ns);
        let mut counts = Vec::new();
        for index in 0..counts::LEN {
            counts.push(slots.get(&index, 0)?.iter().sum());
        }
        Ok(Run {
            window_ns: (self.first_ns, last_ns),
            calls,
            threads,
            unfinished,
            counts,
            programs_missed,
            places: self.places,
        })
    }
}

fn drain(ring: &mut RingBuf<aya::maps::MapData>, calls: &mut Vec<Call>) -> anyhow::Result<()> {
    while let Some(item) = ring.next() {
        ensure!(
            item.len() >= size_of::<Call>(),
            "a record of {} bytes",
            item.len()
        );
        // SAFETY: it is long enough, and any bits make a `Call`, which is made of integers.
        calls.push(unsafe { item.as_ptr().cast::<Call>().read_unaligned() });
    }
    Ok(())
}

/// As the kernel tells it of each program (`kernel/bpf/syscall.c`: `bpf_prog_show_fdinfo`).
fn missed(ebpf: &Ebpf) -> u64 {
    let programs = ebpf.programs().filter_map(|(_, program)| program.fd().ok());
    let counts = programs.filter_map(|fd| {
        let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
        let info = fs::read_to_string(path).ok()?;
        let count = info
            .lines()
            .find_map(|line| line.strip_prefix("recursion_misses:"))?;
        count.trim().parse::<u64>().ok()
    });
    counts.sum()
}

/// `CLOCK_MONOTONIC`, which is the clock of `bpf_ktime_get_ns`.
fn now_ns() -> anyhow::Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(u64::try_from(now.tv_sec())? * 1_000_000_000 + u64::try_from(now.tv_nsec())?)
}
