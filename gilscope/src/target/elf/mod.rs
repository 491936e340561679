//! The part of an ELF file that gilscope needs: segments, program interpreter, dynamic symbols.
//!
//! The file belongs to the target, so nothing in it is believed: pieces are read one by one, each is
//! bounded and so is their sum. It is never mapped: who truncates a mapped file ends its reader by `SIGBUS`.

use super::maps::Mapping;
use object::LittleEndian as LE;
use object::SectionIndex;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, Sym64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use object::read::{ReadCache, ReadRef};
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use thiserror::Error;

#[cfg(test)]
mod tests;

/// The largest piece that is read of a file. The largest table seen is a 30 MB string table.
const MAX_PIECE: u64 = 64 << 20;
/// The most that is read of a file at a time: a table and its names, each as large as a piece may be, and one such piece
/// more for all headers.
const MAX_READ: u64 = 3 * MAX_PIECE;
/// The most load segments that are kept; linkers write about four.
const MAX_SEGMENTS: usize = 64;

/// So many symbols before an address may be at one place, or too short to reach it.
const MAX_ALIASES: usize = 64;
/// The longest name of a function, in bytes.
pub const MAX_NAME: usize = 1_024;

/// Why a file is no ELF file that gilscope can read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ElfError {
    /// Not ELF at all.
    #[error("is not an ELF file")]
    NotElf,
    /// Another machine.
    #[error("not supported yet: {0} (gilscope reads x86-64, 64 bits)")]
    Unsupported(&'static str),
    /// Its headers contradict themselves or the file's size.
    #[error("is damaged: {0}")]
    Damaged(String),
}

impl From<object::read::Error> for ElfError {
    fn from(error: object::read::Error) -> ElfError {
        ElfError::Damaged(error.to_string())
    }
}

/// A `PT_LOAD` segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its size in the file.
    pub file_size: u64,
    /// Its size in memory, which ends in zeros that are not in the file.
    pub memory_size: u64,
    /// The address that it was linked for.
    pub address: u64,
    /// May be written.
    pub writable: bool,
    /// May be executed.
    pub executable: bool,
}

/// A symbol that the file defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The address that it was linked for.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
}

/// What was read of a file.
#[derive(Debug, Default)]
pub struct Elf {
    /// Load segments.
    pub segments: Vec<Segment>,
    /// Path of the program interpreter (`PT_INTERP`), which names the C library's loader.
    pub interpreter: Option<Vec<u8>>,
    /// Its symbols are those that `strip` removes.
    pub has_all_symbols: bool,
    symbols: Vec<Sym64<LE>>,
    strings: Vec<u8>,
}

impl Elf {
    /// Reads headers and dynamic symbols, which `strip` leaves where they are.
    pub fn read(file: &File) -> Result<Elf, ElfError> {
        Elf::parse(&Bounded::new(file))
    }

    fn parse(data: &Bounded) -> Result<Elf, ElfError> {
        check_machine(data)?;
        let header = FileHeader64::<LE>::parse(data)?;
        let mut elf = Elf::default();
        for segment in header.program_headers(LE, data)? {
            if segment.p_type(LE) == elf::PT_LOAD && elf.segments.len() < MAX_SEGMENTS {
                elf.segments.push(Segment::from(segment));
            }
            // The first one, as the kernel does (`load_elf_binary` in fs/binfmt_elf.c); the others are not even read.
            if elf.interpreter.is_none() {
                let path = segment.interpreter(LE, data)?;
                elf.interpreter = path.map(|path| path.get(..4096).unwrap_or(path).to_vec());
            }
        }
        let sections = header.sections(LE, data)?;
        elf.read_symbols(data, sections, elf::SHT_DYNSYM)?;
        Ok(elf)
    }

    /// Reads the symbols that `strip` removes, the dynamic ones among them, in place of the dynamic ones. Where the
    /// file has none, these stay.
    pub fn read_all_symbols(&mut self, file: &File) -> Result<(), ElfError> {
        let data = &Bounded::new(file);
        check_machine(data)?;
        let sections = FileHeader64::<LE>::parse(data)?.sections(LE, data)?;
        self.read_symbols(data, sections, elf::SHT_SYMTAB)?;
        self.has_all_symbols = true;
        Ok(())
    }

    /// Not by [`SectionTable::symbols`]: that reads every `SHT_SYMTAB_SHNDX` section as well (object 0.40,
    /// `SymbolTable::parse`), which nothing here needs.
    fn read_symbols<'a, R: ReadRef<'a>>(
        &mut self,
        data: R,
        sections: SectionTable<'a, FileHeader64<LE>, R>,
        kind: elf::SectionType,
    ) -> Result<(), ElfError> {
        let Some(table) = sections.iter().find(|s| s.sh_type(LE) == kind) else {
            return Ok(());
        };
        let symbols: &[Sym64<LE>] = table.data_as_array(LE, data)?;
        if !symbols.is_empty() {
            let strings = sections.section(SectionIndex(table.sh_link(LE) as usize))?;
            self.strings = strings.data(LE, data)?.to_vec();
            self.symbols = symbols.to_vec();
        }
        Ok(())
    }

    /// The dynamic symbol of this name, if the file defines it.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        let is_it =
            |text: &[u8]| text.strip_prefix(name.as_bytes()).and_then(<[u8]>::first) == Some(&0);
        self.defined()
            .find(|s| is_it(self.name(s)))
            .map(|s| Symbol {
                address: s.st_value(LE),
                size: s.st_size(LE),
            })
    }

    /// The names of the functions at these addresses, as linked; none where no symbol says what is there.
    pub fn functions_at(&self, addresses: &[u64]) -> Vec<Option<String>> {
        let is_code = |s: &&Sym64<LE>| matches!(s.st_type(), elf::STT_FUNC | elf::STT_GNU_IFUNC);
        let mut functions: Vec<_> = self.defined().filter(is_code).collect();
        functions.sort_by_key(|s| s.st_value(LE));
        let at = |address: &u64| {
            let behind = functions.partition_point(|s| s.st_value(LE) <= *address);
            let before = functions.get(..behind)?.iter().rev().take(MAX_ALIASES);
            let has_it = |s: &&&Sym64<LE>| address - s.st_value(LE) < s.st_size(LE);
            let name = self.name(before.into_iter().find(has_it)?);
            let name = name.get(..MAX_NAME).unwrap_or(name);
            let name = name.split(|byte| *byte == 0).next()?;
            Some(String::from_utf8_lossy(name).into_owned())
        };
        addresses.iter().map(at).collect()
    }

    /// Whether it defines a dynamic symbol whose name begins so.
    pub fn has_symbol_prefix(&self, prefix: &str) -> bool {
        self.defined()
            .any(|s| self.name(s).starts_with(prefix.as_bytes()))
    }

    fn defined(&self) -> impl Iterator<Item = &Sym64<LE>> {
        self.symbols.iter().filter(|s| !s.is_undefined(LE))
    }

    /// From the name's first byte to the end of all names.
    fn name(&self, symbol: &Sym64<LE>) -> &[u8] {
        let start = symbol.st_name(LE) as usize;
        self.strings.get(start..).unwrap_or_default()
    }

    /// The addresses of symbols of these names in the symbol table that `strip` removes, such as those of C's
    /// `static` variables; none where one of them is missing.
    pub fn static_addresses<const N: usize>(
        file: &File,
        names: [&str; N],
    ) -> Result<Option<[u64; N]>, ElfError> {
        let mut elf = Elf::default();
        elf.read_all_symbols(file)?;
        let found = names.map(|name| elf.symbol(name).map(|symbol| symbol.address));
        let all = found.iter().all(Option::is_some);
        Ok(all.then(|| found.map(Option::unwrap_or_default)))
    }

    /// The section by which functions are unwound (`.eh_frame`): for which address it is linked, and what is in it. None where there is none, or it is
    /// larger than `room`.
    pub fn unwind_section(file: &File, room: u64) -> Result<Option<(u64, Vec<u8>)>, ElfError> {
        let data = &Bounded::new(file);
        check_machine(data)?;
        let header = FileHeader64::<LE>::parse(data)?;
        let sections = header.sections(LE, data)?;
        // Read at once: see [`Bounded`].
        let names = sections.section(
            header
                .shstrndx(LE, data)
                .map(|at| SectionIndex(at as usize))?,
        )?;
        let names = names.data(LE, data)?;
        let is_it = |section: &&SectionHeader64<LE>| {
            let name = names
                .get(section.sh_name(LE) as usize..)
                .unwrap_or_default();
            name.starts_with(b".eh_frame\0") && section.sh_size(LE) <= room
        };
        let Some(section) = sections.iter().find(is_it) else {
            return Ok(None);
        };
        let bytes = section.data(LE, data)?.to_vec();
        Ok(Some((section.sh_addr(LE), bytes)))
    }

    /// Where in the file the byte lies that is linked for `address`.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|s| {
            let within = address.checked_sub(s.address)?;
            (within < s.file_size).then(|| s.offset.checked_add(within))?
        })
    }

    /// Whether the program may write the whole of a variable that is linked for `address`.
    pub fn is_variable(&self, address: u64, size: u64) -> bool {
        let holds_it = |s: &Segment| {
            let end = address.checked_sub(s.address)?.checked_add(size)?;
            Some(s.writable && end <= s.memory_size)
        };
        self.segments.iter().any(|s| holds_it(s) == Some(true))
    }

    /// What to add to a linked address to get the one in the target's memory. The loader maps each
    /// segment; others may have mapped the file too (to read it): so the value that most mappings
    /// agree on, of two the one whose code may be executed.
    pub fn load_bias(&self, mappings: &[Mapping]) -> Option<u64> {
        let mut votes: HashMap<u64, u32> = HashMap::new();
        for (mapping, segment) in pairs(mappings, &self.segments) {
            let both_executable = mapping.executable && segment.executable;
            let votes = votes.entry(segment.bias_in(mapping)).or_default();
            *votes = votes.saturating_add(if both_executable { 101 } else { 100 });
        }
        let best = votes
            .into_iter()
            .max_by_key(|&(bias, votes)| (votes, Reverse(bias)));
        best.map(|(bias, _)| bias)
    }
}

fn pairs<'a>(
    mappings: &'a [Mapping],
    segments: &'a [Segment],
) -> impl Iterator<Item = (&'a Mapping, &'a Segment)> {
    mappings.iter().flat_map(move |mapping| {
        let of_mapping = segments
            .iter()
            .filter(|s| s.pages().contains(&mapping.offset));
        of_mapping.map(move |segment| (mapping, segment))
    })
}

/// The smallest unit of a mapping on x86-64.
const PAGE: u64 = 4096;

impl Segment {
    /// The part of the file that the loader maps for it.
    fn pages(&self) -> Range<u64> {
        self.offset / PAGE * PAGE..self.offset.saturating_add(self.file_size)
    }

    /// The load bias if this mapping is of this segment. Hostile numbers wrap; what comes of them is
    /// an address that cannot be read or that holds no runtime.
    fn bias_in(&self, mapping: &Mapping) -> u64 {
        let start = mapping.start.wrapping_sub(mapping.offset);
        start.wrapping_add(self.offset).wrapping_sub(self.address)
    }
}

impl From<&ProgramHeader64<LE>> for Segment {
    fn from(header: &ProgramHeader64<LE>) -> Segment {
        let flags = header.p_flags(LE);
        Segment {
            offset: header.p_offset(LE),
            file_size: header.p_filesz(LE),
            memory_size: header.p_memsz(LE),
            address: header.p_vaddr(LE),
            writable: flags.contains(elf::PF_W),
            executable: flags.contains(elf::PF_X),
        }
    }
}

/// Said before the headers are parsed, so that another machine is named and not called damaged.
fn check_machine<'a>(data: impl ReadRef<'a>) -> Result<(), ElfError> {
    let ident = data.read_bytes_at(0, 20).map_err(|()| ElfError::NotElf)?;
    match ident {
        [0x7f, b'E', b'L', b'F', 2, 1, .., 62, 0] => Ok(()),
        [0x7f, b'E', b'L', b'F', 1, ..] => Err(ElfError::Unsupported("a 32-bit program")),
        [0x7f, b'E', b'L', b'F', 2, 2, ..] => Err(ElfError::Unsupported("a big-endian program")),
        [0x7f, b'E', b'L', b'F', 2, 1, .., 183, 0] => Err(ElfError::Unsupported("aarch64")),
        [0x7f, b'E', b'L', b'F', 2, 1, ..] => Err(ElfError::Unsupported("another processor")),
        _ => Err(ElfError::NotElf),
    }
}

/// Refuses to read large pieces, and more than so many bytes in all: a sparse file claims any size at no cost, and the
/// cache keeps every piece.
struct Bounded<'f> {
    cache: ReadCache<&'f File>,
    left: Cell<u64>,
}

impl<'f> Bounded<'f> {
    fn new(file: &'f File) -> Self {
        Self {
            cache: ReadCache::new(file),
            left: Cell::new(MAX_READ),
        }
    }
}

impl<'a> ReadRef<'a> for &'a Bounded<'_> {
    fn len(self) -> Result<u64, ()> {
        (&self.cache).len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size > MAX_PIECE {
            return Err(());
        }
        self.left.set(self.left.get().checked_sub(size).ok_or(())?);
        (&self.cache).read_bytes_at(offset, size)
    }

    /// Never: it reads a single name, and the cache would keep each by itself. All names are one piece.
    fn read_bytes_at_until(self, _: Range<u64>, _: u8) -> Result<&'a [u8], ()> {
        Err(())
    }
}
