//! Bounded reads below `/proc`.

use nix::errno::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

/// Reads at most `limit` bytes: a `/proc` file has no size to ask for.
pub(super) fn read(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    // Most are shorter, and `read_to_end` asks for 32 bytes first.
    let mut bytes = Vec::with_capacity(1 << 10);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the task behind a `/proc` file has ended: `open` says `ENOENT`, `read` says `ESRCH`.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::ENOENT | Errno::ESRCH)
    )
}

/// Whether the kernel refused.
pub(super) fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// The numbers after `key` in `/proc/P/status`; no name can forge a line, as the kernel escapes
/// newlines in it (`proc_task_name` in fs/proc/array.c).
pub(super) fn status_numbers<N: FromStr>(status: &[u8], key: &str) -> Vec<N> {
    String::from_utf8_lossy(status)
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .map(|numbers| {
            numbers
                .split_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn status_numbers_are_found_by_whole_key() {
        let status = b"Name:\tNSpid:\t9\nTgid:\t42\nNSpid:\t42\t7\t1\nswitches:\t4294967296\n";
        assert_eq!(status_numbers::<u32>(status, "NSpid"), [42, 7, 1]);
        assert_eq!(status_numbers::<u32>(status, "Tgid"), [42]);
        assert!(status_numbers::<u32>(status, "NS").is_empty());
        assert!(status_numbers::<u32>(b"\xff\xfe", "Tgid").is_empty());
        assert_eq!(status_numbers::<u64>(status, "switches"), [1 << 32]);
    }

    #[test]
    fn reads_are_bounded() {
        assert_eq!(read("/proc/self/status", 3).unwrap(), b"Nam");
    }
}
