//! The functions of a mapped file, named when the process may be gone.

use super::Module;
use crate::target::Elf;
use std::fs::File;
use std::path::PathBuf;

/// A file whose functions can be named.
#[derive(Debug)]
pub struct Functions {
    /// Path as the target sees it, with the kernel's ` (deleted)` if it was.
    pub path: PathBuf,
    load_bias: u64,
    file: File,
}

impl From<Module> for Functions {
    /// Keeps the file and no more.
    fn from(module: Module) -> Self {
        Self {
            path: module.path,
            load_bias: module.load_bias,
            file: module.file,
        }
    }
}

impl Functions {
    /// The names of the functions at these addresses in the target; none where no symbol says what is there. Reads the file's symbols each time.
    pub fn names(&self, addresses: &[u64]) -> Vec<Option<String>> {
        let unknown = || vec![None; addresses.len()];
        let Ok(mut elf) = Elf::read(&self.file) else {
            return unknown();
        };
        // A file that is damaged there has its dynamic symbols all the same.
        let _ = elf.read_all_symbols(&self.file);
        let linked = addresses.iter().map(|at| at.wrapping_sub(self.load_bias));
        elf.functions_at(&linked.collect::<Vec<_>>())
    }
}
