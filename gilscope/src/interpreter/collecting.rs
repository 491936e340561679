//! Whether garbage is being collected.

use super::Interpreter;
use super::layout::{COLLECTING_VARIABLE, Collecting, Layout};
use crate::target::{Memory, Module};

/// Where an interpreter says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    /// At this address, for all interpreters.
    At(u64),
    /// This far into each.
    InInterpreter {
        /// Thread state → pointer to its interpreter.
        tstate_interpreter: u64,
        /// Interpreter → the flag.
        flag: u64,
    },
}

impl Interpreter {
    /// Whether the interpreter of this thread state is collecting garbage now; `None` where this version's flag is not known. Its
    /// finalizers may give up the GIL meanwhile, so another thread than the one that collects may have it.
    pub fn is_collecting(&self, memory: Memory, state: u64) -> Option<bool> {
        self.collecting?.is_set(memory, state)
    }
}

impl Flag {
    /// Of an interpreter with its `_PyRuntime` at this address.
    pub(super) fn of_runtime(address: u64, layout: &Layout) -> Option<Flag> {
        Some(match layout.collector?.collecting {
            Collecting::InRuntime(offset) => Flag::At(address.wrapping_add(offset)),
            Collecting::InInterpreter(flag) => Flag::InInterpreter {
                tstate_interpreter: layout.tstate_interpreter,
                flag,
            },
        })
    }

    /// Of one that is older than `_PyRuntime`, if the file has the symbol.
    pub(super) fn of_module(module: &Module) -> Option<Flag> {
        let [address] = module.static_addresses([COLLECTING_VARIABLE]).ok()??;
        let linked = address.wrapping_sub(module.load_bias);
        let is_int = module.elf.is_variable(linked, size_of::<i32>() as u64);
        is_int.then_some(Flag::At(address))
    }

    fn is_set(self, memory: Memory, state: u64) -> Option<bool> {
        let address = match self {
            Flag::At(address) => address,
            Flag::InInterpreter {
                tstate_interpreter,
                flag,
            } => {
                let pointer = state.wrapping_add(tstate_interpreter);
                memory.read_u64(pointer).ok()?.wrapping_add(flag)
            }
        };
        match memory.read_i32(address).ok()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    const FLAG: usize = 12;

    /// What is read of a thread state and an interpreter in the test's own memory, whose flag has this value.
    fn read(value: i32) -> [Option<bool>; 2] {
        let mut interpreter = [0xFF_u8; 64];
        interpreter[FLAG..FLAG + 4].copy_from_slice(&value.to_le_bytes());
        let address = black_box(&interpreter).as_ptr() as u64;
        let state = [0, 0, address];
        let flag = Flag::InInterpreter {
            tstate_interpreter: 16,
            flag: FLAG as u64,
        };
        let memory = Memory::new(std::process::id());
        let of_interpreter = flag.is_set(memory, black_box(&state).as_ptr() as u64);
        let at = Flag::At(address + FLAG as u64).is_set(memory, 0);
        black_box((&interpreter, &state));
        [of_interpreter, at]
    }

    #[test]
    fn only_0_and_1_are_answers() {
        assert_eq!(read(0), [Some(false); 2]);
        assert_eq!(read(1), [Some(true); 2]);
        for other in [-1, 2, 257, i32::MIN, i32::MAX] {
            assert_eq!(read(other), [None; 2], "{other}");
        }
    }

    #[test]
    fn addresses_that_lead_nowhere() {
        let memory = Memory::new(std::process::id());
        let nowhere = [0, 8, 1 << 63, u64::MAX - 7, u64::MAX];
        for address in nowhere {
            assert_eq!(Flag::At(address).is_set(memory, 0), None);
            let interpreter = [address];
            let state = black_box(&interpreter).as_ptr() as u64;
            for flag in [0, 1, u64::MAX] {
                let flag = Flag::InInterpreter {
                    tstate_interpreter: 0,
                    flag,
                };
                assert_eq!(flag.is_set(memory, state), None);
                assert_eq!(flag.is_set(memory, address), None);
            }
        }
    }
}
