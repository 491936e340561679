//! Which lock a thread waits for, told by the C library's function that waits.

use crate::target::{Module, function};
use gilscope_common::lock::kind;
use std::{
    collections::{BTreeMap, HashMap},
    os::unix::fs::MetadataExt,
    rc::Rc,
};

/// Functions that wait, and for what. Those that a library lacks, or whose code cannot be followed, tell nothing.
const WAITING: [(&str, u32); 15] = [
    ("sem_wait", kind::SEMAPHORE),
    ("sem_timedwait", kind::SEMAPHORE),
    ("sem_clockwait", kind::SEMAPHORE),
    ("pthread_cond_wait", kind::CONDVAR),
    ("pthread_cond_timedwait", kind::CONDVAR),
    ("pthread_cond_clockwait", kind::CONDVAR),
    ("pthread_mutex_lock", kind::MUTEX),
    ("pthread_mutex_timedlock", kind::MUTEX),
    ("pthread_mutex_clocklock", kind::MUTEX),
    ("pthread_rwlock_rdlock", kind::RWLOCK),
    ("pthread_rwlock_timedrdlock", kind::RWLOCK),
    ("pthread_rwlock_clockrdlock", kind::RWLOCK),
    ("pthread_rwlock_wrlock", kind::RWLOCK),
    ("pthread_rwlock_timedwrlock", kind::RWLOCK),
    ("pthread_rwlock_clockwrlock", kind::RWLOCK),
];

/// C libraries that are told apart at one time.
pub const MAX_LIBRARIES: u32 = 64;
/// Places in all of them. glibc 2.36 has some 130.
pub const MAX_CALLERS: u32 = MAX_LIBRARIES * 512;

/// A C library's functions that wait.
#[derive(Debug)]
pub struct Library {
    /// Its number; never 0.
    pub id: u32,
    /// The lowest address, as linked, that one of them is returned into.
    pub lowest: u64,
    /// From there to just behind the highest.
    pub size: u64,
    /// What is waited for where it is returned into, by the distance from `lowest`.
    pub callers: BTreeMap<u64, u32>,
}

/// The libraries that have been looked at, by their file: device, inode, size, when it was changed.
pub type Libraries = HashMap<[i64; 5], Option<Rc<Library>>>;

/// The library in a file, if it is the C library: the one that defines `sem_wait` (before glibc 2.34 libpthread).
pub fn library(known: &mut Libraries, module: &Module) -> Option<Rc<Library>> {
    module.elf.symbol("sem_wait")?;
    let file = module.file().metadata().ok()?;
    let key = [
        file.dev().cast_signed(),
        file.ino().cast_signed(),
        file.size().cast_signed(),
        file.mtime(),
        file.mtime_nsec(),
    ];
    if let Some(library) = known.get(&key) {
        return library.clone();
    }
    let id = u32::try_from(known.len()).ok()?.checked_add(1)?;
    if id > MAX_LIBRARIES {
        log::debug!("more than {MAX_LIBRARIES} C libraries: no more are told apart");
        return None;
    }
    let library = module.bytes().ok().and_then(|elf| read(id, &elf));
    let library = library.map(Rc::new);
    known.insert(key, library.clone());
    library
}

fn read(id: u32, elf: &[u8]) -> Option<Library> {
    let mut found: BTreeMap<u64, u32> = BTreeMap::new();
    for (name, kind) in WAITING {
        match function::find(elf, name) {
            Ok(function) => {
                for address in function.return_addresses {
                    // What two of different kinds share tells nothing.
                    let known = found.entry(address).or_insert(kind);
                    *known = if *known == kind { kind } else { kind::UNKNOWN };
                }
            }
            Err(error) => log::debug!("{name}: {error}"),
        }
    }
    among(id, found)
}

/// The library in which these are. The addresses are what a file says: any.
fn among(id: u32, found: BTreeMap<u64, u32>) -> Option<Library> {
    let (lowest, highest) = (*found.first_key_value()?.0, *found.last_key_value()?.0);
    let callers = found
        .into_iter()
        .map(|(address, kind)| (address - lowest, kind));
    Some(Library {
        id,
        lowest,
        size: (highest - lowest).saturating_add(1),
        callers: callers.take(512).collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_size_is_from_the_lowest_to_behind_the_highest() {
        for (lowest, highest, size) in [(7, 7, 1), (7, 9, 3), (0, u64::MAX, u64::MAX)] {
            let found = [lowest, highest].map(|address| (address, kind::MUTEX));
            let library = among(1, found.into()).unwrap();
            assert_eq!((library.lowest, library.size), (lowest, size));
        }
    }
}
