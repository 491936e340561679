//! Where a jump table leads: `switch` as GCC and clang compile it for x86-64 libraries.
//!
//! ```text
//! cmp    $COUNT-1,%eax
//! ja     elsewhere
//! lea    TABLE(%rip),%rdx
//! movslq (%rdx,%rax,4),%rax
//! add    %rdx,%rax
//! jmp    *%rax
//! ```
//! Nothing is assumed of registers, nor that these stand side by side: the code before the jump is
//! executed on what is known of each register, and the comparison bounds the table. glibc 2.31's
//! `pthread_cond_wait` leaves through such a jump, in `__pthread_mutex_cond_lock_full`.

use std::collections::HashMap;

use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, InstructionInfoOptions, Mnemonic, OpAccess,
    OpKind, Register,
};

use super::image::Image;

/// More entries are no `switch` of a waiting function.
const MAX_ENTRIES: u32 = 1024;

/// What is known of a register.
#[derive(Clone, Copy, PartialEq)]
enum Fact {
    /// It addresses a table.
    Table(u64),
    /// It is less than this.
    Below(u32),
    /// It was read from a table, at an index less than this.
    Entry(u64, u32),
    /// It is the sum of a table's address and an entry.
    Target(u64, u32),
}

/// All targets of the indirect jump that ends `block`, which is executed from its first instruction to
/// its last without a jump taken; `None` if they are not known for certain.
pub(super) fn targets(image: &Image, block: &[Instruction]) -> Option<Vec<u64>> {
    let (jump, before) = block.split_last()?;
    let mut known = Known {
        facts: HashMap::new(),
        compared: None,
        info: InstructionInfoFactory::new(),
    };
    for instruction in before {
        known.execute(instruction);
    }
    match known.of(jump, 0)? {
        Fact::Target(table, count) => entries(image, table, count),
        _ => None,
    }
}

/// What the table's entries, each relative to the table, lead to.
fn entries(image: &Image, table: u64, count: u32) -> Option<Vec<u64>> {
    let size = usize::try_from(count).ok()?.checked_mul(4)?;
    let (entries, _) = image.constants(table)?.get(..size)?.as_chunks();
    entries
        .iter()
        .map(|entry| table.checked_add_signed(i32::from_le_bytes(*entry).into()))
        .collect()
}

struct Known {
    facts: HashMap<Register, Fact>,
    /// The flags tell how this register compares with this number.
    compared: Option<(Register, u32)>,
    info: InstructionInfoFactory,
}

impl Known {
    fn execute(&mut self, instruction: &Instruction) {
        let learned = self.learn(instruction);
        self.forget(instruction);
        if instruction.mnemonic() == Mnemonic::Cmp {
            self.compared = comparison(instruction);
        }
        self.facts.extend(learned);
    }

    /// What holds behind this instruction.
    fn learn(&self, instruction: &Instruction) -> Option<(Register, Fact)> {
        let destination = instruction.op0_register();
        match instruction.mnemonic() {
            Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
                let table = instruction.ip_rel_memory_address();
                Some((destination, Fact::Table(table)))
            }
            Mnemonic::Ja => {
                let (register, limit) = self.compared?;
                let count = limit.checked_add(1).filter(|count| *count <= MAX_ENTRIES)?;
                Some((register, Fact::Below(count)))
            }
            Mnemonic::Movsxd if is_table_read(instruction) => {
                let base = self.facts.get(&instruction.memory_base())?;
                let index = self.facts.get(&instruction.memory_index())?;
                match (*base, *index) {
                    (Fact::Table(table), Fact::Below(count)) => {
                        Some((destination, Fact::Entry(table, count)))
                    }
                    _ => None,
                }
            }
            Mnemonic::Add => match (self.of(instruction, 0)?, self.of(instruction, 1)?) {
                (Fact::Table(table), Fact::Entry(of, count))
                | (Fact::Entry(of, count), Fact::Table(table))
                    if table == of =>
                {
                    Some((destination, Fact::Target(table, count)))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Drops what this instruction overwrites.
    fn forget(&mut self, instruction: &Instruction) {
        // A system call changes more than the decoder tells.
        let plain = [FlowControl::Next, FlowControl::ConditionalBranch];
        if !plain.contains(&instruction.flow_control()) {
            self.facts.clear();
        }
        if instruction.rflags_modified() != 0 {
            self.compared = None;
        }
        let info = self
            .info
            .info_options(instruction, InstructionInfoOptions::NO_MEMORY_USAGE);
        for used in info.used_registers() {
            if !matches!(used.access(), OpAccess::Read | OpAccess::CondRead) {
                let register = used.register().full_register();
                self.facts.remove(&register);
                self.compared = self.compared.filter(|(compared, _)| *compared != register);
            }
        }
    }

    /// What is known of an operand that is a whole register.
    fn of(&self, instruction: &Instruction, operand: u32) -> Option<Fact> {
        let is_register = instruction.op_kind(operand) == OpKind::Register;
        let register = is_register.then(|| instruction.op_register(operand))?;
        self.facts.get(&register).copied()
    }
}

/// `cmp $number,%register`, on 32 bits: the compilers see to it that the upper ones are zero.
fn comparison(instruction: &Instruction) -> Option<(Register, u32)> {
    let register = instruction.op0_register();
    let immediate = matches!(
        instruction.op1_kind(),
        OpKind::Immediate32 | OpKind::Immediate8to32
    );
    let number = immediate.then(|| instruction.immediate(1))?;
    register
        .is_gpr32()
        .then(|| (register.full_register(), number as u32))
}

fn is_table_read(instruction: &Instruction) -> bool {
    instruction.op1_kind() == OpKind::Memory
        && instruction.memory_index_scale() == 4
        && instruction.memory_displacement64() == 0
        && instruction.segment_prefix() == Register::None
        && instruction.op0_register().is_gpr64()
}
