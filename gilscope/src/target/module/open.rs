//! Opens a mapped file without touching anything else.

use super::ModuleError;
use crate::target::maps::MappedFile;
use crate::target::memory::Memory;
use crate::target::process::Process;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A magic link to what is open: it leads to the inode and nowhere else.
pub(super) fn fd_path(file: &impl AsRawFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// The mapped file, if it is a regular one.
pub(super) fn mapped_file(process: &Process, mapped: &MappedFile) -> Result<File, ModuleError> {
    let (pid, path) = (process.pid, process.as_seen(&mapped.path));
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
    let metadata = found.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(if is_exact || is_inode_of(mapped, &metadata) {
            ModuleError::NotRegular { path }
        } else {
            ModuleError::Replaced { pid, path }
        });
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
    let same_inode = file.metadata().is_ok_and(|m| is_inode_of(mapped, &m));
    same_inode || same_first_page(process.memory(), mapped, file)
}

fn is_inode_of(mapped: &MappedFile, metadata: &Metadata) -> bool {
    let device = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    metadata.ino() == mapped.file.inode && device == (mapped.file.major, mapped.file.minor)
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
    use crate::target::maps::{FileId, Mapping, mapped_files};

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
        mapped_file(&Process::open(std::process::id()).unwrap(), &mapped)
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
            // Nothing but a file was mapped by this path.
            assert!(
                matches!(opened, Err(ModuleError::Replaced { .. })),
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
    }
}
