//! From a process to its interpreter.

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
    /// Files with a further CPython in the same process, whose GILs are not reported.
    pub others: Vec<PathBuf>,
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
}

impl Interpreter {
    /// Finds the process's CPython: of several the first (by address) that has made its GIL.
    pub fn find(process: &Process) -> Result<Interpreter, InterpreterError> {
        let found = find_in(process);
        // What was read of a process that ended meanwhile, or of another with its id, says nothing.
        process.check_same()?;
        found
    }

    /// Address of `_PyRuntime`, which is there from 3.7 on.
    pub fn runtime(&self) -> Option<u64> {
        match self.place {
            Place::Runtime(address, _) => Some(address),
            Place::Statics(_) | Place::Semaphore(_) => None,
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
            }),
            Place::Statics(_) | Place::Semaphore(_) => None,
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
}

fn find_in(process: &Process) -> Result<Interpreter, InterpreterError> {
    let mut survey = detect::survey(process)?;
    let modules = std::mem::take(&mut survey.runtimes);
    let mut chosen = None;
    let mut first_error = None;
    let mut others = Vec::new();
    for module in modules {
        let path = module.path.clone();
        let found = interpreter_in(module, process, survey.libc);
        match found.and_then(|found| found.gils(process.memory()).map(|_| found)) {
            Ok(found) if chosen.is_none() => chosen = Some(found),
            Ok(_) => others.push(path),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    if let Some(module) = survey.old.take_if(|_| chosen.is_none()) {
        match old_interpreter_in(module, process, survey.libc) {
            Ok(found) => chosen = Some(found),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    match chosen {
        Some(found) => Ok(Interpreter { others, ..found }),
        None => Err(first_error.unwrap_or_else(|| survey.into_error(process))),
    }
}

/// The interpreter in a file that defines `_PyRuntime`, whether it has started or not.
fn interpreter_in(
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
    let version = version::of_module(&module, memory)?.ok_or_else(|| {
        let failed = "Py_Version holds no version".into();
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
        Statics::of_module(&module)?.map(|statics| {
            let last = statics.last_address();
            (last, FoundBy::StaticSymbols, Place::Statics(statics))
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
    let found = Interpreter {
        version,
        free_threaded: false,
        libc,
        found_by,
        module,
        others: Vec::new(),
        pid: process.pid,
        place,
    };
    found.gils(process.memory())?;
    Ok(found)
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
