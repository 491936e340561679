//! A program with an interpreter that it does not export: linked with CPython's archive, but not with `-rdynamic`.

use super::detect::is_interpreter;
use crate::target::Module;
use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt,
    sync::{Mutex, PoisonError},
};

/// Device, inode and time of its last change: the same file with the same bytes.
type Identity = (u64, u64, i64, i64);

/// Programs that hold none. While a program starts it is looked at every 2 ms, and a symbol table may have megabytes.
static WITHOUT: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());
/// How many are remembered.
const MAX_REMEMBERED: usize = 1024;

/// The program with all its symbols, if they are those of an interpreter. None where the table was stripped, or cannot
/// be read.
pub(super) fn in_program(program: Module) -> Option<Module> {
    let metadata = program.file().metadata().ok()?;
    let identity = (
        metadata.dev(),
        metadata.ino(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    );
    let without = || WITHOUT.lock().unwrap_or_else(PoisonError::into_inner);
    if without().contains(&identity) {
        return None;
    }
    let program = program.with_all_symbols().ok();
    let found = program.filter(|program| is_interpreter(&program.elf));
    if found.is_none() {
        let mut without = without();
        if without.len() >= MAX_REMEMBERED {
            without.clear();
        }
        without.insert(identity);
    }
    found
}
