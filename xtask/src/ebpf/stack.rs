//! How much stack a program takes with all that it calls. Before Linux 6.13 it may be 512 bytes, where each function's counts in steps of 32, and 8
//! functions deep (`kernel/bpf/verifier.c`, `check_max_stack_depth`); newer kernels may give each function one of the processor's, so that a program
//! that is too large for the others would only be noticed there.
//!
//! Such a stack is not safe for uprobes: one can be preempted, and the same program begin anew on that processor. Who has a tail call gets none.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};

const LIMIT_BYTES: u64 = 512;
const STEP_BYTES: u64 = 32;
const LIMIT_FUNCTIONS: usize = 8;
/// A smaller function has no stack of the processor's (`BPF_PRIV_STACK_MIN_SIZE`).
const PROCESSORS_FROM_BYTES: u64 = 64;

// `include/uapi/linux/bpf.h` and `Documentation/bpf/standardization/instruction-set.rst`.
const INSTRUCTION_BYTES: usize = 8;
const FRAME_POINTER: u8 = 10;
const CLASS_MASK: u8 = 7;
const CLASS_LD: u8 = 0;
const CLASS_LDX: u8 = 1;
const CLASS_ST: u8 = 2;
const CLASS_STX: u8 = 3;
const CLASS_ALU: u8 = 4;
const CLASS_ALU64: u8 = 7;
const MOVE: u8 = 0xbf;
const ADD_CONSTANT: u8 = 0x07;
const CALL: u8 = 0x85;
/// In `src_reg` of a call: of a function in the same program,
const OF_FUNCTION: u8 = 1;
/// of the kernel's.
const OF_HELPER: u8 = 0;
/// `BPF_FUNC_tail_call`.
const TAIL_CALL: i32 = 12;

/// A function's section, and where it begins there.
type Place = (usize, u64);

struct Function {
    name: String,
    section: String,
    code: Code,
}

impl Function {
    fn is_program(&self) -> bool {
        self.section != ".text"
    }

    fn is_on_user_probe(&self) -> bool {
        ["uprobe", "uretprobe"]
            .iter()
            .any(|kind| self.section.starts_with(kind))
    }
}

/// What a function's instructions say.
#[derive(Default)]
struct Code {
    stack_bytes: u64,
    calls: BTreeSet<Place>,
    has_tail_call: bool,
}

/// The functions on the way to the end of the stack.
#[derive(Default)]
struct Way<'a> {
    stack_bytes: u64,
    names: Vec<&'a str>,
    /// Any function on any way has so much,
    largest_bytes: u64,
    /// or a tail call.
    has_tail_call: bool,
}

/// Refuses an object with a program that some kernel's stack is too small for.
pub fn demand_room(object: &[u8]) -> Result<()> {
    let functions = functions(object)?;
    ensure!(
        functions.values().any(Function::is_program),
        "no program in the object"
    );
    for (place, program) in functions.iter().filter(|(_, one)| one.is_program()) {
        let way = deepest(&functions, *place, LIMIT_FUNCTIONS)?;
        if way.stack_bytes > LIMIT_BYTES {
            bail!(
                "{} bytes of stack, and kernels before 6.13 have {LIMIT_BYTES}: {}",
                way.stack_bytes,
                way.names.join(" > ")
            );
        }
        if program.is_on_user_probe() && way.largest_bytes >= PROCESSORS_FROM_BYTES {
            ensure!(
                way.has_tail_call,
                "{} has no tail call, so that Linux 6.13 and later run it on a stack of the processor's, where another thread may run it meanwhile",
                program.name
            );
        }
    }
    Ok(())
}

fn deepest(functions: &BTreeMap<Place, Function>, at: Place, left: usize) -> Result<Way<'_>> {
    let function = functions.get(&at).context("a call leads nowhere")?;
    ensure!(
        left > 0,
        "{} is called more than {LIMIT_FUNCTIONS} functions deep",
        function.name
    );
    let code = &function.code;
    let (mut largest_bytes, mut has_tail_call) = (code.stack_bytes, code.has_tail_call);
    let mut deeper = Way::default();
    for call in &code.calls {
        let way = deepest(functions, *call, left - 1)?;
        largest_bytes = largest_bytes.max(way.largest_bytes);
        has_tail_call |= way.has_tail_call;
        if way.stack_bytes > deeper.stack_bytes {
            deeper = way;
        }
    }
    let own_bytes = code.stack_bytes.max(1).next_multiple_of(STEP_BYTES);
    let names = [function.name.as_str()].into_iter().chain(deeper.names);
    Ok(Way {
        stack_bytes: own_bytes + deeper.stack_bytes,
        names: names.collect(),
        largest_bytes,
        has_tail_call,
    })
}

fn functions(object: &[u8]) -> Result<BTreeMap<Place, Function>> {
    let file = object::File::parse(object)?;
    let mut functions = BTreeMap::new();
    for symbol in file.symbols().filter(|one| one.kind() == SymbolKind::Text) {
        let index = symbol.section_index().context("a function nowhere")?;
        let section = file.section_by_index(index)?;
        let code = section.data_range(symbol.address(), symbol.size())?;
        let code = code.context("a function beyond its section")?;
        let relocations: BTreeMap<_, _> = section.relocations().collect();
        let called = |at: u64, constant: i32| -> Result<Place> {
            let to = i64::from(constant) + 1;
            let Some(relocation) = relocations.get(&at) else {
                return Ok((
                    index.0,
                    at.wrapping_add_signed(to * INSTRUCTION_BYTES as i64),
                ));
            };
            let RelocationTarget::Symbol(target) = relocation.target() else {
                bail!("a call of no symbol");
            };
            let target = file.symbol_by_index(target)?;
            let section = target.section_index().context("a call of what is absent")?;
            // Of a section's own symbol, the constant says where in it.
            let within = match target.kind() {
                SymbolKind::Section => to * INSTRUCTION_BYTES as i64,
                _ => 0,
            };
            Ok((section.0, target.address().wrapping_add_signed(within)))
        };
        let code = read(code, symbol.address(), called)?;
        functions.insert(
            (index.0, symbol.address()),
            Function {
                name: symbol.name()?.to_owned(),
                section: section.name()?.to_owned(),
                code,
            },
        );
    }
    Ok(functions)
}

fn read(code: &[u8], begin: u64, called: impl Fn(u64, i32) -> Result<Place>) -> Result<Code> {
    let (mut deepest, mut result) = (0, Code::default());
    // Registers that are copies of the frame pointer.
    let mut copies = BTreeSet::new();
    let mut at = begin;
    for instruction in code.chunks_exact(INSTRUCTION_BYTES) {
        let &[code, registers, o0, o1, c0, c1, c2, c3] = instruction else {
            bail!("an instruction of another size");
        };
        let (to, from) = (registers & 15, registers >> 4);
        let offset = i64::from(i16::from_le_bytes([o0, o1]));
        let constant = i32::from_le_bytes([c0, c1, c2, c3]);
        match code & CLASS_MASK {
            CLASS_LDX if from == FRAME_POINTER => deepest = deepest.min(offset),
            CLASS_ST | CLASS_STX if to == FRAME_POINTER => deepest = deepest.min(offset),
            _ if code == ADD_CONSTANT && copies.contains(&to) => {
                deepest = deepest.min(constant.into());
            }
            _ => {}
        }
        if code == MOVE && from == FRAME_POINTER {
            copies.insert(to);
        } else if matches!(
            code & CLASS_MASK,
            CLASS_LD | CLASS_LDX | CLASS_ALU | CLASS_ALU64
        ) {
            copies.remove(&to);
        }
        if code == CALL && from == OF_FUNCTION {
            result.calls.insert(called(at, constant)?);
        }
        result.has_tail_call |= code == CALL && from == OF_HELPER && constant == TAIL_CALL;
        at += INSTRUCTION_BYTES as u64;
    }
    result.stack_bytes = deepest.unsigned_abs();
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: [Place; 3] = [(1, 0), (1, 8), (2, 0)];

    fn function(stack_bytes: u64, calls: &[Place]) -> Function {
        Function {
            name: format!("of {stack_bytes}"),
            section: ".text".to_owned(),
            code: Code {
                stack_bytes,
                calls: calls.iter().copied().collect(),
                has_tail_call: stack_bytes == 0,
            },
        }
    }

    #[test]
    fn each_counts_in_steps_of_32() {
        let [main, small, large] = PLACES;
        let functions = BTreeMap::from([
            (main, function(33, &[small, large])),
            (small, function(0, &[])),
            (large, function(100, &[small])),
        ]);
        let way = deepest(&functions, main, 3).unwrap();
        assert_eq!(way.stack_bytes, 64 + 128 + 32);
        assert_eq!(way.names, ["of 33", "of 100", "of 0"]);
        assert_eq!((way.largest_bytes, way.has_tail_call), (100, true));
        assert!(deepest(&functions, main, 2).is_err());
    }

    #[test]
    fn what_an_instruction_says_of_the_stack() {
        let none = |_, _| bail!("no call");
        let of = |code: &[[u8; 8]]| read(code.as_flattened(), 0, none).unwrap().stack_bytes;
        let [low, high] = (-40_i16).to_le_bytes();
        let minus_72 = (-72_i32).to_le_bytes();
        let [c0, c1, c2, c3] = minus_72;
        // *(u64 *)(r10 - 40) = r1; r1 = *(u64 *)(r10 - 40); r1 = *(u64 *)(r2 - 40).
        assert_eq!(of(&[[0x7b, 0x1a, low, high, 0, 0, 0, 0]]), 40);
        assert_eq!(of(&[[0x79, 0xa1, low, high, 0, 0, 0, 0]]), 40);
        assert_eq!(of(&[[0x79, 0x21, low, high, 0, 0, 0, 0]]), 0);
        // r2 = r10; r2 += -72, and with r2 = r1 in between.
        let (copy, add) = (
            [0xbf, 0xa2, 0, 0, 0, 0, 0, 0],
            [0x07, 0x02, 0, 0, c0, c1, c2, c3],
        );
        assert_eq!(of(&[copy, add]), 72);
        assert_eq!(of(&[copy, [0xbf, 0x12, 0, 0, 0, 0, 0, 0], add]), 0);
    }
}
