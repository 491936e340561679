//! Why a mapped file cannot be used.

use super::super::elf::ElfError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a mapped file cannot be used.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// It could not be opened or read.
    #[error(
        "cannot open {}, which process {pid} has mapped: {source}; run gilscope as root, or give it CAP_SYS_PTRACE and, for a deleted file, CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN", path.display()
    )]
    Open {
        /// Process.
        pid: u32,
        /// As the target sees it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A device, a FIFO, …
    #[error("{} is not a regular file, so it is not read", path.display())]
    NotRegular {
        /// As the target sees it.
        path: PathBuf,
    },
    /// Its path names another file by now.
    #[error(
        "{} is not the file that process {pid} has mapped (replaced by an upgrade?): give gilscope CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, which open the mapped one, or restart the process", path.display()
    )]
    Replaced {
        /// Process.
        pid: u32,
        /// As the target sees it.
        path: PathBuf,
    },
    /// It is no ELF file of a kind that gilscope reads.
    #[error("{}: {source}", path.display())]
    Elf {
        /// As the target sees it.
        path: PathBuf,
        /// Why.
        source: ElfError,
    },
    /// It is mapped in a way that does not fit its headers.
    #[error("{} is not mapped as its headers say: it cannot be used; if the process was starting, try again", path.display())]
    NotLoaded {
        /// As the target sees it.
        path: PathBuf,
    },
}
