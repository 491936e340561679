//! What a function does with fixed addresses: the variables that it reads and writes, and those that it hands to
//! functions of other files.

use std::collections::{BTreeMap, HashMap};

use super::FunctionError;
use super::boundary::Boundaries;
use super::descent::{Next, next};
use super::image::Image;
use super::import;
use super::registers::Registers;
use super::symbol;
use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

/// Of a larger function nothing is told. CPython 3.6's `take_gil` has 130.
const MAX_INSTRUCTIONS: usize = 4000;

/// The code of a file.
pub struct Code<'a> {
    image: Image<'a>,
    boundaries: Boundaries,
    /// From where the loader puts the address of an imported function to its name.
    imports: HashMap<u64, &'a str>,
    ends: &'a [&'a str],
    /// Those of them that the file defines.
    ends_at: Vec<u64>,
}

/// Something that a function does. Addresses are those that the file is linked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use<'a> {
    /// It calls a function of the file.
    Call(u64),
    /// It calls an imported function, with these first two arguments where they are constant.
    Import(&'a str, [Option<u64>; 2]),
    /// It reads a variable of this many bytes.
    Read(u64, usize),
    /// It writes a variable of this many bytes.
    Write(u64, usize),
}

impl<'a> Code<'a> {
    /// Reads an x86-64 ELF file. Of the imported functions only these are told apart; those named in `ends` never
    /// return, imported or not.
    ///
    /// # Errors
    /// If it is no such file.
    pub fn read(
        elf: &'a [u8],
        imports: &[&'a str],
        ends: &'a [&'a str],
    ) -> Result<Self, FunctionError> {
        let image = Image::parse(elf)?;
        let ends_at = ends
            .iter()
            .filter_map(|name| symbol::address(&image, name).ok());
        Ok(Self {
            boundaries: Boundaries::of(&image)?,
            imports: import::slots(&image, &[imports, ends].concat())?,
            ends,
            ends_at: ends_at.collect(),
            image,
        })
    }

    /// What the function of this name does; see [`uses_at`](Self::uses_at).
    ///
    /// # Errors
    /// If there is no such function.
    pub fn uses(&self, name: &str) -> Result<Vec<Use<'a>>, FunctionError> {
        Ok(self.uses_at(symbol::address(&self.image, name)?))
    }

    /// What the function at this address does, and those to which it jumps, in the order of their code. Whatever is not
    /// certain is left out: a value that differs with the way taken, code behind a computed jump.
    pub fn uses_at(&self, entry: u64) -> Vec<Use<'a>> {
        let walked = self.walk(entry).unwrap_or_default();
        let uses = walked.iter().flat_map(|(at, registers)| {
            let instruction = self.image.instruction(*at);
            let call = self.call(&instruction, registers);
            variables(&instruction, registers).into_iter().chain(call)
        });
        uses.collect()
    }

    /// Every instruction that control reaches, with what the registers hold before it on all ways there. Each time that
    /// one is looked at again less is known, so this ends.
    fn walk(&self, entry: u64) -> Option<BTreeMap<u64, Registers>> {
        let mut walked = BTreeMap::new();
        let mut pending = vec![(entry, Registers::default())];
        while let Some((at, arriving)) = pending.pop() {
            let known = walked.get(&at);
            let registers = known.map_or(arriving, |known: &Registers| known.meet(&arriving));
            if known == Some(&registers) || self.image.code(at).is_none() {
                continue;
            }
            walked.insert(at, registers);
            if walked.len() > MAX_INSTRUCTIONS {
                return None;
            }
            let instruction = self.image.instruction(at);
            let behind = registers.behind(&instruction);
            let onward = self.onward(&instruction).into_iter().flatten();
            pending.extend(onward.map(|to| (to, behind)));
        }
        Some(walked)
    }

    /// Where control goes. Where another function begins, a call that never returns has ended this one; garbage from
    /// behind another such call would only hide what is known.
    fn onward(&self, instruction: &Instruction) -> [Option<u64>; 2] {
        let falls = Some(instruction.next_ip()).filter(|to| !self.boundaries.contains(*to));
        match next(instruction) {
            Next::Returns if self.never_returns(instruction) => [None, None],
            Next::Falls | Next::Returns => [falls, None],
            Next::Branches(to) => [falls, Some(to)],
            Next::Jumps(to) => [None, Some(to)],
            Next::Exit | Next::Nothing | Next::Unknown | Next::NotUserCode => [None, None],
        }
    }

    fn never_returns(&self, call: &Instruction) -> bool {
        match self.call(call, &Registers::default()) {
            Some(Use::Call(to)) => self.ends_at.contains(&to),
            Some(Use::Import(name, _)) => self.ends.contains(&name),
            _ => false,
        }
    }

    fn call(&self, instruction: &Instruction, registers: &Registers) -> Option<Use<'a>> {
        let import = match instruction.flow_control() {
            FlowControl::Call => self.stub(instruction.near_branch_target()),
            FlowControl::IndirectCall => self.slot(instruction, registers),
            _ => return None,
        };
        let arguments = [Register::RDI, Register::RSI].map(|register| registers.get(register));
        let is_near = instruction.op0_kind() == OpKind::NearBranch64;
        import
            .map(|name| Use::Import(name, arguments))
            .or_else(|| is_near.then(|| Use::Call(instruction.near_branch_target())))
    }

    /// The imported function to which an entry of the procedure linkage table leads: `jmp *slot(%rip)`, perhaps behind
    /// `endbr64`.
    fn stub(&self, at: u64) -> Option<&'a str> {
        let first = self.image.instruction(at);
        let is_marked = first.mnemonic() == Mnemonic::Endbr64;
        let jump = if is_marked {
            self.image.instruction(first.next_ip())
        } else {
            first
        };
        let is_jump = jump.flow_control() == FlowControl::IndirectBranch;
        is_jump.then(|| self.slot(&jump, &Registers::default()))?
    }

    fn slot(&self, instruction: &Instruction, registers: &Registers) -> Option<&'a str> {
        let slot = registers.address(instruction, 0)?;
        self.imports.get(&slot).copied()
    }
}

/// The variables that an instruction reads and writes.
fn variables<'a>(instruction: &Instruction, registers: &Registers) -> Vec<Use<'a>> {
    let mut factory = InstructionInfoFactory::new();
    let mut uses = Vec::new();
    for used in factory.info(instruction).used_memory() {
        let size = used.memory_size().size();
        let Some(address) = used.virtual_address(0, |register, _, _| registers.get(register))
        else {
            continue;
        };
        use OpAccess::{CondRead, CondWrite, Read, ReadCondWrite, ReadWrite, Write};
        let access = used.access();
        if matches!(access, Read | CondRead | ReadWrite | ReadCondWrite) {
            uses.push(Use::Read(address, size));
        }
        if matches!(access, Write | CondWrite | ReadWrite | ReadCondWrite) {
            uses.push(Use::Write(address, size));
        }
    }
    uses
}
