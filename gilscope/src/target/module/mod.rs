//! A file that is mapped in a target, opened: the very inode, whatever its path means by now.

mod code;
mod error;
mod functions;
mod open;
mod unwind;

pub use error::ModuleError;
pub use functions::Functions;
pub use unwind::{Registers, StackCopy, UnwindTable};

use super::elf::{Elf, Symbol};
use super::maps::{MappedFile, Mapping, mapped_files};
use super::process::{Process, TargetError};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The most mapped files that are opened of a process.
pub const MAX_MODULES: usize = 4096;
/// The largest file that is read whole.
const MAX_FILE: u64 = 256 << 20;

/// A program or library in a target.
#[derive(Debug)]
pub struct Module {
    /// Path as the target sees it, with the kernel's ` (deleted)` if it was.
    pub path: PathBuf,
    /// What was read of it.
    pub elf: Elf,
    /// Where it is mapped.
    pub mappings: Vec<Mapping>,
    /// What to add to an address of [`Module::elf`] to get one in the target.
    pub load_bias: u64,
    file: File,
}

impl Module {
    /// Opens and reads a mapped file.
    pub fn open(process: &Process, mapped: &MappedFile) -> Result<Module, ModuleError> {
        let file = open::mapped_file(process, mapped)?;
        let path = process.as_seen(&mapped.path);
        let elf = Elf::read(&file).map_err(|source| ModuleError::Elf {
            path: path.clone(),
            source,
        })?;
        let load_bias = elf.load_bias(&mapped.mappings);
        Ok(Module {
            load_bias: load_bias.ok_or_else(|| ModuleError::NotLoaded { path: path.clone() })?,
            mappings: mapped.mappings.clone(),
            path,
            elf,
            file,
        })
    }

    /// From the first to the last address in the target at which its code may be executed.
    pub fn code(&self) -> Option<Range<u64>> {
        let code = self.mappings.iter().filter(|mapping| mapping.executable);
        let start = code.clone().map(|mapping| mapping.start).min()?;
        Some(start..code.map(|mapping| mapping.end).max()?)
    }

    /// With the symbols that `strip` removes as well, for [`Module::symbol`] and [`Module::elf`].
    pub fn with_all_symbols(mut self) -> Result<Module, ModuleError> {
        let read = self.elf.read_all_symbols(&self.file);
        read.map_err(|source| ModuleError::Elf {
            path: self.path.clone(),
            source,
        })?;
        Ok(self)
    }

    /// The dynamic symbol of this name, where it lies in the target's memory.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        let symbol = self.elf.symbol(name)?;
        let address = symbol.address.wrapping_add(self.load_bias);
        Some(Symbol { address, ..symbol })
    }

    /// Where C's `static` variables of these names lie in the target's memory, if the file has symbols for
    /// all of them.
    pub fn static_addresses<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<Option<[u64; N]>, ModuleError> {
        let found = Elf::static_addresses(&self.file, names);
        let found = found.map_err(|source| ModuleError::Elf {
            path: self.path.clone(),
            source,
        })?;
        Ok(found.map(|linked| linked.map(|address| address.wrapping_add(self.load_bias))))
    }

    /// A path that names this very inode for as long as the module lives, also when it is deleted or
    /// in another mount namespace: what a uprobe is attached to.
    pub fn attach_path(&self) -> PathBuf {
        open::fd_path(&self.file)
    }

    /// The whole file, if it is not larger than 256 MiB.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let len = self.file.metadata()?.len();
        let len = usize::try_from(len.min(MAX_FILE + 1)).unwrap_or(usize::MAX);
        if len as u64 > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Opens every mapped file with code, in the order of their addresses. One that cannot be opened is an
/// error of its own.
pub fn modules(
    process: &Process,
) -> Result<impl Iterator<Item = Result<Module, ModuleError>>, TargetError> {
    let files = mapped_files(process.mappings()?).into_iter();
    let with_code = files.filter(MappedFile::is_executable).take(MAX_MODULES);
    Ok(with_code.map(move |file| Module::open(process, &file)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn own_program_is_among_them() {
        let me = Process::open(std::process::id()).unwrap();
        let all: Vec<_> = modules(&me).unwrap().map(Result::unwrap).collect();
        let exe = std::env::current_exe().unwrap();
        let program = all.iter().find(|m| m.path == exe).unwrap();
        let bytes = std::fs::read(&exe).unwrap();
        assert!(program.bytes().unwrap() == bytes);
        assert!(std::fs::read(program.attach_path()).unwrap() == bytes);
    }

    #[test]
    fn symbols_are_where_they_are() {
        let me = Process::open(std::process::id()).unwrap();
        let getpid = libc::getpid as *const () as u64;
        let at = |m: Result<Module, _>| m.ok()?.symbol("getpid");
        let found: Vec<_> = modules(&me)
            .unwrap()
            .filter_map(at)
            .map(|s| s.address)
            .collect();
        assert_eq!(found, [getpid]);
    }
}
