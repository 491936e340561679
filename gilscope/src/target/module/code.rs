//! What an exported function's first instructions tell.

use super::Module;
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Register};
use std::os::unix::fs::FileExt;

/// More of a function is not looked at.
const MAX_CODE: usize = 64;

impl Module {
    /// The variable from which an exported function of the module loads first, as an address in the target's
    /// memory; `None` where it does something else before.
    pub fn first_loaded(&self, function: &str) -> Option<u64> {
        let linked = self.elf.symbol(function)?.address;
        let mut code = [0; MAX_CODE];
        let offset = self.elf.file_offset(linked)?;
        let read = self.file.read_at(&mut code, offset).ok()?;
        let variable = first_loaded(code.get(..read)?, linked)?;
        Some(variable.wrapping_add(self.load_bias))
    }
}

/// The same, as linked.
fn first_loaded(code: &[u8], address: u64) -> Option<u64> {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    loop {
        let instruction = decoder.decode();
        if let Some(variable) = loaded(&instruction) {
            return Some(variable);
        }
        let is_next = instruction.flow_control() == FlowControl::Next && !instruction.is_invalid();
        if !is_next {
            return None;
        }
    }
}

/// The fixed address from which an instruction loads 8 bytes.
fn loaded(instruction: &Instruction) -> Option<u64> {
    let is_fixed = instruction.is_ip_rel_memory_operand()
        || (instruction.memory_base() == Register::None
            && instruction.memory_index() == Register::None);
    let loads = instruction.code() == Code::Mov_r64_rm64
        && instruction.op1_kind() == iced_x86::OpKind::Memory;
    (loads && is_fixed).then(|| instruction.memory_displacement64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_hands_a_variable_on() {
        // mov rdi,[rip+0x107bb9]; jmp
        let code = [0x48, 0x8b, 0x3d, 0xb9, 0x7b, 0x10, 0x00, 0xe9, 0, 0, 0, 0];
        assert_eq!(first_loaded(&code, 0xef950), Some(0x1f_7510));
        // endbr64; sub rsp,8; mov rdi,[rip]
        let code = [
            0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 0x08, 0x48, 0x8b, 0x3d, 0, 0, 0, 0,
        ];
        assert_eq!(first_loaded(&code, 0x1000), Some(0x100f));
        // mov rdi,[0x601040], as in a program that is not position-independent
        let code = [0x48, 0x8b, 0x3c, 0x25, 0x40, 0x10, 0x60, 0x00];
        assert_eq!(first_loaded(&code, 0x40_0000), Some(0x60_1040));
    }

    #[test]
    fn what_is_none() {
        for code in [
            &[0xe9, 0, 0, 0, 0][..],                   // jmp
            &[0x48, 0x8b, 0x7e, 0x08, 0xc3][..],       // mov rdi,[rsi+8]; ret
            &[0x48, 0x8d, 0x3d, 0, 0, 0, 0, 0xc3][..], // lea rdi,[rip]; ret
            &[0x48, 0x8b][..],                         // cut off
            &[0x06; 64][..],                           // no instruction
            &[0x90; 64][..],
            &[][..],
        ] {
            assert_eq!(first_loaded(code, 0x1000), None, "{code:x?}");
        }
    }
}
