//! The native code of a process: which file an address is in, and who called a function there.

use crate::{
    interpreter::Interpreter,
    target::{
        Module, Process,
        maps::{FileId, MappedFile, mapped_files},
        module::{Functions, Registers, StackCopy, UnwindTable},
    },
};
use gilscope_common::records::NativeRecord;
use std::{
    collections::HashMap,
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// How old what is known of the process's mappings may be as code is looked for that is not the interpreter's.
const MAPPINGS_AGE_NS: u64 = 1_000_000_000;
/// Files that are opened.
const MAX_FILES: usize = 256;
/// Bytes of unwind tables of all processes. Of 1,644 libraries the largest has 10 MB.
const MAX_TABLES: usize = 256 << 20;
/// Callers of a native function, up to the one that Python called.
const MAX_CALLERS: usize = 64;
/// One of `CALLERS_PART` of the time may be spent on who called whom, and so much on one stack; but for hostile tables it takes microseconds.
const CALLERS_PART: u32 = 50;
const MAX_STACK_TIME: Duration = Duration::from_millis(10);
/// One of these is in each file of the C library: itself, its loader, and the library for threads that glibc had before 2.34.
const C_LIBRARY: [&str; 3] = ["__libc_start_main", "__tls_get_addr", "pthread_create"];

/// Bytes of unwind tables that are kept now.
static TABLES: AtomicUsize = AtomicUsize::new(0);

/// A file at a place: the same file elsewhere is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mapped {
    file: FileId,
    start: u64,
}

/// An address in a file's code.
pub(super) type Address = (Mapped, u64);

/// What is known of it.
#[derive(Debug)]
pub(super) struct NativeCode {
    mapped: Vec<MappedFile>,
    /// Their code, in the order of the addresses.
    code: Vec<(Range<u64>, Mapped)>,
    read_ns: u64,
    /// Those that could be opened.
    files: HashMap<Mapped, Option<NativeFile>>,
    since: Instant,
    /// Spent on who called whom.
    spent: Duration,
}

#[derive(Debug)]
struct NativeFile {
    functions: Functions,
    unwind: Option<Kept>,
    is_c_library: bool,
}

/// A table that is counted among [`TABLES`].
#[derive(Debug)]
struct Kept(UnwindTable);

impl Kept {
    /// Reads that of a file, if there is room for it.
    fn read(module: &Module) -> Option<Self> {
        let room = MAX_TABLES.saturating_sub(TABLES.load(Ordering::Relaxed));
        let table = UnwindTable::read(module, room)?;
        TABLES.fetch_add(table.size(), Ordering::Relaxed);
        Some(Self(table))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        TABLES.fetch_sub(self.0.size(), Ordering::Relaxed);
    }
}

impl Default for NativeCode {
    fn default() -> Self {
        Self {
            mapped: Vec::new(),
            code: Vec::new(),
            read_ns: 0,
            files: HashMap::new(),
            since: Instant::now(),
            spent: Duration::ZERO,
        }
    }
}

impl NativeCode {
    /// The file whose code is at an address.
    pub(super) fn file_at(&self, address: u64) -> Option<Mapped> {
        let behind = self
            .code
            .partition_point(|(range, _)| range.start <= address);
        let (range, mapped) = self.code.get(behind.checked_sub(1)?)?;
        range.contains(&address).then_some(*mapped)
    }

    /// Reads where files are mapped, unless that was done a moment ago.
    pub(super) fn read_mappings(&mut self, process: &Process, at_ns: u64) {
        if self.read_ns != 0 && at_ns.saturating_sub(self.read_ns) < MAPPINGS_AGE_NS {
            return;
        }
        self.read_ns = at_ns;
        self.mapped = mapped_files(process.mappings().unwrap_or_default());
        self.mapped.retain(MappedFile::is_executable);
        let code = self.mapped.iter().flat_map(|file| {
            let executable = file.mappings.iter().filter(|one| one.executable);
            executable.filter_map(|one| Some((one.start..one.end, key(file)?)))
        });
        self.code = code.collect();
        self.code.sort_unstable_by_key(|(range, _)| range.start);
    }

    /// Opens a file, unless that has been tried, or too many are open.
    pub(super) fn open(&mut self, process: &Process, file: Mapped) {
        if self.files.contains_key(&file) || self.files.len() >= MAX_FILES {
            return;
        }
        let mut mapped = self.mapped.iter();
        let Some(mapped) = mapped.find(|mapped| key(mapped) == Some(file)) else {
            return;
        };
        let opened = Module::open(process, mapped).ok();
        let opened = opened.map(|module| NativeFile {
            unwind: Kept::read(&module),
            is_c_library: C_LIBRARY.iter().any(|name| module.symbol(name).is_some()),
            functions: module.into(),
        });
        self.files.insert(file, opened);
    }

    /// Whether it is a file of the C library that has been opened.
    pub(super) fn is_c_library(&self, file: Mapped) -> bool {
        let opened = self.files.get(&file).and_then(Option::as_ref);
        opened.is_some_and(|opened| opened.is_c_library)
    }

    /// The functions of a file that has been opened.
    pub(super) fn functions(&self, file: Mapped) -> Option<&Functions> {
        Some(&self.files.get(&file)?.as_ref()?.functions)
    }

    /// Who called the function that was seen, from its own caller to the one that Python called.
    pub(super) fn callers(
        &mut self,
        process: &Process,
        python: &Interpreter,
        native: &NativeRecord,
    ) -> Option<Vec<Address>> {
        if self.spent * CALLERS_PART > self.since.elapsed() + Duration::from_secs(1) {
            return None;
        }
        let began = Instant::now();
        let callers = self.callers_until(process, python, native, began + MAX_STACK_TIME);
        self.spent += began.elapsed();
        callers
    }

    fn callers_until(
        &mut self,
        process: &Process,
        python: &Interpreter,
        native: &NativeRecord,
        until: Instant,
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
        while callers.len() < MAX_CALLERS && (callers.is_empty() || Instant::now() < until) {
            let Kept(table) = self.files.get(&file)?.as_ref()?.unwind.as_ref()?;
            registers = table.caller(&registers, stack)?;
            let at = registers.inside();
            file = self.file_at(at)?;
            if is_python(python, file) {
                return Some(callers);
            }
            self.open(process, file);
            callers.push((file, at));
        }
        None
    }

    /// Nothing more will be seen: what only the search for callers needs is given back.
    pub(super) fn is_over(&mut self) {
        for file in self.files.values_mut().flatten() {
            file.unwind = None;
        }
        (self.mapped, self.code) = (Vec::new(), Vec::new());
    }
}

/// Whether it is the file that the interpreter is in.
pub(super) fn is_python(python: &Interpreter, mapped: Mapped) -> bool {
    let mut mappings = python.module.mappings.iter();
    mappings.any(|own| own.file == mapped.file)
}

fn key(mapped: &MappedFile) -> Option<Mapped> {
    Some(Mapped {
        file: mapped.file,
        start: mapped.mappings.first()?.start,
    })
}
