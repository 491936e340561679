//! Which mapped files are an interpreter: told by what they export, never by their names.

use super::error::InterpreterError;
use crate::target::elf::ElfError;
use crate::target::module::modules;
use crate::target::{Module, ModuleError, Process};
use std::path::PathBuf;

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
    /// Those that define `_PyRuntime` (3.7+), in the order of their addresses.
    pub(super) runtimes: Vec<Module>,
    pub(super) libc: Libc,
    /// Defines `_PyThreadState_Current` (2.7 – 3.6).
    pub(super) old: Option<Module>,
    pypy: Option<PathBuf>,
    unreadable: Option<ModuleError>,
}

/// Looks into every mapped file with code.
pub(super) fn survey(process: &Process) -> Result<Survey, InterpreterError> {
    let mut survey = Survey {
        runtimes: Vec::new(),
        libc: Libc::Unknown,
        old: None,
        pypy: None,
        unreadable: None,
    };
    for module in modules(process)? {
        match module {
            Ok(module) => survey.add(module),
            Err(error) => survey.note(error),
        }
    }
    Ok(survey)
}

impl Survey {
    fn add(&mut self, module: Module) {
        let elf = &module.elf;
        if self.libc == Libc::Unknown {
            self.libc = libc_of(elf.interpreter.as_deref());
        }
        if elf.symbol("_PyRuntime").is_some() {
            self.runtimes.push(module);
        } else if elf.symbol("_PyThreadState_Current").is_some() {
            self.old.get_or_insert(module);
        } else if elf.symbol("pypy_main_startup").is_some() || elf.has_symbol_prefix("PyPy") {
            self.pypy.get_or_insert(module.path);
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
