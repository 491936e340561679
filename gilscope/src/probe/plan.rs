//! What to probe in a C library: facts in, hooks out.

use super::ProbeError;
use crate::target::{
    Module,
    function::{self, Function, FunctionError},
};
use std::collections::BTreeSet;

/// Functions that wait on a condition variable. CPython waits for the GIL in the first, and for a
/// forced switch in the second (`Python/condvar.h`, 3.7 – 3.15); the third is not in every libc.
const WAITING: [(&str, bool); 3] = [
    ("pthread_cond_timedwait", true),
    ("pthread_cond_wait", true),
    ("pthread_cond_clockwait", false),
];
/// The function by which `drop_gil` and `take_gil` signal one.
const SIGNALLING: &str = "pthread_cond_signal";

/// Where to probe one file.
#[derive(Debug)]
pub struct Hooks {
    /// The file, open for as long as it is attached to.
    pub module: Module,
    /// File offsets of what the hooks are for.
    pub offsets: Offsets,
}

/// File offsets; each once, though functions share returns.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// Entries of the functions that wait.
    pub waits: BTreeSet<u64>,
    /// Every instruction that returns from them.
    pub returns: BTreeSet<u64>,
    /// Entries of those that signal.
    pub signals: BTreeSet<u64>,
}

/// Finds the file that defines the condition variables' functions among a process's, and where
/// to probe it. glibc before 2.34 has them in libpthread, and forwarders of the same names in libc
/// that cannot be probed: the first file in which all are found is the one.
///
/// # Errors
/// [`ProbeError::Function`] with the function that cannot be probed and why.
pub fn hooks(modules: impl Iterator<Item = Module>) -> Result<Hooks, ProbeError> {
    let mut refused = None;
    for module in modules {
        if module.elf.symbol(SIGNALLING).is_none() {
            continue;
        }
        let found = module
            .bytes()
            .map_err(|error| FunctionError::BadElf(error.to_string()))
            .and_then(|bytes| offsets(|name| function::find(&bytes, name)));
        match found {
            Ok(offsets) => return Ok(Hooks { module, offsets }),
            Err(reason) => refused = Some((module.path, reason)),
        }
    }
    Err(match refused {
        Some((path, reason)) => ProbeError::Function { path, reason },
        None => ProbeError::NoFunction { name: SIGNALLING },
    })
}

fn offsets(
    find: impl Fn(&str) -> Result<Function, FunctionError>,
) -> Result<Offsets, FunctionError> {
    let mut offsets = Offsets::default();
    for (name, needed) in WAITING {
        match find(name) {
            Ok(function) => {
                offsets.waits.insert(function.entry_offset);
                offsets.returns.extend(function.exit_offsets);
            }
            Err(FunctionError::NoSuchSymbol { .. }) if !needed => {}
            Err(error) => return Err(error),
        }
    }
    offsets.signals.insert(find(SIGNALLING)?.entry_offset);
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn libc(name: &str) -> Result<Function, FunctionError> {
        let (entry_offset, exit_offsets) = match name {
            "pthread_cond_timedwait" => (0x100, vec![0x140, 0x180]),
            "pthread_cond_wait" => (0x200, vec![0x180]),
            "pthread_cond_signal" => (0x300, vec![0x320]),
            _ => {
                return Err(FunctionError::NoSuchSymbol {
                    name: name.to_owned(),
                });
            }
        };
        Ok(Function {
            name: name.to_owned(),
            entry_offset,
            exit_offsets,
            return_addresses: Vec::new(),
        })
    }

    #[test]
    fn shared_returns_are_probed_once() {
        let found = offsets(libc).unwrap();
        assert_eq!(found.waits, BTreeSet::from([0x100, 0x200]));
        assert_eq!(found.returns, BTreeSet::from([0x140, 0x180]));
        assert_eq!(found.signals, BTreeSet::from([0x300]));
    }

    #[test]
    fn a_function_whose_exits_are_unknown_is_refused_by_name() {
        let refuse = |name: &str| match name {
            "pthread_cond_wait" => Err(FunctionError::IndirectJump {
                name: name.to_owned(),
                at: 0x210,
            }),
            _ => libc(name),
        };
        let error = offsets(refuse).unwrap_err();
        assert!(error.to_string().contains("pthread_cond_wait"), "{error}");
    }
}
