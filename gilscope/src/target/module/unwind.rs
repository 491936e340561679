//! From a native function to its caller, by the tables by which C++ unwinds (`.eh_frame`), which compilers write for C too.
//!
//! Nothing is guessed: where a table is missing, or says what is not understood, there is no caller.

use super::Module;
use crate::target::Elf;
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, CommonInformationEntry, EhFrame, EhFrameOffset, Encoding,
    EndianSlice, EvaluationResult, LittleEndian, Location, Reader as _, Register, RegisterRule,
    Section as _, UnwindContext, UnwindExpression, UnwindSection as _, Value, X86_64,
};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// Steps of an expression; compilers write some five.
const MAX_STEPS: u32 = 64;
/// Bytes of a function's entry that are read: of 2.1 million in 1,644 libraries the largest has 34 KB.
const MAX_ENTRY: usize = 64 << 10;

/// Bytes of what entries have in common; compilers write some 24.
const MAX_COMMON_ENTRY: u32 = 1 << 10;

/// What a function was called with, as far as its caller depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The next instruction.
    pub ip: u64,
    /// The stack pointer.
    pub sp: u64,
    /// `rbp`, which may be a frame pointer.
    pub bp: u64,
    /// `ip` is behind a call, which may be a function's last instruction.
    pub is_behind_call: bool,
}

impl Registers {
    /// An address in the function that the registers are of.
    pub fn inside(&self) -> u64 {
        self.ip.saturating_sub(self.is_behind_call.into())
    }

    fn get(&self, register: Register) -> Option<u64> {
        match register {
            X86_64::RSP => Some(self.sp),
            X86_64::RBP => Some(self.bp),
            X86_64::RA => Some(self.ip),
            _ => None,
        }
    }
}

/// What was on a thread's stack.
#[derive(Clone, Copy, Debug)]
pub struct StackCopy<'a> {
    /// The address of the first byte.
    pub from: u64,
    /// What was there.
    pub bytes: &'a [u8],
}

impl StackCopy<'_> {
    fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.from)?).ok()?;
        let word = self.bytes.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(word.try_into().ok()?))
    }
}

/// The table of one file.
#[derive(Debug)]
pub struct UnwindTable {
    load_bias: u64,
    bases: BaseAddresses,
    frames: Vec<u8>,
    /// Where each entry's functions begin, and where the entry is, in the order of the former.
    entries: Vec<(u64, EhFrameOffset)>,
}

impl UnwindTable {
    /// Reads it; none where the file has none, or it is larger than `room` bytes.
    pub fn read(module: &Module, room: usize) -> Option<Self> {
        let section = Elf::unwind_section(&module.file, room as u64);
        let (address, frames) = section.ok().flatten()?;
        Some(Self::new(module.load_bias, address, frames))
    }

    /// Of a table that is linked for `address`, up to where it is damaged. The file's own index (`.eh_frame_hdr`) is not used: nobody checks it.
    fn new(load_bias: u64, address: u64, frames: Vec<u8>) -> Self {
        let bases = BaseAddresses::default().set_eh_frame(address);
        let mut entries = Vec::new();
        let section = EhFrame::new(&frames, LittleEndian);
        let mut all = section.entries(&bases);
        while let Ok(Some(entry)) = all.next() {
            let CieOrFde::Fde(entry) = entry else {
                continue;
            };
            if let Ok(entry) = entry.parse(common_entry) {
                entries.push((entry.initial_address(), entry.offset().into()));
            }
        }
        entries.sort_unstable_by_key(|(start, at): &(u64, EhFrameOffset)| (*start, at.0));
        Self {
            load_bias,
            bases,
            frames,
            entries,
        }
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        let entries = self
            .entries
            .len()
            .saturating_mul(size_of::<(u64, EhFrameOffset)>());
        self.frames.len().saturating_add(entries)
    }

    /// The registers of the function that called the one that these are of, when it goes on.
    pub fn caller(&self, registers: &Registers, stack: StackCopy<'_>) -> Option<Registers> {
        let address = registers.inside().wrapping_sub(self.load_bias);
        let behind = self.entries.partition_point(|(start, _)| *start <= address);
        let (_, at) = self.entries.get(behind.checked_sub(1)?)?;
        let frames = EhFrame::new(&self.frames, LittleEndian);
        let entry = frames.fde_from_offset(&self.bases, *at, common_entry);
        let entry = entry.ok()?;
        if !entry.contains(address) || entry.entry_len() > MAX_ENTRY {
            return None;
        }
        let mut context = UnwindContext::new();
        let row = entry
            .unwind_info_for_address(&frames, &self.bases, &mut context, address)
            .ok()?;
        let mut step = Step {
            registers,
            stack,
            frames,
            encoding: entry.cie().encoding(),
            cfa: 0,
        };
        step.cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                registers.get(*register)?.wrapping_add_signed(*offset)
            }
            CfaRule::Expression(expression) => step.evaluate(expression, None)?,
        };
        // The outermost function has none to return to.
        let ip = step.value(&row.register(X86_64::RA)?)?;
        let bp = match row.register(X86_64::RBP) {
            None => registers.bp,
            Some(rule) => step.value(&rule)?,
        };
        // A caller's frame lies further out: this cannot go around for ever.
        (step.cfa > registers.sp).then_some(Registers {
            ip,
            sp: step.cfa,
            bp,
            is_behind_call: !entry.is_signal_trampoline(),
        })
    }
}

/// What several entries have in common: it is read for each of them, so it has to be short.
fn common_entry<'a>(
    frames: &EhFrame<Bytes<'a>>,
    bases: &BaseAddresses,
    at: EhFrameOffset,
) -> gimli::Result<CommonInformationEntry<Bytes<'a>>> {
    let mut length = *frames.reader();
    length.skip(at.0)?;
    if length.read_u32()? > MAX_COMMON_ENTRY {
        return Err(gimli::Error::NoUnwindInfoForAddress);
    }
    frames.cie_from_offset(bases, at)
}

/// From one function to its caller.
struct Step<'a> {
    registers: &'a Registers,
    stack: StackCopy<'a>,
    frames: EhFrame<Bytes<'a>>,
    encoding: Encoding,
    /// The canonical frame address: the caller's stack pointer.
    cfa: u64,
}

impl Step<'_> {
    /// What a register was in the caller.
    fn value(&self, rule: &RegisterRule<usize>) -> Option<u64> {
        match rule {
            RegisterRule::Offset(offset) => self.stack.word(self.cfa.wrapping_add_signed(*offset)),
            RegisterRule::ValOffset(offset) => Some(self.cfa.wrapping_add_signed(*offset)),
            RegisterRule::Register(other) => self.registers.get(*other),
            RegisterRule::Expression(expression) => {
                let address = self.evaluate(expression, Some(self.cfa))?;
                self.stack.word(address)
            }
            RegisterRule::ValExpression(expression) => self.evaluate(expression, Some(self.cfa)),
            _ => None,
        }
    }

    /// What an expression comes to, such as those of functions that align their stack, and of procedure linkage tables.
    fn evaluate(&self, expression: &UnwindExpression<usize>, initial: Option<u64>) -> Option<u64> {
        let expression = expression.get(&self.frames).ok()?;
        let mut evaluation = expression.evaluation(self.encoding);
        evaluation.set_max_iterations(MAX_STEPS);
        if let Some(initial) = initial {
            evaluation.set_initial_value(initial);
        }
        let mut result = evaluation.evaluate().ok()?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = self.registers.get(register)?;
                    evaluation.resume_with_register(Value::Generic(value))
                }
                EvaluationResult::RequiresMemory {
                    address, size: 8, ..
                } => {
                    let word = self.stack.word(address)?;
                    evaluation.resume_with_memory(Value::Generic(word))
                }
                _ => return None,
            }
            .ok()?;
        }
        match evaluation.result().as_slice() {
            [piece] => match piece.location {
                Location::Address { address } => Some(address),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "unwind_tests.rs"]
mod tests;
