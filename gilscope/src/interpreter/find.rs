//! From a process to its interpreter.

use super::collecting::Flag;
use super::detect::{self, Libc};
use super::error::InterpreterError;
use super::layout::{self, Layout};
use super::locate::{self, Problem};
use super::semaphore::Semaphore;
use super::statics::Statics;
use super::version::{self, Version};
use crate::model::{FoundBy, Gil};
use crate::target::maps::Mapping;
use crate::target::{Memory, Module, Process};
use std::path::PathBuf;

/// The CPython in a process.
#[derive(Debug)]
pub struct Interpreter {
    /// Its version.
    pub version: Version,
    /// Built with `--disable-gil`; whether its GIL is in use all the same is [`Gil::enabled`].
    pub free_threaded: bool,
    /// The C library below it.
    pub libc: Libc,
    /// How its GILs are found.
    pub found_by: FoundBy,
    /// The file that it is in: a libpython or the program itself.
    pub module: Module,
    /// Files with a further CPython in the same process that has made its GIL, which is not reported.
    pub others: Vec<PathBuf>,
    /// Where it tells whether it collects garbage, if that is known.
    pub(super) collecting: Option<Flag>,
    pid: u32,
    place: Place,
}

/// How its GILs are reached.
#[derive(Debug)]
enum Place {
    Runtime(u64, Layout),
    Statics(Statics),
    Semaphore(Semaphore),
}

/// A list of interpreters.
pub(super) struct Interpreters {
    /// Address of the pointer to the newest.
    pub head: u64,
    /// Interpreter → pointer to the next older one.
    pub next: u64,
    /// Interpreter → its id; `None` where they have none (to 3.6).
    pub id: Option<u64>,
}

impl Interpreter {
    /// Finds the process's CPython: of several the first (by address) that has made its GIL. One older than 3.7 makes it
    /// only with its second thread, and is found before that if no other is.
    pub fn find(process: &Process) -> Result<Interpreter, InterpreterError> {
        let found = find_in(process);
        // What was read of a process that ended meanwhile, or of another with its id, says nothing.
        process.check_same()?;
        found
    }

    /// Address of `_PyRuntime`, which is there from 3.7 on.
    pub fn runtime(&self) -> Option<u64> {
        self.layout().map(|(address, _)| address)
    }

    /// Address of `_PyRuntime`, and the way from there.
    pub(super) fn layout(&self) -> Option<(u64, &Layout)> {
        match &self.place {
            Place::Runtime(address, layout) => Some((*address, layout)),
            Place::Statics(_) | Place::Semaphore(_) => None,
        }
    }

    /// Where the bytecode instructions are counted until the GIL's holder lets others have it, and from where on; `None` where that is not how it is done (3.2+).
    pub fn check_interval(&self) -> Option<(u64, u64)> {
        match &self.place {
            Place::Semaphore(semaphore) => semaphore.check_interval(),
            Place::Runtime(..) | Place::Statics(_) => None,
        }
    }

    /// Where the Python functions of its threads are; `None` where that is not known.
    pub fn frames(&self) -> Option<layout::FrameLayout> {
        layout::frames(self.version, self.free_threaded)
    }

    /// Where its list of interpreters is.
    pub(super) fn interpreters(&self) -> Option<Interpreters> {
        match &self.place {
            Place::Runtime(address, layout) => Some(Interpreters {
                head: address.wrapping_add(layout.interpreters_head),
                next: layout.next,
                id: Some(layout.id),
            }),
            Place::Statics(_) | Place::Semaphore(_) => Some(Interpreters {
                head: self.module.first_loaded(layout::INTERPRETERS_USER)?,
                next: 0,
                id: None,
            }),
        }
    }

    /// Its GILs now, the main interpreter's first: none where the first is made only when a second thread is to start
    /// (2.7). Sub-interpreters come and go: ask again to notice.
    pub fn gils(&self, memory: Memory) -> Result<Vec<Gil>, InterpreterError> {
        let (address, gils) = match &self.place {
            Place::Runtime(runtime, layout) => (*runtime, locate::gils(memory, *runtime, layout)),
            Place::Statics(statics) => {
                let gil = statics.gil(memory).map(|gil| vec![gil]);
                (statics.address(), gil)
            }
            Place::Semaphore(semaphore) => {
                let gil = semaphore.gil(memory).map(Vec::from_iter);
                (semaphore.address(), gil)
            }
        };
        gils.map_err(|problem| match problem {
            Problem::Memory(error) => error.into(),
            Problem::NotInitialised => InterpreterError::NotInitialised { pid: self.pid },
            Problem::Failed(failed) => InterpreterError::Unrecognised {
                address,
                version: self.version,
                failed,
            },
        })
    }

    /// Whether it has made a GIL.
    fn has_gil(&self, memory: Memory) -> Result<bool, InterpreterError> {
        let gils = self.gils(memory)?;
        match &self.place {
            Place::Statics(statics) => Ok(statics.is_made(memory)?),
            Place::Runtime(..) | Place::Semaphore(_) => Ok(!gils.is_empty()),
        }
    }
}

fn find_in(process: &Process) -> Result<Interpreter, InterpreterError> {
    let mut survey = detect::survey(process)?;
    let (mut started, mut idle, mut first_error) = (Vec::new(), None, None);
    for module in std::mem::take(&mut survey.interpreters) {
        let found = interpreter_in(module, process, survey.libc);
        match found.and_then(|found| Ok((found.has_gil(process.memory())?, found))) {
            Ok((true, found)) => started.push(found),
            Ok((false, found)) => {
                idle.get_or_insert(found);
            }
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    let idle = idle.filter(|_| started.is_empty());
    let mut all = started.into_iter().chain(idle);
    match all.next() {
        Some(found) => Ok(Interpreter {
            others: all.map(|other| other.module.path).collect(),
            ..found
        }),
        None => Err(first_error.unwrap_or_else(|| survey.into_error(process))),
    }
}

/// The interpreter in a file that is one, whether it has started or not.
fn interpreter_in(
    module: Module,
    process: &Process,
    libc: Libc,
) -> Result<Interpreter, InterpreterError> {
    if module.elf.symbol("_PyRuntime").is_some() {
        new_interpreter_in(module, process, libc)
    } else {
        old_interpreter_in(module, process, libc)
    }
}

/// The interpreter in a file that defines `_PyRuntime`.
fn new_interpreter_in(
    module: Module,
    process: &Process,
    libc: Libc,
) -> Result<Interpreter, InterpreterError> {
    let (pid, memory) = (process.pid, process.memory());
    let exe = process.exe.clone();
    let runtime = module
        .symbol("_PyRuntime")
        .ok_or(InterpreterError::NotPython { pid, exe })?;
    let address = runtime.address;
    if !is_writable(process, address)? {
        return Err(InterpreterError::NotInitialised { pid });
    }
    // Of a program's own symbols the linker may have left out some (`--gc-sections`), and with them the newest: then only
    // the text of the version proves the minor one.
    let is_sure = |version: &Version| version.micro.is_some() || !module.elf.has_all_symbols;
    let version = version::of_module(&module, memory)?
        .filter(is_sure)
        .ok_or_else(|| {
            let failed = "it does not tell its version".into();
            InterpreterError::Unrecognised {
                address,
                version: Version::of(3, 11),
                failed,
            }
        })?;
    let (layout, found_by) = layout_of(memory, address, version)?;
    Ok(Interpreter {
        version,
        free_threaded: layout.free_threaded,
        libc,
        found_by,
        module,
        others: Vec::new(),
        collecting: Flag::of_runtime(address, &layout),
        pid,
        place: Place::Runtime(address, layout),
    })
}

/// The loader maps a library's writable segment last and its .bss after that; until then something else can
/// be read there.
fn is_writable(process: &Process, address: u64) -> Result<bool, InterpreterError> {
    let holds_it = |m: &Mapping| m.writable && (m.start..m.end).contains(&address);
    Ok(process.mappings()?.iter().any(holds_it))
}

/// The interpreter in a file that is older than `_PyRuntime`.
fn old_interpreter_in(
    module: Module,
    process: &Process,
    libc: Libc,
) -> Result<Interpreter, InterpreterError> {
    let found = if layout::is_semaphore(version::of_names(&module)) {
        Semaphore::of_module(&module)?.map(|(semaphore, found_by)| {
            (semaphore.address(), found_by, Place::Semaphore(semaphore))
        })
    } else {
        Statics::of_module(&module)?.map(|(statics, found_by)| {
            let last = statics.last_address();
            (last, found_by, Place::Statics(statics))
        })
    };
    if let Some((address, ..)) = &found
        && !is_writable(process, *address)?
    {
        return Err(InterpreterError::NotInitialised { pid: process.pid });
    }
    // Reads much of the file, so not before there is something to say.
    let version = version::of_module(&module, process.memory())?.unwrap_or(Version::of(3, 2));
    if version < Version::of(2, 7) {
        return Err(InterpreterError::Unsupported { version });
    }
    let Some((_, found_by, place)) = found else {
        let path = module.path;
        return Err(InterpreterError::Stripped { version, path });
    };
    Ok(Interpreter {
        version,
        free_threaded: false,
        libc,
        found_by,
        collecting: Flag::of_module(&module),
        module,
        others: Vec::new(),
        pid: process.pid,
        place,
    })
}

fn layout_of(
    memory: Memory,
    address: u64,
    version: Version,
) -> Result<(Layout, FoundBy), InterpreterError> {
    if let Some(layout) = layout::of_version(version) {
        return Ok((layout, FoundBy::RuntimeSymbol));
    }
    let table = memory.read_bytes(address, layout::DEBUG_OFFSETS_SIZE)?;
    match layout::from_debug_offsets(&table, version) {
        Ok(Some(layout)) => Ok((layout, FoundBy::DebugOffsets)),
        Ok(None) => Err(InterpreterError::Unsupported { version }),
        Err(failed) => Err(InterpreterError::Unrecognised {
            address,
            version,
            failed,
        }),
    }
}
