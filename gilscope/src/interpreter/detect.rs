//! Which mapped files are an interpreter: told by what they define, never by their names.

use super::error::InterpreterError;
use super::hidden;
use crate::target::elf::{Elf, ElfError};
use crate::target::module::modules;
use crate::target::{Module, ModuleError, Process};
use std::path::{Path, PathBuf};

/// So many files with an interpreter are kept, those at the lowest addresses: each keeps up to 128 MiB of symbols, and
/// whatever defines `_PyRuntime` counts as one.
const MAX_FILES: usize = 16;

/// The C library that the process runs on; its condition variables differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libc {
    /// GNU.
    Glibc,
    /// musl, as on Alpine.
    Musl,
    /// A static program, or another one.
    Unknown,
}

/// What the mapped files are.
pub(super) struct Survey {
    /// Those that are an interpreter, in the order of their addresses; at most [`MAX_FILES`].
    pub(super) interpreters: Vec<Module>,
    pub(super) libc: Libc,
    /// The program itself, if it exports none.
    program: Option<Module>,
    pypy: Option<PathBuf>,
    unreadable: Option<ModuleError>,
}

/// Looks into every mapped file with code.
pub(super) fn survey(process: &Process) -> Result<Survey, InterpreterError> {
    let mut survey = Survey {
        interpreters: Vec::new(),
        libc: Libc::Unknown,
        program: None,
        pypy: None,
        unreadable: None,
    };
    let executable = process.executable()?;
    for module in modules(process)? {
        match module {
            Ok(module) => survey.add(module, &executable),
            Err(error) => survey.note(error),
        }
    }
    if survey.interpreters.is_empty()
        && let Some(program) = survey.program.take()
    {
        survey.interpreters.extend(hidden::in_program(program));
    }
    Ok(survey)
}

/// Whether it defines what every CPython does: `_PyRuntime` from 3.7 on, `_PyThreadState_Current` before.
pub(super) fn is_interpreter(elf: &Elf) -> bool {
    ["_PyRuntime", "_PyThreadState_Current"]
        .iter()
        .any(|name| elf.symbol(name).is_some())
}

impl Survey {
    fn add(&mut self, module: Module, executable: &Path) {
        let elf = &module.elf;
        if self.libc == Libc::Unknown {
            self.libc = libc_of(elf.interpreter.as_deref());
        }
        if is_interpreter(elf) {
            if self.interpreters.len() < MAX_FILES {
                self.interpreters.push(module);
            }
        } else if elf.symbol("pypy_main_startup").is_some() || elf.has_symbol_prefix("PyPy") {
            self.pypy.get_or_insert(module.path);
        } else if module.path == executable {
            self.program = Some(module);
        }
    }

    /// Keeps the first failure that may have hidden an interpreter.
    fn note(&mut self, error: ModuleError) {
        let is_no_program = matches!(
            error,
            ModuleError::NotRegular { .. }
                | ModuleError::NotLoaded { .. }
                | ModuleError::Elf {
                    source: ElfError::NotElf,
                    ..
                }
        );
        if !is_no_program {
            self.unreadable.get_or_insert(error);
        }
    }

    /// Why there is no runtime in it.
    pub(super) fn into_error(self, process: &Process) -> InterpreterError {
        let pid = process.pid;
        if let Some(path) = self.pypy {
            return InterpreterError::PyPy { pid, path };
        }
        self.unreadable.map_or_else(
            || InterpreterError::NotPython {
                pid,
                exe: process.exe.clone(),
            },
            InterpreterError::from,
        )
    }
}

/// The program's `PT_INTERP` names the loader, which belongs to the C library.
fn libc_of(interpreter: Option<&[u8]>) -> Libc {
    let path = String::from_utf8_lossy(interpreter.unwrap_or_default());
    match path.rsplit('/').next() {
        Some(name) if name.starts_with("ld-musl-") => Libc::Musl,
        Some(name) if name.starts_with("ld-linux") => Libc::Glibc,
        _ => Libc::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_names_the_c_library() {
        assert_eq!(libc_of(Some(b"/lib64/ld-linux-x86-64.so.2")), Libc::Glibc);
        assert_eq!(
            libc_of(Some(b"/nix/store/x-glibc-2.40/lib/ld-linux-x86-64.so.2")),
            Libc::Glibc
        );
        assert_eq!(libc_of(Some(b"/lib/ld-musl-x86_64.so.1")), Libc::Musl);
        assert_eq!(libc_of(Some(b"/ld-musl-/ld.so")), Libc::Unknown);
        assert_eq!(libc_of(None), Libc::Unknown);
    }
}
