//! A process, from its id: that it is there, that it is one, and what `/proc` tells of it.

mod asleep;
mod error;
mod procfs;
mod read;
mod stat;
mod thread;

pub use asleep::RunQueues;
pub use error::TargetError;
pub use stat::Stat;
pub use thread::{SchedStat, Status, SystemCall, Thread};

use super::maps::{self, Mapping};
use super::memory::Memory;
use read::{
    MAX_MAPS, numbered_entries, pid_namespace, proc_path, read_cmdline, read_link, read_stat,
    read_status, seen_from,
};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most threads that are listed of one process.
pub const MAX_THREADS: usize = 1 << 16;
/// Inode of the initial PID namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// A PID namespace, as `bpf_get_ns_current_pid_tgid` wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidNamespace {
    /// `st_dev` of `/proc/P/ns/pid`.
    pub dev: u64,
    /// `st_ino` of it.
    pub ino: u64,
}

/// A live process. What it says was read when it was opened; `exec` may change it.
#[derive(Clone, Debug)]
pub struct Process {
    /// Process id as gilscope's own `/proc` shows it.
    pub pid: u32,
    /// Process id inside the innermost PID namespace.
    pub ns_pid: u32,
    /// The innermost PID namespace.
    pub pid_namespace: PidNamespace,
    /// Clock ticks since boot; with the id it names the process for good.
    pub start_ticks: u64,
    /// Path of the executable as the target sees it, with the kernel's ` (deleted)` if it was.
    pub exe: String,
    /// Arguments, 64 KiB at most.
    pub cmdline: Vec<String>,
    /// Name as the kernel has it.
    pub comm: String,
    /// Its root directory: `/`, also in a container; elsewhere for `chroot`.
    root: PathBuf,
}

impl Process {
    /// Finds the process with this id.
    pub fn open(pid: u32) -> Result<Process, TargetError> {
        let status = read_status(pid)?;
        if let Some(&leader) = procfs::status_numbers(&status, "Tgid").first()
            && leader != pid
        {
            return Err(TargetError::IsThread {
                tid: pid,
                pid: leader,
            });
        }
        let stat = read_stat(pid)?;
        if stat.is_zombie() {
            let ppid = stat.ppid;
            return Err(TargetError::Zombie { pid, ppid });
        }
        if stat.is_kernel_thread() {
            let comm = stat.comm;
            return Err(TargetError::KernelThread { pid, comm });
        }
        let root = read_link(pid, "root")?;
        let exe = executable(pid, &root)?;
        let ns_pid = procfs::status_numbers(&status, "NSpid").last().copied();
        let process = Process {
            pid,
            ns_pid: ns_pid.unwrap_or(pid),
            pid_namespace: pid_namespace(pid)?,
            start_ticks: stat.start_ticks,
            exe: exe.to_string_lossy().into_owned(),
            cmdline: read_cmdline(pid)?,
            comm: stat.comm,
            root,
        };
        process.check_same()?;
        Ok(process)
    }

    /// State, user and system time, ended threads included.
    pub fn stat(&self) -> Result<Stat, TargetError> {
        read_stat(self.pid)
    }

    /// Whether the id still names this process: it lives and the id was not used again.
    pub fn still_same(&self) -> bool {
        read_stat(self.pid).is_ok_and(|s| s.start_ticks == self.start_ticks && !s.is_zombie())
    }

    /// Whether any of its threads lives. The first may be a zombie while others run: it has ended
    /// before them, or another one is replacing the program (`de_thread`, fs/exec.c). One that cannot be looked at, as
    /// gilscope has no descriptor to spare, lives.
    pub fn is_alive(&self) -> bool {
        let lives = |thread: &Thread| or_unknown(thread.stat().map(|stat| !stat.is_zombie()));
        let same = read_stat(self.pid).map(|stat| stat.start_ticks == self.start_ticks);
        or_unknown(same) && or_unknown(self.threads().map(|all| all.iter().any(lives)))
    }

    /// [`TargetError::Gone`] unless [`still_same`](Process::still_same).
    pub fn check_same(&self) -> Result<(), TargetError> {
        let gone = TargetError::Gone { pid: self.pid };
        self.still_same().then_some(()).ok_or(gone)
    }

    /// Path of what it runs now, as the target sees it, with the kernel's ` (deleted)` if it was.
    pub fn executable(&self) -> Result<PathBuf, TargetError> {
        executable(self.pid, &self.root)
    }

    /// Its memory.
    pub fn memory(&self) -> Memory {
        Memory::new(self.pid)
    }

    /// What is mapped.
    pub fn mappings(&self) -> Result<Vec<Mapping>, TargetError> {
        let path = proc_path(self.pid, "maps");
        let bytes =
            procfs::read(&path, MAX_MAPS).map_err(|e| TargetError::from_io(self.pid, path, e))?;
        Ok(maps::parse(&bytes))
    }

    /// A path that `/proc` shows, as the target sees it.
    pub(super) fn as_seen(&self, path: &Path) -> PathBuf {
        if path.is_absolute() {
            seen_from(&self.root, path)
        } else {
            path.to_path_buf()
        }
    }

    /// Its threads, [`MAX_THREADS`] at most.
    pub fn threads(&self) -> Result<Vec<Thread>, TargetError> {
        let path = proc_path(self.pid, "task");
        let ids = numbered_entries(&path).map_err(|e| TargetError::from_io(self.pid, path, e))?;
        Ok(ids.take(MAX_THREADS).map(|tid| self.thread(tid)).collect())
    }

    /// One thread, whether it is there or not.
    pub fn thread(&self, tid: u32) -> Thread {
        Thread::new(self.pid, tid)
    }

    /// Ids of the processes whose parent it is.
    pub fn children(&self) -> Result<Vec<u32>, TargetError> {
        let all = numbered_entries(Path::new("/proc"))
            .map_err(|e| TargetError::from_io(self.pid, "/proc".into(), e))?;
        let is_child = |&pid: &u32| read_stat(pid).is_ok_and(|stat| stat.ppid == self.pid);
        Ok(all.filter(is_child).collect())
    }
}

/// What could not be looked at for another reason than that it is not there may be so.
fn or_unknown(is: Result<bool, TargetError>) -> bool {
    match is {
        Ok(is) => is,
        Err(TargetError::Gone { .. }) => false,
        Err(_) => true,
    }
}

fn executable(pid: u32, root: &Path) -> Result<PathBuf, TargetError> {
    Ok(seen_from(root, &read_link(pid, "exe")?))
}

impl PidNamespace {
    /// Whether it is the machine's first.
    pub fn is_initial(&self) -> bool {
        self.ino == INITIAL_PID_NAMESPACE
    }
}

/// Whether gilscope runs in the machine's first PID namespace, in which the kernel counts the ids
/// that probes see; `None` where `/proc` does not tell.
pub fn in_initial_pid_namespace() -> Option<bool> {
    let ns = std::fs::metadata("/proc/self/ns/pid").ok()?;
    Some(ns.ino() == INITIAL_PID_NAMESPACE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use nix::unistd::Pid;
    use std::process::{Child, Command, Stdio};

    /// Ends what it started.
    struct Guard(Child);

    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn own_process() {
        let me = Process::open(std::process::id()).unwrap();
        assert_eq!(me.exe, std::env::current_exe().unwrap().to_string_lossy());
        assert_eq!(me.cmdline, std::env::args().collect::<Vec<_>>());
        assert!(me.still_same());
        // The runner may run a test on the main thread.
        let in_thread = || check_own_thread(&me);
        std::thread::scope(|scope| scope.spawn(in_thread).join().unwrap());
        let reused = Process {
            start_ticks: me.start_ticks + 1,
            ..me
        };
        assert!(matches!(reused.check_same(), Err(TargetError::Gone { .. })));
    }

    fn check_own_thread(me: &Process) {
        let tid = nix::unistd::gettid().as_raw() as u32;
        let threads = me.threads().unwrap();
        let thread = threads.iter().find(|t| t.tid == tid).unwrap();
        assert!(thread.ns_tid().unwrap().is_some());
        assert_eq!(thread.stat().unwrap().state, 'R');
        thread.schedstat().unwrap();
        let opened = Process::open(tid);
        assert!(matches!(opened, Err(TargetError::IsThread { pid, .. }) if pid == me.pid));
    }

    #[test]
    fn ids_that_name_no_process() {
        for pid in [0, 1 << 30, u32::MAX] {
            let error = Process::open(pid).unwrap_err();
            assert!(
                matches!(error, TargetError::NoSuchProcess { .. }),
                "{pid}: {error}"
            );
        }
    }

    #[test]
    fn a_child_then_a_zombie() {
        let mut child = Guard(Command::new("cat").stdin(Stdio::piped()).spawn().unwrap());
        let pid = child.0.id();
        let me = Process::open(std::process::id()).unwrap();
        assert!(me.children().unwrap().contains(&pid));
        let process = Process::open(pid).unwrap();
        assert!(process.is_alive());
        drop(child.0.stdin.take());
        // Waits for the end without reaping.
        let id = nix::sys::wait::Id::Pid(Pid::from_raw(pid as i32));
        let flags = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
        nix::sys::wait::waitid(id, flags).unwrap();
        let error = Process::open(pid).unwrap_err();
        assert!(
            matches!(error, TargetError::Zombie { ppid, .. } if ppid == me.pid),
            "{error}"
        );
        assert!(me.is_alive() && !process.is_alive());
    }

    #[test]
    fn a_thread_of_the_kernel() {
        let is_kernel_thread = |pid: &u32| read_stat(*pid).is_ok_and(|s| s.is_kernel_thread());
        let Some(pid) = numbered_entries(Path::new("/proc"))
            .unwrap()
            .find(is_kernel_thread)
        else {
            println!("skipped: /proc shows no kernel thread here (another PID namespace)");
            return;
        };
        assert!(matches!(
            Process::open(pid),
            Err(TargetError::KernelThread { .. })
        ));
    }
}
