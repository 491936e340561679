//! A minimal ELF file: one executable segment, one symbol table, perhaps versions, relocations and unwind table.

/// Where the code begins in memory and in the file; unequal, so that no test confuses the two.
pub(super) const ADDRESS: u64 = 0x5000;
pub(super) const OFFSET: u64 = 0x200;

const FUNC: u8 = 2;
const GLOBAL: u8 = 1 << 4;

#[derive(Clone)]
pub(super) struct Symbol {
    pub(super) name: &'static str,
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) info: u8,
    pub(super) section: u16,
    pub(super) version: u16,
}

impl Symbol {
    /// A global function at this distance from the start of the code.
    pub(super) fn function(name: &'static str, distance: u64) -> Self {
        Self {
            name,
            address: ADDRESS + distance,
            size: 0,
            info: GLOBAL | FUNC,
            section: 1,
            version: 1,
        }
    }

    pub(super) fn version(self, version: u16) -> Self {
        Self { version, ..self }
    }
}

#[derive(Clone)]
pub(super) struct Elf {
    pub(super) code: Vec<u8>,
    pub(super) symbols: Vec<Symbol>,
    /// SHT_DYNSYM (11) or SHT_SYMTAB (2).
    pub(super) table: u32,
    pub(super) versioned: bool,
    /// Distances from the start of the code at which the unwind table has entries.
    pub(super) unwound: Vec<u32>,
    /// Where the loader puts an address, the symbol's number from 1, and the relocation's kind.
    pub(super) relocations: Vec<(u64, u32, u32)>,
    pub(super) machine: u16,
}

impl Elf {
    /// The function `f` at the start of this code.
    pub(super) fn of(code: &[u8]) -> Self {
        Self {
            code: code.to_vec(),
            symbols: vec![Symbol::function("f", 0)],
            table: 11,
            versioned: false,
            unwound: Vec::new(),
            relocations: Vec::new(),
            machine: 62,
        }
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let mut names = vec![0];
        let mut symbols = vec![0; 24];
        let mut versions = vec![0; 2];
        for symbol in &self.symbols {
            put(&mut symbols, &(names.len() as u32).to_le_bytes());
            put(&mut symbols, &[symbol.info, 0]);
            put(&mut symbols, &symbol.section.to_le_bytes());
            put(&mut symbols, &words(&[symbol.address, symbol.size]));
            put(&mut names, symbol.name.as_bytes());
            names.push(0);
            put(&mut versions, &symbol.version.to_le_bytes());
        }
        let mut unwind = vec![1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0];
        put(&mut unwind, &(self.unwound.len() as u32).to_le_bytes());
        for start in &self.unwound {
            put(&mut unwind, &start.to_le_bytes());
            put(&mut unwind, &[0; 4]);
        }
        let relocations = self.relocations.iter();
        let relocations = relocations.map(|&(slot, symbol, kind)| {
            words(&[slot, u64::from(symbol) << 32 | u64::from(kind), 0])
        });
        let relocations = relocations.collect::<Vec<_>>().concat();

        let mut parts = vec![0; OFFSET as usize];
        put(&mut parts, &self.code);
        let mut place = |bytes: &[u8]| {
            let at = parts.len().next_multiple_of(8);
            parts.resize(at, 0);
            put(&mut parts, bytes);
            (at as u64, bytes.len() as u64)
        };
        let unwind = place(&unwind);
        let symbols = place(&symbols);
        let names = place(&names);
        let versions = place(&versions);
        let relocations = place(&relocations);
        let mut headers = section(0, 0, (0, 0), 0, 0);
        put(&mut headers, &section(self.table, 2, symbols, 24, 2));
        put(&mut headers, &section(3, 0, names, 0, 0));
        if self.versioned {
            put(&mut headers, &section(0x6fff_ffff, 2, versions, 2, 1));
        }
        put(&mut headers, &section(4, 8, relocations, 24, 1));
        let sections = place(&headers);

        let mut start = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec();
        put(&mut start, &self.machine.to_le_bytes());
        put(&mut start, &1u32.to_le_bytes());
        put(&mut start, &words(&[0, 64, sections.0]));
        let counts = [0, 0, 64, 56, 2, 64, (sections.1 / 64) as u16, 2];
        counts
            .iter()
            .for_each(|n: &u16| put(&mut start, &n.to_le_bytes()));
        put(
            &mut start,
            &segment(1, 5, (OFFSET, self.code.len() as u64), ADDRESS),
        );
        // The unwind table counts from its own address: the code's, here.
        put(&mut start, &segment(0x6474_e550, 4, unwind, ADDRESS));
        parts[..start.len()].copy_from_slice(&start);
        parts
    }
}

fn section(kind: u32, align: u64, (at, size): (u64, u64), entry: u64, link: u32) -> Vec<u8> {
    let mut header = [0, kind].map(u32::to_le_bytes).concat();
    put(&mut header, &words(&[0, 0, at, size]));
    put(&mut header, &[link, 0].map(u32::to_le_bytes).concat());
    put(&mut header, &words(&[align, entry]));
    header
}

fn segment(kind: u32, flags: u32, (at, size): (u64, u64), address: u64) -> Vec<u8> {
    let mut header = [kind, flags].map(u32::to_le_bytes).concat();
    put(&mut header, &words(&[at, address, address, size, size, 8]));
    header
}

fn words(values: &[u64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(bytes);
}
