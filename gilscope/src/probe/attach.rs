//! Attaches the programs, and is the door to their maps.

use super::{
    ProbeError,
    load::{self, Limits, chain},
    tracefs::Tracefs,
};
use crate::model::Gil;
use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError, PerCpuArray, RingBuf},
    programs::{Program, RawTracePoint, TracePoint},
};
use gilscope_common::{
    maps::{Counters, Target, Thread, Totals, TotalsKey, WordInfo, WordKey},
    wait::{Finished, word},
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

/// `BPF_NOEXIST`: an entry that the kernel has made meanwhile is the better one.
const NO_EXIST: u64 = 1;

const FUTEX_PROGRAMS: [(&str, &str); 2] = [
    ("futex_enter", "sys_enter_futex"),
    ("futex_exit", "sys_exit_futex"),
];
const RAW_PROGRAMS: [&str; 6] = [
    "sched_switch",
    "sched_wakeup",
    "sched_wakeup_new",
    "task_newtask",
    "sched_process_exit",
    "sched_process_exec",
];

/// glibc's `pthread_cond_t`: the words that a waiter may sleep on, of every layout since 2.25
/// (`sysdeps/nptl/bits/thread-shared-types.h`). Which of them are signal words is told by how they
/// are slept on, see [`gilscope_common::wait`].
const COND_WORDS: [u64; 4] = [32, 36, 40, 44];
/// Its other words: sequence numbers, group references and sizes.
const INNER_WORDS: [u64; 8] = [0, 4, 8, 12, 16, 20, 24, 28];
/// glibc's `pthread_mutex_t`: `__lock`, and `__owner` on x86-64 (`bits/struct_mutex.h`).
const MUTEX_OWNER: u64 = 8;

/// gilscope's programs in the kernel, attached. Dropping it detaches them.
pub struct Probe {
    /// Keeps the programs and their attachments.
    ebpf: Ebpf,
    targets: HashMap<MapData, u32, Target>,
    words: HashMap<MapData, WordKey, WordInfo>,
    threads: HashMap<MapData, u32, Thread>,
    totals: HashMap<MapData, TotalsKey, Totals>,
    counters: PerCpuArray<MapData, Counters>,
    records: RingBuf<MapData>,
}

impl Probe {
    /// Loads and attaches; no process is followed yet.
    ///
    /// # Errors
    /// [`ProbeError`] with what the kernel refused.
    pub fn attach(limits: &Limits) -> Result<Self, ProbeError> {
        let tracefs = Tracefs::open()?;
        tracefs.check("syscalls/sys_enter_futex", &[("uaddr", 16), ("op", 24)])?;
        tracefs.check("syscalls/sys_exit_futex", &[("ret", 16)])?;
        let mut ebpf = load::load(limits)?;
        for (program, tracepoint) in FUTEX_PROGRAMS {
            attach_tracepoint(&mut ebpf, program, tracepoint)?;
        }
        for program in RAW_PROGRAMS {
            attach_raw(&mut ebpf, program)?;
        }
        Self::open_maps(ebpf)
    }

    fn open_maps(mut ebpf: Ebpf) -> Result<Self, ProbeError> {
        Ok(Self {
            targets: take(&mut ebpf, "TARGETS")?,
            words: take(&mut ebpf, "WORDS")?,
            threads: take(&mut ebpf, "THREADS")?,
            totals: take(&mut ebpf, "TOTALS")?,
            counters: take(&mut ebpf, "COUNTERS")?,
            records: take(&mut ebpf, "RECORDS")?,
            ebpf,
        })
    }

    /// Sends what the programs have to say about themselves to the log.
    ///
    /// # Errors
    /// Where the log's map cannot be opened.
    pub fn log(&mut self) -> Result<aya_log::EbpfLogger<&'static dyn log::Log>, String> {
        aya_log::EbpfLogger::init(&mut self.ebpf).map_err(|error| chain(&error))
    }

    /// Begins to follow a process.
    ///
    /// # Errors
    /// [`ProbeError::Map`].
    pub fn follow(&mut self, pid: u32, target: &Target) -> Result<(), ProbeError> {
        self.targets
            .insert(pid, target, 0)
            .map_err(|error| map_error("write", "TARGETS", &error))
    }

    /// No longer follows a process, so that others have room.
    pub fn unfollow(&mut self, pid: u32) {
        // One that is not there any more is as good as removed.
        let _ = self.targets.remove(&pid);
    }

    /// No longer follows any process, and takes what the kernel knows of all threads, each up to the
    /// moment that stands beside it. Its figures stand still from here on.
    ///
    /// Detaching would not do: it takes the kernel some 100 ms, in which the programs that are still
    /// attached see halves of things.
    pub fn stop(&mut self, now_ns: impl Fn() -> u64) -> Vec<(Thread, u64)> {
        let targets: Vec<u32> = self.targets.keys().filter_map(Result::ok).collect();
        for pid in targets {
            self.unfollow(pid);
        }
        let ids: Vec<u32> = self.threads.keys().filter_map(Result::ok).collect();
        ids.iter()
            .filter_map(|tid| self.take_thread(*tid, &now_ns))
            .collect()
    }

    fn take_thread(&mut self, tid: u32, now_ns: impl Fn() -> u64) -> Option<(Thread, u64)> {
        let thread = self.threads.get(&tid, 0).ok()?;
        let at_ns = now_ns();
        self.threads.remove(&tid).ok()?;
        Some((thread, at_ns))
    }

    /// Detaches the programs, so that nothing of theirs is under way when this returns.
    pub fn detach(&mut self) {
        for (program, _) in FUTEX_PROGRAMS {
            self.unload(program);
        }
        for program in RAW_PROGRAMS {
            self.unload(program);
        }
    }

    fn unload(&mut self, program: &str) {
        let result = match self.ebpf.program_mut(program) {
            Some(Program::TracePoint(program)) => program.unload(),
            Some(Program::RawTracePoint(program)) => program.unload(),
            _ => return,
        };
        if let Err(error) = result {
            log::warn!("cannot unload {program}: {}", chain(&error));
        }
    }

    /// Begins to measure the waits for a GIL of a process.
    ///
    /// # Errors
    /// [`ProbeError::Map`].
    pub fn watch(&mut self, pid: u32, gil_id: u32, gil: &Gil) -> Result<(), ProbeError> {
        for (address, word) in words_of(gil) {
            let key = WordKey {
                address,
                tgid: pid,
                padding: 0,
            };
            let info = WordInfo {
                view_address: gil.last_holder,
                owner_address: gil.mutex.wrapping_add(MUTEX_OWNER),
                gil_id,
                word,
            };
            self.words
                .insert(key, info, 0)
                .map_err(|error| map_error("write", "WORDS", &error))?;
        }
        Ok(())
    }

    /// No longer measures a GIL.
    pub fn unwatch(&mut self, pid: u32, gil: &Gil) {
        for (address, _) in words_of(gil) {
            let key = WordKey {
                address,
                tgid: pid,
                padding: 0,
            };
            // One that is not there any more is as good as removed.
            let _ = self.words.remove(&key);
        }
    }

    /// A thread that was there before tracing began. Answers false if the kernel knows it already.
    ///
    /// # Errors
    /// [`ProbeError::Map`], for example when there are more threads than [`Limits::threads`].
    pub fn add_thread(&mut self, thread: &Thread) -> Result<bool, ProbeError> {
        match self.threads.insert(thread.tid, thread, NO_EXIST) {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(nix::libc::EEXIST) =>
            {
                Ok(false)
            }
            Err(error) => Err(map_error("write", "THREADS", &error)),
        }
    }

    /// What the kernel counted of one thread's waits for one GIL.
    pub fn totals(&self, key: &TotalsKey) -> Option<Totals> {
        self.totals.get(key, 0).ok()
    }

    /// Counts an interval that the kernel has not: it is known to be over only now that the
    /// programs are detached.
    pub fn add_to_totals(&mut self, thread: &Thread, finished: &Finished) {
        let key = TotalsKey {
            started_ns: thread.started_ns,
            tid: thread.tid,
            gil_id: finished.gil_id,
        };
        let mut totals = self.totals(&key).unwrap_or_default();
        totals.add(finished);
        if let Err(error) = self.totals.insert(key, totals, 0) {
            log::warn!("cannot write the map TOTALS: {}", chain(&error));
        }
    }

    /// Forgets what the kernel counted of a thread that is gone.
    pub fn remove_totals(&mut self, key: &TotalsKey) {
        let _ = self.totals.remove(key);
    }

    /// What could not be reported so far.
    ///
    /// # Errors
    /// [`ProbeError::Map`].
    pub fn counters(&self) -> Result<Counters, ProbeError> {
        let per_cpu = self
            .counters
            .get(&0, 0)
            .map_err(|error| map_error("read", "COUNTERS", &error))?;
        Ok(per_cpu
            .iter()
            .fold(Counters::default(), |sum, one| Counters {
                records_lost: sum.records_lost + one.records_lost,
                entries_lost: sum.entries_lost + one.entries_lost,
                reads_failed: sum.reads_failed + one.reads_failed,
                gil_events: sum.gil_events + one.gil_events,
            }))
    }

    /// Hands every record that waits in the ring buffer to `consume`.
    pub fn drain(&mut self, mut consume: impl FnMut(&[u8])) {
        while let Some(record) = self.records.next() {
            consume(&record);
        }
    }

    /// Becomes readable when the ring buffer fills.
    ///
    /// # Errors
    /// Where no more descriptors can be had.
    pub fn ring_fd(&self) -> io::Result<OwnedFd> {
        self.records.as_fd().try_clone_to_owned()
    }
}

/// The futex words of a GIL, and what each is.
fn words_of(gil: &Gil) -> impl Iterator<Item = (u64, u32)> + use<> {
    condvar(gil.cond, word::COND)
        .chain(condvar(gil.switch_cond, word::SWITCH_COND))
        .chain([
            (gil.mutex, word::MUTEX),
            (gil.switch_mutex, word::SWITCH_MUTEX),
        ])
}

fn condvar(address: u64, word: u32) -> impl Iterator<Item = (u64, u32)> {
    let inner = INNER_WORDS.map(move |offset| (offset, word::INNER));
    let waited_on = COND_WORDS.map(move |offset| (offset, word));
    inner
        .into_iter()
        .chain(waited_on)
        .map(move |(offset, word)| (address.wrapping_add(offset), word))
}

fn attach_tracepoint(
    ebpf: &mut Ebpf,
    name: &'static str,
    tracepoint: &str,
) -> Result<(), ProbeError> {
    let program: &mut TracePoint = program(ebpf, name)?;
    program
        .load()
        .and_then(|()| program.attach("syscalls", tracepoint))
        .map(drop)
        .map_err(|error| load_error(name, &error))
}

fn attach_raw(ebpf: &mut Ebpf, name: &'static str) -> Result<(), ProbeError> {
    let program: &mut RawTracePoint = program(ebpf, name)?;
    program
        .load()
        .and_then(|()| program.attach(name))
        .map(drop)
        .map_err(|error| load_error(name, &error))
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, ProbeError>
where
    &'a mut P: TryFrom<&'a mut Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(ProbeError::Incomplete(name))
}

fn take<M: TryFrom<aya::maps::Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, ProbeError> {
    let map = ebpf.take_map(name).ok_or(ProbeError::Incomplete(name))?;
    M::try_from(map).map_err(|error| map_error("open", name, &error))
}

fn map_error(action: &'static str, map: &'static str, error: &MapError) -> ProbeError {
    ProbeError::Map {
        action,
        map,
        reason: chain(error),
    }
}

fn load_error(program: &str, error: &aya::programs::ProgramError) -> ProbeError {
    ProbeError::Load {
        program: program.to_owned(),
        reason: chain(error),
    }
}
