//! A real C library, then the same one cut and damaged.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::target::maps;
use std::os::unix::fs::FileExt;

/// The C library that this test runs on, and where it is mapped.
fn libc() -> (Vec<u8>, Vec<Mapping>) {
    let all = maps::parse(&std::fs::read("/proc/self/maps").unwrap());
    let here = libc::getpid as *const () as u64;
    let files = maps::mapped_files(all);
    let is_here = |m: &Mapping| (m.start..m.end).contains(&here);
    let file = files
        .into_iter()
        .find(|f| f.mappings.iter().any(is_here))
        .unwrap();
    (std::fs::read(&file.path).unwrap(), file.mappings)
}

fn file_with(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

#[test]
fn own_c_library() {
    let (bytes, mut mappings) = libc();
    let elf = Elf::read(&file_with(&bytes)).unwrap();
    let getpid = elf.symbol("getpid").unwrap();
    let address = libc::getpid as *const () as u64;
    let bias = elf.load_bias(&mappings).unwrap();
    assert_eq!(getpid.address.wrapping_add(bias), address);
    let mapping = mappings
        .iter()
        .find(|m| (m.start..m.end).contains(&address))
        .unwrap();
    let offset = address - mapping.start + mapping.offset;
    assert_eq!(elf.file_offset(getpid.address), Some(offset));
    assert_eq!(elf.symbol("getpi"), None);
    assert_eq!(elf.symbol("getpidd"), None);
    assert!(elf.has_symbol_prefix("getpi") && !elf.has_symbol_prefix("PyPy"));
    assert_eq!(elf.file_offset(u64::MAX), None);
    // Somebody maps the whole file to read it, below and above.
    for start in [0x1000, 0x7fff_0000_0000] {
        let first = mappings[0].clone();
        mappings.push(Mapping {
            start,
            end: start + 0x10_0000,
            offset: 0,
            ..first
        });
        assert_eq!(elf.load_bias(&mappings), Some(bias));
    }
}

/// Reads the file and asks all that can be asked: an error is fine, a panic is not.
fn exercise(file: &File, mappings: &[Mapping]) -> bool {
    let Ok(mut elf) = Elf::read(file) else {
        return false;
    };
    // Debian's has no such table.
    let _ = elf.read_all_symbols(file);
    for name in ["getpid", "_PyRuntime", ""] {
        elf.symbol(name);
    }
    elf.has_symbol_prefix("PyPy");
    elf.load_bias(mappings);
    for segment in &elf.segments {
        elf.file_offset(segment.address);
    }
    true
}

#[test]
fn cut_files() {
    let (bytes, mappings) = libc();
    let file = file_with(&bytes);
    let header = (0..2048).rev().step_by(7);
    let rest = (0..64)
        .rev()
        .map(|n| bytes.len() / 64 * n)
        .filter(|&n| n > 2048);
    for len in rest.chain(header) {
        file.set_len(len as u64).unwrap();
        // The section headers are at the end, so none of these is whole.
        assert!(!exercise(&file, &mappings), "{len}");
    }
}

#[test]
fn damaged_files() {
    let (bytes, mappings) = libc();
    let file = file_with(&bytes);
    let section_headers = u64::from_le_bytes(bytes[40..48].try_into().unwrap());
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: u64| {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut refused = 0;
    for _ in 0..1000 {
        let at = match next(4) {
            0 => next(64),
            1 => 64 + next(800),
            2 => section_headers + next(bytes.len() as u64 - section_headers),
            _ => next(0x10000),
        };
        let old = bytes[at as usize];
        let new = [0, 0xff, 0x80, next(256) as u8][next(4) as usize];
        file.write_all_at(&[new], at).unwrap();
        refused += u32::from(!exercise(&file, &mappings));
        file.write_all_at(&[old], at).unwrap();
    }
    assert!(
        refused > 50,
        "only {refused} of 1000 were refused: is anything damaged?"
    );
}

#[test]
fn a_sparse_file_is_not_read_whole() {
    let (mut bytes, _) = libc();
    // The section headers begin at the start and there are as many as the first one says.
    bytes[40..48].copy_from_slice(&4096_u64.to_le_bytes());
    bytes[60..62].copy_from_slice(&0_u16.to_le_bytes());
    bytes[4096..4160].fill(0);
    bytes[4096 + 32..4096 + 40].copy_from_slice(&(1_u64 << 31).to_le_bytes());
    let file = file_with(&bytes);
    file.set_len(1 << 40).unwrap();
    assert!(matches!(Elf::read(&file), Err(ElfError::Damaged(_))));
}

const MIB: u64 = 1 << 20;

/// A sparse file with these program headers (type, offset, size) and section headers (type, offset, size, link), the
/// first of which is the null one.
fn sparse_file(segments: &[[u64; 3]], sections: &[[u64; 4]]) -> File {
    let (libc, _) = libc();
    let mut bytes = libc[..64].to_vec();
    let section_headers = 64 + 56 * segments.len() as u64;
    bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
    bytes[40..48].copy_from_slice(&section_headers.to_le_bytes());
    bytes[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
    bytes[60..62].copy_from_slice(&(sections.len() as u16).to_le_bytes());
    // The names of the sections are in the null one: there are none.
    bytes[62..64].copy_from_slice(&0xff_ff_u16.to_le_bytes());
    for [kind, offset, size] in segments {
        for word in [*kind, *offset, 0, 0, *size, *size, 1] {
            bytes.extend(word.to_le_bytes());
        }
    }
    for [kind, offset, size, link] in sections {
        for word in [kind << 32, 0, 0, *offset, *size, *link, 1, 0] {
            bytes.extend(word.to_le_bytes());
        }
    }
    let file = file_with(&bytes);
    file.set_len(1 << 40).unwrap();
    file
}

/// What is read of it, and how many bytes that takes.
fn read_of(file: &File) -> (Elf, u64) {
    let data = Bounded::new(file);
    let elf = Elf::parse(&data).unwrap();
    (elf, MAX_READ - data.left.get())
}

#[test]
fn only_the_first_program_interpreter_is_read() {
    let kind = u64::from(elf::PT_INTERP.0);
    let all: Vec<_> = (1..=300).map(|n| [kind, n * MIB, MIB]).collect();
    let file = sparse_file(&all, &[]);
    for (n, path) in [(1, b"/first\0"), (300, b"/other\0")] {
        file.write_all_at(path, n * MIB).unwrap();
    }
    let (elf, read) = read_of(&file);
    assert_eq!(elf.interpreter.as_deref(), Some(&b"/first"[..]));
    assert!(read < 2 * MIB, "{read}");
}

#[test]
fn other_sections_of_the_symbols_are_not_read() {
    let [symtab, dynsym, strtab, shndx] = [
        elf::SHT_SYMTAB,
        elf::SHT_DYNSYM,
        elf::SHT_STRTAB,
        elf::SHT_SYMTAB_SHNDX,
    ]
    .map(|kind| u64::from(kind.0));
    for kind in [symtab, dynsym] {
        let mut all = vec![[0; 4], [kind, MIB, 48, 2], [strtab, 2 * MIB, 8, 0]];
        all.extend((3..300).map(|n| [shndx, n * MIB, MIB, 1]));
        let file = sparse_file(&[], &all);
        // The second symbol: its name's offset, its section and its address.
        file.write_all_at(&[1, 0, 0, 0, 0, 0, 1, 0, 42], MIB + 24)
            .unwrap();
        file.write_all_at(b"\0name\0", 2 * MIB).unwrap();
        if kind == dynsym {
            let (elf, read) = read_of(&file);
            assert_eq!(elf.symbol("name").unwrap().address, 42);
            assert!(read < MIB, "{read}");
        } else {
            assert_eq!(Elf::static_addresses(&file, ["name"]), Ok(Some([42])));
            assert_eq!(Elf::static_addresses(&file, ["name", "nam"]), Ok(None));
        }
    }
}

#[test]
fn no_more_is_read_than_allowed() {
    let (bytes, _) = libc();
    let file = file_with(&bytes);
    let (_, needed) = read_of(&file);
    for left in (0..needed).step_by(997).chain([needed - 1]) {
        let data = Bounded::new(&file);
        data.left.set(left);
        let error = Elf::parse(&data).map(drop).unwrap_err();
        assert!(
            matches!(error, ElfError::Damaged(_)) || left < 20,
            "{left}: {error}"
        );
    }
    let data = Bounded::new(&file);
    data.left.set(needed);
    Elf::parse(&data).unwrap();
    assert_eq!((data.left.get(), (&data).read_bytes_at(0, 1)), (0, Err(())));
}

#[test]
fn other_machines_are_named() {
    let (bytes, _) = libc();
    for (at, value, error) in [
        (0, 0, ElfError::NotElf),
        (4, 1, ElfError::Unsupported("a 32-bit program")),
        (5, 2, ElfError::Unsupported("a big-endian program")),
        (18, 183, ElfError::Unsupported("aarch64")),
        (18, 243, ElfError::Unsupported("another processor")),
    ] {
        let mut other = bytes[..4096].to_vec();
        other[at] = value;
        assert_eq!(Elf::read(&file_with(&other)).unwrap_err(), error);
    }
    assert_eq!(Elf::read(&file_with(b"")).unwrap_err(), ElfError::NotElf);
}

/// Each by a symbol that reaches over it, and none beside it.
#[test]
fn functions_by_their_addresses() {
    let file = File::open("/proc/self/exe").unwrap();
    let mut elf = Elf::read(&file).unwrap();
    elf.read_all_symbols(&file).unwrap();
    let mappings = crate::target::maps::parse(&std::fs::read("/proc/self/maps").unwrap());
    let own = std::env::current_exe().unwrap();
    let own: Vec<_> = mappings.into_iter().filter(|one| one.path == own).collect();
    let bias = elf.load_bias(&own).unwrap();
    let here = (functions_by_their_addresses as fn() as usize as u64).wrapping_sub(bias);
    let names = elf.functions_at(&[here, here + 1, 0, u64::MAX]);
    let is_it = |name: &Option<String>| {
        name.as_ref()
            .unwrap()
            .contains("functions_by_their_addresses")
    };
    assert!(names[..2].iter().all(is_it), "{names:?}");
    assert_eq!(names[2..], [None, None]);
}
