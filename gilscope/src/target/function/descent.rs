//! Every `ret` that a function's code can reach, by recursive descent.

use std::collections::{BTreeSet, HashSet};

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};

use super::FunctionError;
use super::boundary::Boundaries;
use super::image::Image;

/// glibc's largest function of interest reaches about 1,500 instructions.
const MAX_INSTRUCTIONS: usize = 20_000;
/// No x86 instruction is longer (Intel SDM, volume 2, 2.3.11).
const MAX_INSTRUCTION_LEN: usize = 15;

/// The file offsets of all exits of the function at `entry`, ascending.
pub(super) fn exits(image: &Image, name: &str, entry: u64) -> Result<Vec<u64>, FunctionError> {
    let mut descent = Descent {
        image,
        boundaries: Boundaries::of(image)?,
        name,
        seen: HashSet::new(),
        pending: Vec::new(),
        exits: BTreeSet::new(),
    };
    descent.follow(entry)?;
    while let Some(step) = descent.pending.pop() {
        descent.take(step)?;
    }
    if descent.exits.is_empty() {
        return Err(FunctionError::NeverReturns { name: name.into() });
    }
    Ok(descent.exits.into_iter().collect())
}

struct Descent<'a> {
    image: &'a Image<'a>,
    boundaries: Boundaries,
    name: &'a str,
    seen: HashSet<Step>,
    pending: Vec<Step>,
    exits: BTreeSet<u64>,
}

/// An instruction to look at.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Step {
    at: u64,
    /// Reached only if the call before it returns: if that never does, anything can stand here.
    after_call: bool,
}

/// What follows an instruction.
enum Next {
    Exit,
    Nothing,
    Falls,
    Returns,
    Jumps(u64),
    Branches(u64),
    Unknown,
    NotUserCode,
}

impl Descent<'_> {
    fn take(&mut self, Step { at, after_call }: Step) -> Result<(), FunctionError> {
        let name = || self.name.to_owned();
        let Some((offset, code)) = self.image.code(at) else {
            return unless(after_call, FunctionError::LeavesFile { name: name(), at });
        };
        let code = code.get(..MAX_INSTRUCTION_LEN).unwrap_or(code);
        let instruction = Decoder::with_ip(64, code, at, DecoderOptions::NONE).decode();
        let behind = instruction.next_ip();
        match next(&instruction) {
            Next::Exit => {
                self.exits.insert(offset);
                Ok(())
            }
            Next::Nothing => Ok(()),
            Next::Falls if after_call && instruction.mnemonic() == Mnemonic::Nop => {
                self.follow_return(behind)
            }
            Next::Falls => self.follow(behind),
            Next::Returns => self.follow_return(behind),
            Next::Jumps(target) => self.follow(target),
            Next::Branches(target) => {
                self.follow(target)?;
                self.follow(behind)
            }
            Next::Unknown => Err(FunctionError::IndirectJump { name: name(), at }),
            Next::NotUserCode => {
                unless(after_call, FunctionError::Undecodable { name: name(), at })
            }
        }
    }

    fn follow(&mut self, at: u64) -> Result<(), FunctionError> {
        self.push(Step {
            at,
            after_call: false,
        })
    }

    /// Follows the return from a call, or the padding behind it, unless the function ends here.
    fn follow_return(&mut self, at: u64) -> Result<(), FunctionError> {
        if self.boundaries.contains(at) {
            return Ok(());
        }
        self.push(Step {
            at,
            after_call: true,
        })
    }

    fn push(&mut self, step: Step) -> Result<(), FunctionError> {
        if self.seen.insert(step) {
            self.pending.push(step);
        }
        if self.seen.len() > MAX_INSTRUCTIONS {
            return Err(FunctionError::TooLarge {
                name: self.name.into(),
                limit: MAX_INSTRUCTIONS,
            });
        }
        Ok(())
    }
}

/// Garbage where a call may never return to ends a path; anywhere else it is an error.
fn unless(after_call: bool, error: FunctionError) -> Result<(), FunctionError> {
    if after_call { Ok(()) } else { Err(error) }
}

fn next(instruction: &Instruction) -> Next {
    let target = instruction.near_branch_target();
    match (instruction.flow_control(), instruction.code()) {
        (_, Code::INVALID) => Next::NotUserCode,
        (_, Code::Retnq | Code::Retnq_imm16) => Next::Exit,
        (_, Code::Hlt | Code::Int3) | (FlowControl::Exception, _) => Next::Nothing,
        (_, Code::Jmp_rel8_64 | Code::Jmp_rel32_64) => Next::Jumps(target),
        (FlowControl::ConditionalBranch, _) | (_, Code::Xbegin_rel32) => Next::Branches(target),
        (FlowControl::IndirectBranch, _) => Next::Unknown,
        (FlowControl::Return | FlowControl::UnconditionalBranch, _) => Next::NotUserCode,
        // `syscall` is a call to the decoder.
        (FlowControl::Call | FlowControl::IndirectCall, code) if code != Code::Syscall => {
            Next::Returns
        }
        _ => Next::Falls,
    }
}
