//! Why a process cannot be looked at.

use super::procfs;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a process cannot be looked at.
#[derive(Debug, Error)]
pub enum TargetError {
    /// Nobody has this id.
    #[error("no process {pid}: it has ended or never was; `ps -e` lists what runs")]
    NoSuchProcess {
        /// The id.
        pid: u32,
    },
    /// It has ended while it was looked at.
    #[error("process {pid} has ended: start it again and pass its new process id")]
    Gone {
        /// The id.
        pid: u32,
    },
    /// Ended, and not yet waited for.
    #[error(
        "process {pid} is a zombie: it (or its main thread) has ended, and its parent {ppid} has not yet taken note; pass a process that runs"
    )]
    Zombie {
        /// The id.
        pid: u32,
        /// Its parent.
        ppid: u32,
    },
    /// Part of the kernel.
    #[error("{pid} is a thread of the kernel ({comm}), not a program; pass the id of a process")]
    KernelThread {
        /// The id.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// The id of a thread.
    #[error("{tid} is a thread of process {pid}, not a process: pass {pid}")]
    IsThread {
        /// The id that was asked for.
        tid: u32,
        /// Its process.
        pid: u32,
    },
    /// The kernel does not let us.
    #[error(
        "no permission to read {}: run gilscope as root, or give it CAP_SYS_PTRACE", path.display()
    )]
    NoPermission {
        /// What was refused.
        path: PathBuf,
    },
    /// There is no `/proc`.
    #[error("/proc is not mounted here: mount it with `mount -t proc proc /proc`")]
    NoProc,
    /// A file below `/proc` that does not look as the kernel writes it.
    #[error("{} does not look as Linux writes it: this kernel is not supported; please report it", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Another failure.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl TargetError {
    /// What an error below `/proc/P` means.
    pub(super) fn from_io(pid: u32, path: PathBuf, source: io::Error) -> TargetError {
        if procfs::is_gone(&source) {
            TargetError::Gone { pid }
        } else if procfs::is_refused(&source) {
            TargetError::NoPermission { path }
        } else {
            TargetError::Io { path, source }
        }
    }
}
