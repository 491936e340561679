//! A file that is mapped in a target, opened: the very inode, whatever its path means by now.

use super::elf::{Elf, ElfError, Symbol};
use super::maps::{MappedFile, Mapping, mapped_files};
use super::memory::Memory;
use super::process::{Process, TargetError};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The most mapped files that are opened of a process.
pub const MAX_MODULES: usize = 4096;
/// The largest file that is read whole.
const MAX_FILE: u64 = 256 << 20;

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

/// A program or library in a target.
#[derive(Debug)]
pub struct Module {
    /// Path as the target sees it, with the kernel's ` (deleted)` if it was.
    pub path: PathBuf,
    /// What was read of it.
    pub elf: Elf,
    /// Where it is mapped.
    pub mappings: Vec<Mapping>,
    /// What to add to an address of [`Module::elf`] to get one in the target.
    pub load_bias: u64,
    file: File,
}

impl Module {
    /// Opens and reads a mapped file.
    pub fn open(process: &Process, mapped: &MappedFile) -> Result<Module, ModuleError> {
        let file = open_mapped(process, mapped)?;
        let path = mapped.path.clone();
        let elf = Elf::read(&file).map_err(|source| ModuleError::Elf {
            path: path.clone(),
            source,
        })?;
        let load_bias = elf.load_bias(&mapped.mappings);
        Ok(Module {
            load_bias: load_bias.ok_or_else(|| ModuleError::NotLoaded { path: path.clone() })?,
            mappings: mapped.mappings.clone(),
            path,
            elf,
            file,
        })
    }

    /// The dynamic symbol of this name, where it lies in the target's memory.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        let symbol = self.elf.symbol(name)?;
        let address = symbol.address.wrapping_add(self.load_bias);
        Some(Symbol { address, ..symbol })
    }

    /// A path that names this very inode for as long as the module lives, also when it is deleted or
    /// in another mount namespace: what a uprobe is attached to.
    pub fn attach_path(&self) -> PathBuf {
        fd_path(&self.file)
    }

    /// The whole file, if it is not larger than 256 MiB.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let len = self.file.metadata()?.len();
        let len = usize::try_from(len.min(MAX_FILE + 1)).unwrap_or(usize::MAX);
        if len as u64 > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Opens every mapped file with code, in the order of their addresses. One that cannot be opened is an
/// error of its own.
pub fn modules(
    process: &Process,
) -> Result<impl Iterator<Item = Result<Module, ModuleError>>, TargetError> {
    let files = mapped_files(process.mappings()?).into_iter();
    let with_code = files.filter(MappedFile::is_executable).take(MAX_MODULES);
    Ok(with_code.map(move |file| Module::open(process, &file)))
}

/// A magic link to what is open: it leads to the inode and nowhere else.
fn fd_path(file: &impl AsRawFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn open_mapped(process: &Process, mapped: &MappedFile) -> Result<File, ModuleError> {
    let (pid, path) = (process.pid, mapped.path.clone());
    let failed = |source: io::Error| ModuleError::Open {
        pid,
        path: path.clone(),
        source,
    };
    let by_range = open_by_range(pid, mapped);
    let is_exact = by_range.is_ok();
    let found = by_range.or_else(|_| open_by_path(pid, &path));
    let found = File::from(found.map_err(failed)?);
    // `O_PATH` has touched nothing yet: to open a device or a FIFO could block or have an effect.
    if !found.metadata().map_err(failed)?.is_file() {
        return Err(ModuleError::NotRegular { path });
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut options = File::options();
    let file = options.read(true).custom_flags(flags).open(fd_path(&found));
    let file = file.map_err(failed)?;
    if is_exact || is_mapped(process, mapped, &file) {
        Ok(file)
    } else {
        Err(ModuleError::Replaced { pid, path })
    }
}

/// Through `/proc/P/map_files`: exactly what is mapped. Needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN
/// (`proc_map_files_get_link`, fs/proc/base.c).
fn open_by_range(pid: u32, mapped: &MappedFile) -> io::Result<OwnedFd> {
    let first = mapped.mappings.first().ok_or(io::ErrorKind::NotFound)?;
    let link = format!("/proc/{pid}/map_files/{:x}-{:x}", first.start, first.end);
    Ok(open(
        link.as_str(),
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

/// By its path below the target's root; no link in it leads out of there.
fn open_by_path(pid: u32, path: &Path) -> io::Result<OwnedFd> {
    let root_flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(
        format!("/proc/{pid}/root").as_str(),
        root_flags,
        Mode::empty(),
    )?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(root, path.as_os_str().as_bytes(), how)?)
}

/// What a path leads to is what is mapped if the inode is the same, or, where a file system shows
/// other numbers in `maps` than in `stat` (overlayfs), if the first page is: it holds the ELF header
/// and as a rule the build id.
fn is_mapped(process: &Process, mapped: &MappedFile, file: &File) -> bool {
    let same_inode = file.metadata().is_ok_and(|m| {
        let device = (libc::major(m.dev()), libc::minor(m.dev()));
        m.ino() == mapped.file.inode && device == (mapped.file.major, mapped.file.minor)
    });
    same_inode || same_first_page(process.memory(), mapped, file)
}

fn same_first_page(memory: Memory, mapped: &MappedFile, file: &File) -> bool {
    let first = mapped
        .mappings
        .iter()
        .find(|m| m.offset == 0 && !m.writable);
    let mut on_disk = [0; 4096];
    first.is_some_and(|m| {
        let in_memory = memory.read_array::<4096>(m.start);
        file.read_exact_at(&mut on_disk, 0).is_ok() && in_memory == Ok(on_disk)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::target::maps::FileId;

    /// As if it were mapped where nothing is, so that it is opened by its path.
    fn by_path(path: &Path) -> Result<File, ModuleError> {
        let file = FileId {
            major: 0,
            minor: 0,
            inode: 1,
        };
        let mapping = Mapping {
            start: 0x1000,
            end: 0x2000,
            writable: false,
            executable: true,
            offset: 0,
            file,
            path: path.to_path_buf(),
        };
        let path = path.to_path_buf();
        let mapped = MappedFile {
            file,
            path,
            mappings: vec![mapping],
        };
        open_mapped(&Process::open(std::process::id()).unwrap(), &mapped)
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        let devices = [Path::new("/dev/null"), Path::new("/dev/zero")];
        for path in [fifo.as_path(), &link, dir.path()]
            .into_iter()
            .chain(devices)
        {
            let opened = by_path(path);
            assert!(
                matches!(opened, Err(ModuleError::NotRegular { .. })),
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn another_file_in_the_place_of_the_mapped_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(
            by_path(file.path()),
            Err(ModuleError::Replaced { .. })
        ));
        let gone = by_path(Path::new("/nonexistent (deleted)"));
        assert!(matches!(gone, Err(ModuleError::Open { .. })));
        let magic = by_path(Path::new("/proc/self/exe"));
        assert!(matches!(magic, Err(ModuleError::Open { .. })), "{magic:?}");
    }

    #[test]
    fn own_modules_by_both_ways() {
        let me = Process::open(std::process::id()).unwrap();
        let files = mapped_files(me.mappings().unwrap());
        for mapped in files.iter().filter(|f| f.is_executable()) {
            let by_range = open_by_range(me.pid, mapped).map(File::from).unwrap();
            let by_path = open_by_path(me.pid, &mapped.path).map(File::from).unwrap();
            let (range, path) = (by_range.metadata().unwrap(), by_path.metadata().unwrap());
            assert_eq!((range.dev(), range.ino()), (path.dev(), path.ino()));
            let readable = File::open(fd_path(&by_path)).unwrap();
            assert!(is_mapped(&me, mapped, &readable));
            assert!(same_first_page(me.memory(), mapped, &readable));
        }
        let names: Vec<_> = modules(&me).unwrap().map(|m| m.unwrap().path).collect();
        assert!(names.contains(&std::env::current_exe().unwrap()));
    }

    #[test]
    fn symbols_are_where_they_are() {
        let me = Process::open(std::process::id()).unwrap();
        let getpid = libc::getpid as *const () as u64;
        let at = |m: Result<Module, _>| m.ok()?.symbol("getpid");
        let found: Vec<_> = modules(&me)
            .unwrap()
            .filter_map(at)
            .map(|s| s.address)
            .collect();
        assert_eq!(found, [getpid]);
    }
}
