//! What `/proc/P` tells, file by file.

use super::PidNamespace;
use super::error::TargetError;
use super::procfs;
use super::stat::Stat;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most bytes of a command line that are kept.
const MAX_CMDLINE: u64 = 64 << 10;
/// The most bytes of a memory map that are read: at about 100 a line far above `vm.max_map_count`.
pub(super) const MAX_MAPS: u64 = 256 << 20;

pub(super) fn proc_path(pid: u32, file: &str) -> PathBuf {
    format!("/proc/{pid}/{file}").into()
}

pub(super) fn numbered_entries(dir: &Path) -> io::Result<impl Iterator<Item = u32> + use<>> {
    let entries = std::fs::read_dir(dir)?;
    Ok(entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()))
}

pub(super) fn read_status(pid: u32) -> Result<Vec<u8>, TargetError> {
    let path = proc_path(pid, "status");
    procfs::read(&path, 64 << 10).map_err(|e| match TargetError::from_io(pid, path.clone(), e) {
        TargetError::Gone { .. } => why_absent(pid, path),
        other => other,
    })
}

/// `/proc` has no such entry: there is no such process, or `/proc` hides it (`hidepid=`), or it is
/// not mounted.
fn why_absent(pid: u32, path: PathBuf) -> TargetError {
    if !Path::new("/proc/self").exists() {
        return TargetError::NoProc;
    }
    match i32::try_from(pid).map(|pid| kill(Pid::from_raw(pid), None)) {
        Ok(Ok(()) | Err(Errno::EPERM)) if pid != 0 => TargetError::NoPermission { path },
        _ => TargetError::NoSuchProcess { pid },
    }
}

pub(super) fn read_stat(pid: u32) -> Result<Stat, TargetError> {
    let path = proc_path(pid, "stat");
    let bytes =
        procfs::read(&path, 64 << 10).map_err(|e| TargetError::from_io(pid, path.clone(), e))?;
    Stat::parse(&bytes).ok_or(TargetError::Malformed { path })
}

pub(super) fn read_link(pid: u32, file: &str) -> Result<PathBuf, TargetError> {
    let path = proc_path(pid, file);
    std::fs::read_link(&path).map_err(|e| TargetError::from_io(pid, path, e))
}

/// The kernel writes paths from the reader's root on; one of another mount namespace, which has no
/// place there, from that namespace's root on (`d_path`, fs/d_path.c).
pub(super) fn seen_from(root: &Path, path: &Path) -> PathBuf {
    let below = path.strip_prefix(root).unwrap_or(path);
    Path::new("/").join(below)
}

pub(super) fn read_cmdline(pid: u32) -> Result<Vec<String>, TargetError> {
    let path = proc_path(pid, "cmdline");
    let bytes = procfs::read(&path, MAX_CMDLINE).map_err(|e| TargetError::from_io(pid, path, e))?;
    Ok(split_cmdline(&bytes))
}

fn split_cmdline(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    let arguments = bytes.split(|&b| b == 0);
    arguments
        .map(|a| String::from_utf8_lossy(a).into_owned())
        .collect()
}

pub(super) fn pid_namespace(pid: u32) -> Result<PidNamespace, TargetError> {
    let path = proc_path(pid, "ns/pid");
    let ns = std::fs::metadata(&path).map_err(|e| TargetError::from_io(pid, path, e))?;
    Ok(PidNamespace {
        dev: ns.dev(),
        ino: ns.ino(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_as_the_target_sees_them() {
        let seen = |root: &str, path| seen_from(Path::new(root), Path::new(path));
        assert_eq!(seen("/", "/usr/bin/python"), Path::new("/usr/bin/python"));
        assert_eq!(seen("/jail", "/jail/bin/python"), Path::new("/bin/python"));
        assert_eq!(seen("/jail", "/jailed/python"), Path::new("/jailed/python"));
    }

    #[test]
    fn command_lines() {
        assert_eq!(split_cmdline(b"a\0\0b c\0"), ["a", "", "b c"]);
        assert_eq!(
            split_cmdline(b"title without an end"),
            ["title without an end"]
        );
        assert_eq!(split_cmdline(b"\0"), Vec::<String>::new());
        assert_eq!(split_cmdline(b"\xff\0"), ["\u{fffd}"]);
    }
}
