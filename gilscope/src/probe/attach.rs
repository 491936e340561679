//! Attaches the programs, and is the door to their maps.

use super::{
    ProbeError,
    callers::{self, Libraries, Library},
    load::{self, Limits, chain, refused, without_signals},
    plan::Hooks,
    tracefs::Tracefs,
};
use crate::{
    model::{CondvarLock, Gil, GilLock, WaitSource},
    target::Module,
};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf},
    programs::{
        PerfEvent, Program, RawTracePoint, TracePoint, UProbe,
        perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent},
        uprobe::UProbeScope,
    },
    util::online_cpus,
};
use gilscope_common::{
    history::{CHECKPOINTS, Checkpoint, CheckpointKey},
    holder::{Blocked, BlockedKey, SleepKey, Sleeps, Turns},
    maps::{
        CallerKey, Counters, GilKey, StackKey, StackTime, Target, Thread, TidKey, Totals,
        TotalsKey, WordInfo, WordKey,
    },
    wait::{Finished, GilAddresses, phase, word},
};
use std::{
    io,
    num::NonZeroU32,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    rc::Rc,
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

const CONDVAR_PROGRAMS: [&str; 3] = ["condvar_wait", "condvar_wait_return", "condvar_signal"];

/// By the clock of each processor.
const ON_CPU: &str = "on_cpu";
/// Ticks a second: no multiple or part of what programs do at even intervals.
const TICKS: u64 = 49;

/// The section of the one variable that is written while the programs run.
const STOPPED: &str = ".bss";

/// glibc's `pthread_cond_t`: the words that a waiter may sleep on, of every layout since 2.25
/// (`sysdeps/nptl/bits/thread-shared-types.h`). Which of them are signal words is told by how they
/// are slept on, see [`gilscope_common::wait`].
const COND_WORDS: [u64; 4] = [32, 36, 40, 44];
/// Its other words: sequence numbers, group references and sizes.
const INNER_WORDS: [u64; 8] = [0, 4, 8, 12, 16, 20, 24, 28];
/// glibc's `pthread_mutex_t`: `__lock`, and `__owner` on x86-64 (`bits/struct_mutex.h`).
const MUTEX_OWNER: u64 = 8;
/// musl's: `_m_lock` (`src/internal/pthread_impl.h`, 1.2.3); in glibc's that is a count that nobody sleeps on.
const MUSL_MUTEX_LOCK: u64 = 4;

/// gilscope's programs in the kernel, attached. Dropping it detaches them.
pub struct Probe {
    /// Keeps the programs and their attachments.
    ebpf: Ebpf,
    targets: HashMap<MapData, u32, Target>,
    words: HashMap<MapData, WordKey, WordInfo>,
    threads: HashMap<MapData, u32, Thread>,
    tids: HashMap<MapData, TidKey, u32>,
    totals: HashMap<MapData, TotalsKey, Totals>,
    turns: HashMap<MapData, GilKey, Turns>,
    history: HashMap<MapData, CheckpointKey, Checkpoint>,
    blocked: HashMap<MapData, BlockedKey, Blocked>,
    sleeps: HashMap<MapData, SleepKey, Sleeps>,
    stack_times: HashMap<MapData, StackKey, StackTime>,
    counters: PerCpuArray<MapData, Counters>,
    records: RingBuf<MapData>,
    stopped: Array<MapData, u32>,
    callers: HashMap<MapData, CallerKey, u32>,
    libraries: Libraries,
    has_clocks: bool,
}

impl Probe {
    /// Loads and attaches; no process is followed yet. What only `source` needs is ready at once where it is asked for, else when a
    /// process needs it.
    ///
    /// # Errors
    /// [`ProbeError`] with what the kernel refused.
    pub fn attach(limits: &Limits, source: Option<WaitSource>) -> Result<Self, ProbeError> {
        without_signals(|| Self::load(limits, source))
    }

    fn load(limits: &Limits, source: Option<WaitSource>) -> Result<Self, ProbeError> {
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
        // A machine may refuse its clocks (`kernel.perf_event_paranoid` of some distributions): all else is measured.
        let clocks = attach_clocks(&mut ebpf);
        if let Err(error) = &clocks {
            log::warn!("{error}: what runs with the GIL held is not sampled");
        }
        if source == Some(WaitSource::Uprobe) {
            load_condvars(&mut ebpf)?;
        }
        Self::open_maps(ebpf, clocks.is_ok())
    }

    fn open_maps(mut ebpf: Ebpf, has_clocks: bool) -> Result<Self, ProbeError> {
        Ok(Self {
            targets: take(&mut ebpf, "TARGETS")?,
            words: take(&mut ebpf, "WORDS")?,
            threads: take(&mut ebpf, "THREADS")?,
            tids: take(&mut ebpf, "TIDS")?,
            totals: take(&mut ebpf, "TOTALS")?,
            turns: take(&mut ebpf, "TURNS")?,
            history: take(&mut ebpf, "HISTORY")?,
            blocked: take(&mut ebpf, "BLOCKED")?,
            sleeps: take(&mut ebpf, "SLEEPS")?,
            stack_times: take(&mut ebpf, "STACK_TIMES")?,
            counters: take(&mut ebpf, "COUNTERS")?,
            records: take(&mut ebpf, "RECORDS")?,
            stopped: take(&mut ebpf, STOPPED)?,
            callers: take(&mut ebpf, "CALLERS")?,
            libraries: Libraries::default(),
            has_clocks,
            ebpf,
        })
    }

    /// Whether clocks tell what runs with a GIL held.
    pub fn has_clocks(&self) -> bool {
        self.has_clocks
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

    /// The C library among a process's files, and what to add to an address as linked to get one in the process; told to the
    /// programs when it is new.
    ///
    /// # Errors
    /// [`ProbeError::Map`].
    pub fn library(
        &mut self,
        modules: impl Iterator<Item = Module>,
    ) -> Result<Option<(Rc<Library>, u64)>, ProbeError> {
        for module in modules {
            let known = self.libraries.len();
            let Some(library) = callers::library(&mut self.libraries, &module) else {
                continue;
            };
            if self.libraries.len() > known {
                self.publish(&library)?;
            }
            return Ok(Some((library, module.load_bias)));
        }
        Ok(None)
    }

    fn publish(&mut self, library: &Library) -> Result<(), ProbeError> {
        for (distance, kind) in &library.callers {
            let key = CallerKey {
                distance: *distance,
                library: library.id,
                padding: 0,
            };
            self.callers
                .insert(key, kind, 0)
                .map_err(|error| map_error("write", "CALLERS", &error))?;
        }
        Ok(())
    }

    /// Probes the functions that wait on and signal condition variables in a process.
    ///
    /// # Errors
    /// [`ProbeError::Load`].
    pub fn attach_condvars(&mut self, pid: u32, hooks: &Hooks) -> Result<(), ProbeError> {
        let path = hooks.module.attach_path();
        let offsets = [
            &hooks.offsets.waits,
            &hooks.offsets.returns,
            &hooks.offsets.signals,
        ];
        without_signals(|| load_condvars(&mut self.ebpf))?;
        // The returns before the entries: an entry whose return goes unseen would sleep for ever.
        for index in [1, 0, 2] {
            let name = CONDVAR_PROGRAMS[index];
            let program: &mut UProbe = program(&mut self.ebpf, name)?;
            for offset in offsets[index] {
                let scope = NonZeroU32::new(pid)
                    .map_or(UProbeScope::CallingProcess, UProbeScope::OneProcess);
                program
                    .attach(*offset, &path, scope)
                    .map_err(|error| refused(name, &error))?;
            }
        }
        Ok(())
    }

    /// Ends all figures at this moment.
    ///
    /// # Errors
    /// [`ProbeError::Map`].
    pub fn stop(&mut self) -> Result<(), ProbeError> {
        self.stopped
            .set(0, 1, 0)
            .map_err(|error| map_error("write", STOPPED, &error))
    }

    /// Detaches. From here on the maps stand still.
    pub fn detach(&mut self) {
        for (program, _) in FUTEX_PROGRAMS {
            self.unload(program);
        }
        let others = CONDVAR_PROGRAMS.into_iter().chain([ON_CPU]);
        for program in RAW_PROGRAMS.into_iter().chain(others) {
            self.unload(program);
        }
    }

    fn unload(&mut self, program: &str) {
        let result = match self.ebpf.program_mut(program) {
            Some(Program::TracePoint(program)) => program.unload(),
            Some(Program::RawTracePoint(program)) => program.unload(),
            // Loaded only where it is needed.
            Some(Program::UProbe(program)) if program.fd().is_ok() => program.unload(),
            Some(Program::PerfEvent(program)) if program.fd().is_ok() => program.unload(),
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
    pub fn watch(
        &mut self,
        pid: u32,
        gil_id: u32,
        gil: &Gil,
        source: WaitSource,
    ) -> Result<(), ProbeError> {
        self.turns
            .insert(GilKey { tgid: pid, gil_id }, Turns::NONE, 0)
            .map_err(|error| map_error("write", "TURNS", &error))?;
        if let GilLock::Semaphore { .. } = gil.lock {
            for key in checkpoints(pid, gil_id) {
                // Without, less is known of its longest waits.
                if let Err(error) = self.history.insert(key, Checkpoint::NONE, 0) {
                    log::debug!("{}", map_error("write", "HISTORY", &error));
                    break;
                }
            }
        }
        for (address, word) in words_of(gil, source) {
            let key = WordKey {
                address,
                tgid: pid,
                padding: 0,
            };
            let info = WordInfo {
                fields: fields_of(gil),
                interpreter_id_address: gil.owner.map_or(0, |owner| owner.id_address),
                interpreter_id: gil.owner.map_or(0, |owner| owner.id),
                owner_address: mutex_owner_of(gil),
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
    pub fn unwatch(&mut self, pid: u32, gil_id: u32, gil: &Gil, source: WaitSource) {
        // What is not there any more is as good as removed.
        let _ = self.turns.remove(&GilKey { tgid: pid, gil_id });
        if let GilLock::Semaphore { .. } = gil.lock {
            for key in checkpoints(pid, gil_id) {
                let _ = self.history.remove(&key);
            }
        }
        for (address, _) in words_of(gil, source) {
            let key = WordKey {
                address,
                tgid: pid,
                padding: 0,
            };
            let _ = self.words.remove(&key);
        }
    }

    /// A thread that was there before tracing began. Answers false if the kernel knows it already.
    ///
    /// # Errors
    /// [`ProbeError::Map`], for example when there are more threads than [`Limits::threads`].
    pub fn add_thread(&mut self, thread: &Thread) -> Result<bool, ProbeError> {
        if thread.wait.phase == phase::ASLEEP {
            // As the programs do when a thread goes to sleep.
            let key = TotalsKey {
                started_ns: thread.started_ns,
                tid: thread.tid,
                gil_id: thread.wait.gil_id,
            };
            self.totals
                .insert(key, Totals::default(), NO_EXIST)
                .map_err(|error| map_error("write", "TOTALS", &error))?;
        }
        if thread.ns_tid != 0 && thread.ns_tid != thread.tid {
            let (tgid, ns_tid) = (thread.tgid, thread.ns_tid);
            // What finds no room is not known as a holder, as in the programs.
            let _ = self.tids.insert(TidKey { tgid, ns_tid }, thread.tid, 0);
        }
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

    /// What the kernel knows of all threads now.
    pub fn threads(&self) -> Vec<Thread> {
        let entries = self.threads.iter().filter_map(Result::ok);
        entries.map(|(_, thread)| thread).collect()
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

    /// Who has had a GIL while which thread waited for it, as the kernel has counted it so far.
    pub fn blocked(&self) -> Vec<(BlockedKey, Blocked)> {
        self.blocked.iter().filter_map(Result::ok).collect()
    }

    /// Forgets that of a waiter that is gone.
    pub fn remove_blocked(&mut self, key: &BlockedKey) {
        let _ = self.blocked.remove(key);
    }

    /// How holders slept while which thread waited, as the kernel has counted it so far.
    pub fn sleeps(&self) -> Vec<(SleepKey, Sleeps)> {
        self.sleeps.iter().filter_map(Result::ok).collect()
    }

    /// Forgets that of a waiter that is gone.
    pub fn remove_sleeps(&mut self, key: &SleepKey) {
        let _ = self.sleeps.remove(key);
    }

    /// How long which stack has waited for which, as the kernel has counted it so far.
    pub fn stack_times(&self) -> Vec<(StackKey, StackTime)> {
        self.stack_times.iter().filter_map(Result::ok).collect()
    }

    /// Makes room for other stacks.
    pub fn remove_stack_time(&mut self, key: &StackKey) {
        let _ = self.stack_times.remove(key);
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
                condvar_waits: sum.condvar_waits + one.condvar_waits,
                condvar_returns: sum.condvar_returns + one.condvar_returns,
                stacks: sum.stacks + one.stacks,
                stacks_moved: sum.stacks_moved + one.stacks_moved,
                stacks_lost: sum.stacks_lost + one.stacks_lost,
                stacks_refused: sum.stacks_refused + one.stacks_refused,
            }))
    }

    /// How often the kernel left a program out, because another was at work on the processor: some
    /// event of a wait may be missing. Told from 5.12 on, of tracepoints and uprobes from 6.7 on.
    pub fn missed(&self) -> u64 {
        // A sample less is no event less.
        let programs = self.ebpf.programs().filter(|(name, _)| *name != ON_CPU);
        programs
            .filter_map(|(_, program)| program.fd().ok())
            .filter_map(|fd| {
                let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
                let info = std::fs::read_to_string(path).ok()?;
                let line = info
                    .lines()
                    .find_map(|line| line.strip_prefix("recursion_misses:"))?;
                line.trim().parse::<u64>().ok()
            })
            .sum()
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

/// What the programs read of a GIL.
pub fn fields_of(gil: &Gil) -> GilAddresses {
    match &gil.lock {
        GilLock::Condvar(lock) => GilAddresses {
            last_holder: lock.last_holder,
            locked: lock.locked,
            switch_number: lock.switch_number,
            mutex: lock.mutex,
        },
        GilLock::Semaphore { current_thread } => GilAddresses {
            last_holder: *current_thread,
            locked: gil.address,
            switch_number: 0,
            mutex: 0,
        },
    }
}

/// Where the owner of the GIL's mutex is; 0 where it has none.
fn mutex_owner_of(gil: &Gil) -> u64 {
    match &gil.lock {
        GilLock::Condvar(lock) => lock.mutex.wrapping_add(MUTEX_OWNER),
        GilLock::Semaphore { .. } => 0,
    }
}

/// Those of a semaphore, and one that stays empty.
fn checkpoints(tgid: u32, gil_id: u32) -> impl Iterator<Item = CheckpointKey> {
    (0..=CHECKPOINTS as u32).map(move |index| CheckpointKey {
        tgid,
        gil_id,
        index,
    })
}

/// The addresses by which the programs know a GIL, and what each is.
fn words_of(gil: &Gil, source: WaitSource) -> Vec<(u64, u32)> {
    match &gil.lock {
        GilLock::Condvar(lock) => words_of_condvars(lock, source),
        // Its value, in every glibc and in musl (`sem_t`'s first int).
        GilLock::Semaphore { .. } => vec![(gil.address, word::SEMAPHORE)],
    }
}

fn words_of_condvars(lock: &CondvarLock, source: WaitSource) -> Vec<(u64, u32)> {
    let mutexes = [
        (lock.mutex, word::MUTEX),
        (lock.switch_mutex, word::SWITCH_MUTEX),
    ];
    let condvars = [
        (lock.cond, word::COND),
        (lock.switch_cond, word::SWITCH_COND),
    ];
    match source {
        WaitSource::Futex => condvars
            .into_iter()
            .flat_map(|(address, word)| condvar(address, word))
            .chain(mutexes)
            .collect(),
        WaitSource::Uprobe => {
            let musls =
                mutexes.map(|(address, word)| (address.wrapping_add(MUSL_MUTEX_LOCK), word));
            condvars.into_iter().chain(mutexes).chain(musls).collect()
        }
    }
}

/// The futex words of a condition variable.
fn condvar(address: u64, word: u32) -> impl Iterator<Item = (u64, u32)> {
    let inner = INNER_WORDS.map(move |offset| (offset, word::INNER));
    let waited_on = COND_WORDS.map(move |offset| (offset, word));
    inner
        .into_iter()
        .chain(waited_on)
        .map(move |(offset, word)| (address.wrapping_add(offset), word))
}

fn load_condvars(ebpf: &mut Ebpf) -> Result<(), ProbeError> {
    for name in CONDVAR_PROGRAMS {
        let program: &mut UProbe = program(ebpf, name)?;
        if program.fd().is_err() {
            program.load().map_err(|error| refused(name, &error))?;
        }
    }
    Ok(())
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
        .map_err(|error| refused(name, &error))
}

fn attach_raw(ebpf: &mut Ebpf, name: &'static str) -> Result<(), ProbeError> {
    let program: &mut RawTracePoint = program(ebpf, name)?;
    program
        .load()
        .and_then(|()| program.attach(name))
        .map(drop)
        .map_err(|error| refused(name, &error))
}

fn attach_clocks(ebpf: &mut Ebpf) -> Result<(), ProbeError> {
    let program: &mut PerfEvent = program(ebpf, ON_CPU)?;
    program.load().map_err(|error| refused(ON_CPU, &error))?;
    let processors = online_cpus().map_err(|(file, error)| ProbeError::Clocks {
        reason: format!("{file}: {error}"),
    })?;
    for cpu in processors {
        let clock = PerfEventConfig::Software(SoftwareEvent::CpuClock);
        let scope = PerfEventScope::AllProcessesOneCpu { cpu };
        program
            .attach(clock, scope, SamplePolicy::Frequency(TICKS), false)
            .map_err(|error| refused(ON_CPU, &error))?;
    }
    Ok(())
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
