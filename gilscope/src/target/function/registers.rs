//! Which addresses the registers hold.

use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, InstructionInfoOptions, Mnemonic, OpAccess,
    OpKind, Register,
};

/// What a called function may change (System V ABI, AMD64 supplement, figure 3.4).
const CALLERS: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// The values of those general registers in which the code itself has put a constant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers([Option<u64>; 16]);

impl Registers {
    pub(super) fn get(&self, register: Register) -> Option<u64> {
        // In 64-bit mode these segments begin at 0.
        const FLAT: [Register; 4] = [Register::CS, Register::DS, Register::ES, Register::SS];
        if FLAT.contains(&register) {
            return Some(0);
        }
        let general = register.is_gpr64().then(|| register.number())?;
        *self.0.get(general)?
    }

    fn set(&mut self, register: Register, value: Option<u64>) {
        let full = register.full_register();
        let general = full.is_gpr64().then(|| self.0.get_mut(full.number()));
        if let Some(slot) = general.flatten() {
            *slot = value;
        }
    }

    /// The address of a memory operand.
    pub(super) fn address(&self, instruction: &Instruction, operand: u32) -> Option<u64> {
        let is_memory = instruction.op_kind(operand) == OpKind::Memory;
        let value = |register, _, _| self.get(register);
        is_memory.then(|| instruction.virtual_address(operand, 0, value))?
    }

    /// What holds whichever of two ways was taken.
    pub(super) fn meet(&self, other: &Registers) -> Registers {
        let mut both = *self;
        for (one, other) in both.0.iter_mut().zip(other.0) {
            *one = one.filter(|value| other == Some(*value));
        }
        both
    }

    /// What holds behind an instruction.
    pub(super) fn behind(&self, instruction: &Instruction) -> Registers {
        let mut behind = *self;
        let mut factory = InstructionInfoFactory::new();
        let info = factory.info_options(instruction, InstructionInfoOptions::NO_MEMORY_USAGE);
        let written = info
            .used_registers()
            .iter()
            .filter(|used| !matches!(used.access(), OpAccess::Read | OpAccess::CondRead));
        written.for_each(|used| behind.set(used.register(), None));
        let calls = [FlowControl::Call, FlowControl::IndirectCall];
        if calls.contains(&instruction.flow_control()) {
            for register in CALLERS {
                behind.set(register, None);
            }
        }
        if let Some(value) = self.moved(instruction) {
            behind.set(instruction.op0_register(), Some(value));
        }
        behind
    }

    /// The value that an instruction moves to its first operand.
    fn moved(&self, instruction: &Instruction) -> Option<u64> {
        let to = instruction.op0_register();
        match (instruction.mnemonic(), instruction.op1_kind()) {
            (Mnemonic::Lea, OpKind::Memory) if to.is_gpr64() => self.address(instruction, 1),
            (Mnemonic::Mov, OpKind::Register) => self.get(instruction.op1_register()),
            // The upper half of the register becomes zero.
            (Mnemonic::Mov, OpKind::Immediate32) if to.is_gpr32() => Some(instruction.immediate(1)),
            (Mnemonic::Mov, OpKind::Immediate64 | OpKind::Immediate32to64) if to.is_gpr64() => {
                Some(instruction.immediate(1))
            }
            _ => None,
        }
    }
}
