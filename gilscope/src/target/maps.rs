//! `/proc/P/maps`, from bytes to the files that are mapped.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Which file a mapping is of, as `/proc/P/maps` tells it. On overlayfs the device is not the one
/// that `stat` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device, major number.
    pub major: u32,
    /// Device, minor number.
    pub minor: u32,
    /// Inode number.
    pub inode: u64,
}

/// One line of `/proc/P/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// May be written.
    pub writable: bool,
    /// May be executed.
    pub executable: bool,
    /// Where in the file it begins.
    pub offset: u64,
    /// The file; inode 0 for none.
    pub file: FileId,
    /// Path in the target's mount namespace, or `[heap]` and the like, or empty.
    pub path: PathBuf,
}

/// A file with its mappings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// Which.
    pub file: FileId,
    /// Path in the target's mount namespace, with the kernel's ` (deleted)` if it was.
    pub path: PathBuf,
    /// In the order of their addresses.
    pub mappings: Vec<Mapping>,
}

/// All lines that can be read; a line that cannot is left out.
pub fn parse(bytes: &[u8]) -> Vec<Mapping> {
    bytes
        .split(|&b| b == b'\n')
        .filter_map(parse_line)
        .collect()
}

/// `start-end perms offset major:minor inode path`; the path begins after padding and may hold
/// anything but a newline (`show_map_vma` in fs/proc/task_mmu.c).
fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let range = word(&mut rest)?;
    let (start, end) = range.split_once('-')?;
    let perms = word(&mut rest)?.as_bytes();
    let offset = word(&mut rest)?;
    let (major, minor) = word(&mut rest)?.split_once(':')?;
    let inode = word(&mut rest)?;
    let path = rest.trim_ascii_start();
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let mapping = Mapping {
        start: hex(start)?,
        end: hex(end)?,
        writable: perms.get(1) == Some(&b'w'),
        executable: perms.get(2) == Some(&b'x'),
        offset: hex(offset)?,
        file: FileId {
            major: u32::from_str_radix(major, 16).ok()?,
            minor: u32::from_str_radix(minor, 16).ok()?,
            inode: inode.parse().ok()?,
        },
        path: OsString::from_vec(unescape(path)).into(),
    };
    (mapping.start < mapping.end).then_some(mapping)
}

/// Takes one word and the single space after it.
fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
    let (word, tail) = rest.split_at_checked(end)?;
    *rest = tail.get(1..).unwrap_or_default();
    std::str::from_utf8(word).ok().filter(|w| !w.is_empty())
}

/// The kernel writes a newline in a path as `\012` and nothing else in another way, so a path that
/// truly holds `\012` is misread; whoever opens it checks the inode.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            out.push(b'\n');
            rest = after;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

/// The files among the mappings, by their inode, in the order of their first address.
pub fn mapped_files(mappings: Vec<Mapping>) -> Vec<MappedFile> {
    let mut files: Vec<MappedFile> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for mapping in mappings {
        if mapping.file.inode == 0 {
            continue;
        }
        let at = *index.entry(mapping.file).or_insert_with(|| {
            files.push(MappedFile {
                file: mapping.file,
                path: mapping.path.clone(),
                mappings: Vec::new(),
            });
            files.len() - 1
        });
        if let Some(file) = files.get_mut(at) {
            file.mappings.push(mapping);
        }
    }
    files
}

impl MappedFile {
    /// Whether any of it may be executed, as a library or a program is.
    pub fn is_executable(&self) -> bool {
        self.mappings.iter().any(|m| m.executable)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use std::path::Path;

    const LIB: &[u8] = b"7f0000000000-7f0000001000 r--p 00000000 08:01 77                         /usr/lib/lib x.so
7f0000001000-7f0000003000 r-xp 00001000 08:01 77                         /usr/lib/lib x.so
7f0000003000-7f0000004000 rw-p 00000000 00:00 0
7f0000004000-7f0000005000 rw-p 00003000 08:01 77                         /usr/lib/lib x.so
";

    #[test]
    fn lines_are_grouped_by_file() {
        let mappings = parse(LIB);
        assert_eq!(mappings.len(), 4);
        assert_eq!(mappings[1].offset, 0x1000);
        assert!(mappings[1].executable && !mappings[1].writable);
        assert!(mappings[3].writable);
        let files = mapped_files(mappings);
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].mappings.len(), 3);
        assert_eq!(files[0].path, Path::new("/usr/lib/lib x.so"));
        assert!(files[0].is_executable());
    }

    #[test]
    fn hostile_paths() {
        for (written, path) in [
            ("/a\\012b", "/a\nb"),
            ("/a (deleted)", "/a (deleted)"),
            ("/ spaces  inside ", "/ spaces  inside "),
            ("/1-2 r-xp 0 0:0 5 /x", "/1-2 r-xp 0 0:0 5 /x"),
            ("[heap]", "[heap]"),
            ("", ""),
        ] {
            let line = format!("1000-2000 r-xp 00000000 fd:10 5   {written}");
            let mapping = parse_line(line.as_bytes()).expect(written);
            assert_eq!(mapping.path, Path::new(path));
            assert_eq!((mapping.file.major, mapping.file.minor), (0xfd, 0x10));
        }
        let not_utf8 = parse_line(b"1000-2000 r-xp 0 0:0 5 /\xff\xfe").unwrap();
        assert_eq!(not_utf8.path.into_os_string().into_vec(), b"/\xff\xfe");
    }

    #[test]
    fn lines_that_are_none_are_left_out() {
        for line in [
            "",
            " ",
            "1000",
            "1000-",
            "2000-1000 r-xp 0 0:0 5 /x",
            "1000-1000 r-xp 0 0:0 5 /x",
            "x-y r-xp 0 0:0 5 /x",
            "1000-2000 r-xp 0 00 5 /x",
            "1000-2000 r-xp 0 0:0 -5 /x",
            "1000-fffffffffffffffff r-xp 0 0:0 5 /x",
            "1000-2000  r-xp 0 0:0 5 /x",
        ] {
            assert_eq!(parse_line(line.as_bytes()), None, "{line:?}");
        }
        for end in 0..LIB.len() {
            assert!(parse(&LIB[..end]).len() <= 4);
        }
    }

    #[test]
    fn own_maps() {
        let mappings = parse(&std::fs::read("/proc/self/maps").unwrap());
        let here = own_maps as fn() as usize as u64;
        let mine = mappings
            .iter()
            .find(|m| (m.start..m.end).contains(&here))
            .unwrap();
        assert!(mine.executable);
        assert_eq!(mine.path, std::env::current_exe().unwrap());
    }
}
