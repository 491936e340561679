//! In which native functions a process's threads have its GIL, and who called them, from the addresses and stacks that a clock saw.

use crate::{
    interpreter::Interpreter,
    model::{NativeAt, NativeFunction, OnCpuSamples},
    target::{
        Module, Process,
        maps::{FileId, MappedFile, mapped_files},
        module::{Functions, Registers, StackCopy, UnwindTable},
    },
};
use gilscope_common::records::{NativeRecord, OnCpuRecord};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

/// Where an address is in no file that is known, the files are read anew, but not sooner than after this.
const READ_ANEW_NS: u64 = 1_000_000_000;
/// Files whose functions are named.
const MAX_FILES: usize = 256;
/// Bytes of their unwind tables. Of 1,644 libraries the largest has 10 MB.
const MAX_TABLES: usize = 128 << 20;
/// Callers of a native function, up to the one that Python called.
const MAX_CALLERS: usize = 64;
/// Threads and places that are told apart; what comes beyond is counted, and of no function.
const MAX_PLACES: usize = 1 << 14;
/// One of these is in each file of the C library: itself, its loader, and the library for threads that glibc had before 2.34.
const C_LIBRARY: [&str; 3] = ["__libc_start_main", "__tls_get_addr", "pthread_create"];
/// Rows of the report.
const MAX_ROWS: usize = 100;

/// An address in a file's function.
type Address = (FileId, u64);

/// A native function that a thread ran, by where it and its callers were.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    tid: u32,
    at: Address,
    /// From its own caller to the one that Python called; `None` where that is not known.
    callers: Option<Vec<Address>>,
}

/// A file that native functions are in.
#[derive(Debug)]
struct NativeFile {
    functions: Functions,
    unwind: Option<UnwindTable>,
    is_c_library: bool,
}

/// What has been seen so far.
#[derive(Debug, Default)]
pub(super) struct OnCpu {
    samples: OnCpuSamples,
    mapped: Vec<MappedFile>,
    read_ns: u64,
    /// By file: those that could be opened.
    files: HashMap<FileId, Option<NativeFile>>,
    /// The size of their unwind tables.
    tables: usize,
    seen: HashMap<Place, u64>,
}

impl OnCpu {
    /// Takes a sample.
    pub(super) fn add(
        &mut self,
        process: &Process,
        python: &Interpreter,
        record: &OnCpuRecord,
        native: Option<&NativeRecord>,
    ) {
        self.samples.taken += 1;
        if self.file_at(record.instruction).is_none() {
            self.read_files(process, record.header.at_ns);
        }
        let Some(file) = self.file_at(record.instruction) else {
            self.samples.unknown += 1;
            return;
        };
        if is_python(python, file) {
            self.samples.python += 1;
            return;
        }
        self.open(process, file);
        let callers = native.and_then(|native| self.callers(process, python, native));
        if let Some(callers) = &callers
            && self.is_c_library(file)
            && callers.iter().all(|(file, _)| self.is_c_library(*file))
        {
            // Python itself compares, copies and asks for memory there.
            self.samples.python += 1;
            return;
        }
        self.samples.native += 1;
        let place = Place {
            tid: record.header.tid,
            at: (file, record.instruction),
            callers,
        };
        if self.seen.len() < MAX_PLACES || self.seen.contains_key(&place) {
            *self.seen.entry(place).or_default() += 1;
        }
    }

    fn read_files(&mut self, process: &Process, at_ns: u64) {
        if at_ns.saturating_sub(self.read_ns) >= READ_ANEW_NS {
            let mappings = process.mappings().unwrap_or_default();
            self.mapped = mapped_files(mappings);
            self.mapped.retain(MappedFile::is_executable);
            self.read_ns = at_ns;
        }
    }

    /// The file whose code is at an address.
    fn file_at(&self, address: u64) -> Option<FileId> {
        let has_it = |file: &&MappedFile| {
            let mut mappings = file.mappings.iter();
            mappings.any(|one| one.executable && (one.start..one.end).contains(&address))
        };
        Some(self.mapped.iter().find(has_it)?.file)
    }

    /// Opens a file, unless that has been tried, or too many are open.
    fn open(&mut self, process: &Process, file: FileId) {
        if self.files.contains_key(&file) || self.files.len() >= MAX_FILES {
            return;
        }
        let Some(mapped) = self.mapped.iter().find(|mapped| mapped.file == file) else {
            return;
        };
        let opened = Module::open(process, mapped).ok().map(|module| {
            let unwind = UnwindTable::read(&module);
            let fits = |table: &UnwindTable| self.tables.saturating_add(table.size()) <= MAX_TABLES;
            NativeFile {
                unwind: unwind.filter(fits),
                is_c_library: C_LIBRARY.iter().any(|name| module.symbol(name).is_some()),
                functions: module.into(),
            }
        });
        let table = opened.as_ref().and_then(|it| it.unwind.as_ref());
        self.tables += table.map_or(0, UnwindTable::size);
        self.files.insert(file, opened);
    }

    fn is_c_library(&self, file: FileId) -> bool {
        let opened = self.files.get(&file).and_then(Option::as_ref);
        opened.is_some_and(|opened| opened.is_c_library)
    }

    /// Who called the function that was seen, up to the one that Python called.
    fn callers(
        &mut self,
        process: &Process,
        python: &Interpreter,
        native: &NativeRecord,
    ) -> Option<Vec<Address>> {
        let length = usize::try_from(native.length).ok()?;
        let stack = StackCopy {
            from: native.sp,
            bytes: native.stack.get(..length)?,
        };
        let mut registers = Registers {
            ip: native.on_cpu.instruction,
            sp: native.sp,
            bp: native.bp,
            is_behind_call: false,
        };
        let mut file = self.file_at(registers.ip)?;
        let mut callers = Vec::new();
        while callers.len() < MAX_CALLERS {
            let table = self.files.get(&file)?.as_ref()?.unwind.as_ref()?;
            registers = table.caller(&registers, stack)?;
            let at = registers.inside();
            if self.file_at(at).is_none() {
                self.read_files(process, native.on_cpu.header.at_ns);
            }
            file = self.file_at(at)?;
            if is_python(python, file) {
                return Some(callers);
            }
            self.open(process, file);
            callers.push((file, at));
        }
        None
    }

    /// How many samples, and the functions that they were in, most often first. Reads the symbols of those files.
    pub(super) fn finish(&self) -> (OnCpuSamples, Vec<NativeAt>) {
        let functions = self.functions();
        let function = |at: &Address| functions.get(at).cloned();
        // In an order that does not depend on addresses.
        let mut counts: BTreeMap<_, u64> = BTreeMap::new();
        for (place, samples) in &self.seen {
            let Some(at) = function(&place.at) else {
                continue;
            };
            let callers = place.callers.as_ref();
            let callers = callers.and_then(|all| all.iter().map(function).collect());
            let callers: Option<Vec<_>> = callers;
            *counts.entry((place.tid, at, callers)).or_default() += samples;
        }
        let rows = counts.into_iter();
        let rows = rows.map(|((holder, at, callers), samples)| NativeAt {
            holder,
            at,
            callers,
            samples,
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|row| Reverse(row.samples));
        rows.truncate(MAX_ROWS);
        (self.samples, rows)
    }

    /// The functions at all addresses that were seen, of the files that could be opened.
    fn functions(&self) -> HashMap<Address, NativeFunction> {
        let mut seen: HashMap<FileId, HashSet<u64>> = HashMap::new();
        for place in self.seen.keys() {
            for (file, at) in [place.at].iter().chain(place.callers.iter().flatten()) {
                seen.entry(*file).or_default().insert(*at);
            }
        }
        let mut functions = HashMap::new();
        for (file, addresses) in seen {
            let Some(Some(NativeFile { functions: of, .. })) = self.files.get(&file) else {
                continue;
            };
            let library = of.path.file_name().unwrap_or_default().to_string_lossy();
            let addresses: Vec<_> = addresses.into_iter().collect();
            let names = of.names(&addresses);
            functions.extend(addresses.into_iter().zip(names).map(|(at, function)| {
                let library = library.clone().into_owned();
                ((file, at), NativeFunction { library, function })
            }));
        }
        functions
    }
}

fn is_python(python: &Interpreter, file: FileId) -> bool {
    let mut mappings = python.module.mappings.iter();
    mappings.any(|own| own.file == file)
}
