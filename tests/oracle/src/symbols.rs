//! Where, as file offsets, the functions lie that the oracle probes.

use std::{collections::BTreeMap, fs, os::unix::fs::FileExt as _, path::Path, path::PathBuf};

use anyhow::{Context as _, bail};
use object::{
    Endianness, Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolIndex, SymbolSection,
    elf::FileHeader64,
    read::elf::{ElfFile64, FileHeader as _, Sym as _},
};

/// One place to probe.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file, as the kernel can open it.
    pub file: PathBuf,
    /// What `/proc/P/maps` calls it.
    pub module: String,
    /// The symbol.
    pub symbol: String,
    /// Its offset in the file; of a variable that is not in it, where it would be.
    pub offset: u64,
    /// Its address in the process.
    pub address: u64,
}

/// A file mapped executable into a process.
struct Module {
    name: String,
    file: PathBuf,
    bytes: Vec<u8>,
    /// Of its code: the address and the offset in the file.
    mapped: (u64, u64),
}

/// The modules of one process.
pub struct Modules(Vec<Module>);

impl Modules {
    /// Reads them through `/proc/P/map_files`, which also works in containers and for deleted files.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))
            .with_context(|| format!("no process {pid}"))?;
        let mut files = BTreeMap::new();
        for line in maps.lines() {
            let mut fields = line.splitn(6, ' ').map(str::trim);
            let (Some(range), Some(mode), Some(name)) =
                (fields.next(), fields.next(), fields.nth(3))
            else {
                continue;
            };
            if mode.contains('x') && name.starts_with('/') {
                // `maps` writes leading zeros to 8 digits, `map_files` none: no difference for mappings above 4 GB
                // (`fs/proc/base.c`, `fs/proc/task_mmu.c`).
                let trimmed: Vec<_> = range
                    .split('-')
                    .map(|end| end.trim_start_matches('0'))
                    .collect();
                let (Some(start), Some(offset)) = (trimmed.first(), line.split(' ').nth(2)) else {
                    continue;
                };
                let mapped = (
                    u64::from_str_radix(start, 16)?,
                    u64::from_str_radix(offset, 16)?,
                );
                files.entry(name.to_owned()).or_insert((
                    format!("/proc/{pid}/map_files/{}", trimmed.join("-")),
                    mapped,
                ));
            }
        }
        let mut modules = Vec::new();
        for (name, (file, mapped)) in files {
            let bytes = fs::read(&file).with_context(|| format!("cannot read {name} by {file}"))?;
            modules.push(Module {
                name,
                file: file.into(),
                bytes,
                mapped,
            });
        }
        Ok(Self(modules))
    }

    /// The semaphore that the GIL of process `pid` is, in a CPython 2.7.
    pub fn semaphore(&self, pid: u32, debug_file: Option<&Path>) -> anyhow::Result<Option<u64>> {
        let Some(pointer) = self.copies("interpreter_lock", debug_file)?.pop() else {
            return Ok(None);
        };
        let mut word = [0; 8];
        fs::File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut word, pointer.address)?;
        Ok(Some(u64::from_le_bytes(word)))
    }

    /// Every copy of function or variable `name` (`name`, `name.constprop.0`, `name.lto_priv.0`, …) in CPython's `.symtab`, or in
    /// that of `debug_file`, applied to the module of the same build ID.
    pub fn copies(&self, name: &str, debug_file: Option<&Path>) -> anyhow::Result<Vec<Place>> {
        let mut places = Vec::new();
        if let Some(path) = debug_file {
            let bytes =
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let debug = parse(&bytes)?;
            let Some(id) = debug.build_id()? else {
                bail!("{} has no build ID", path.display())
            };
            for module in &self.0 {
                if let Ok(elf) = parse(&module.bytes)
                    && elf.build_id()? == Some(id)
                {
                    module.add_copies(&elf, &debug, name, &mut places)?;
                }
            }
        } else {
            for module in &self.0 {
                if let Ok(elf) = parse(&module.bytes) {
                    module.add_copies(&elf, &elf, name, &mut places)?;
                }
            }
        }
        Ok(places)
    }

    /// The default version of exported function `name` in each module that defines it. glibc exports
    /// `pthread_cond_timedwait` twice, and the first, `@GLIBC_2.2.5`, is dead.
    pub fn exported(&self, name: &str) -> anyhow::Result<Vec<Place>> {
        let mut places = Vec::new();
        for module in &self.0 {
            let Ok(elf) = parse(&module.bytes) else {
                continue;
            };
            for address in default_versions(&elf, name)? {
                places.push(module.place(&elf, name, address)?);
            }
        }
        Ok(places)
    }
}

impl Module {
    fn add_copies(
        &self,
        elf: &Elf<'_>,
        symbols: &Elf<'_>,
        name: &str,
        places: &mut Vec<Place>,
    ) -> anyhow::Result<()> {
        for symbol in symbols.symbols() {
            let Ok(found) = symbol.name() else { continue };
            let copy = found.strip_prefix(name).is_some_and(|rest| {
                rest.is_empty()
                    || (rest.starts_with('.') && !rest.contains(".cold") && !rest.contains(".part"))
            });
            if copy && matches!(symbol.section(), SymbolSection::Section(_)) {
                places.push(self.place(elf, found, symbol.address())?);
            }
        }
        Ok(())
    }

    fn place(&self, elf: &Elf<'_>, symbol: &str, address: u64) -> anyhow::Result<Place> {
        let offset = elf.segments().find_map(|segment| {
            let (start, _) = segment.file_range();
            let inside = address.checked_sub(segment.address())?;
            (inside < segment.size()).then(|| start.checked_add(inside))?
        });
        let bias = self.load_bias(elf);
        let bias = bias.with_context(|| format!("{}: where is it loaded?", self.name))?;
        let offset =
            offset.with_context(|| format!("{}: {symbol} lies in no segment", self.name))?;
        Ok(Place {
            file: self.file.clone(),
            module: self.name.clone(),
            symbol: symbol.to_owned(),
            offset,
            address: bias.wrapping_add(address),
        })
    }

    /// What to add to a linked address to get one in the process.
    fn load_bias(&self, elf: &Elf<'_>) -> Option<u64> {
        let (start, offset) = self.mapped;
        elf.segments().find_map(|segment| {
            let (first, length) = segment.file_range();
            let pages = first & !0xfff..first.checked_add(length)?;
            let linked = segment.address().wrapping_add(offset).wrapping_sub(first);
            pages.contains(&offset).then(|| start.wrapping_sub(linked))
        })
    }
}

type Elf<'data> = ElfFile64<'data, Endianness>;

fn parse(bytes: &[u8]) -> object::Result<Elf<'_>> {
    Elf::parse(bytes)
}

fn default_versions(elf: &Elf<'_>, name: &str) -> anyhow::Result<Vec<u64>> {
    let endian = elf.endian();
    let header: &FileHeader64<_> = elf.elf_header();
    let sections = header.sections(endian, elf.data())?;
    let versions = sections.versions(endian, elf.data())?;
    let table = elf.elf_dynamic_symbol_table();
    let mut addresses = Vec::new();
    for (index, symbol) in table.iter().enumerate() {
        let default = versions
            .as_ref()
            .is_none_or(|v| !v.version_index(endian, SymbolIndex(index)).is_hidden());
        let defined = !symbol.is_undefined(endian);
        if default
            && defined
            && table
                .symbol_name(endian, symbol)
                .is_ok_and(|found| found == name.as_bytes())
        {
            addresses.push(symbol.st_value.get(endian));
        }
    }
    Ok(addresses)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// glibc has two versions; this process, like Python, calls the default one.
    #[test]
    fn the_default_version_is_found_in_libc() {
        let modules = Modules::of(std::process::id()).unwrap();
        let places = modules.exported("pthread_cond_timedwait").unwrap();
        assert_eq!(places.len(), 1, "{places:?}");
        assert!(
            places
                .iter()
                .all(|place| place.offset > 0 && place.module.contains("libc")),
            "{places:?}"
        );
        assert!(modules.exported("no_such_function").unwrap().is_empty());
    }

    #[test]
    fn a_function_of_this_program_is_found_by_symtab() {
        let modules = Modules::of(std::process::id()).unwrap();
        let main = modules.copies("main", None).unwrap();
        assert!(main.iter().any(|place| place.symbol == "main"), "{main:?}");
    }
}
