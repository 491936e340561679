//! Every `ret` that a function's code can reach, by recursive descent.

use std::collections::{BTreeSet, HashMap, HashSet};

use iced_x86::{Code, FlowControl, Instruction, Mnemonic};

use super::FunctionError;
use super::boundary::Boundaries;
use super::image::Image;
use super::table;

/// glibc's and musl's waiting functions reach at most 735 (2.31's `pthread_cond_wait`).
const MAX_INSTRUCTIONS: usize = 20_000;
/// More jump tables are not believable, and would take long to follow.
const MAX_TABLES: usize = 64;
/// How far back a jump's table is looked for.
const MAX_BLOCK: usize = 24;

/// What a function's code reaches.
#[derive(Default)]
pub(super) struct Reached {
    /// File offsets of its exits; never empty.
    pub exits: BTreeSet<u64>,
    /// Addresses behind its calls and system calls.
    pub returns: BTreeSet<u64>,
}

/// What the code of the function at `entry` reaches.
pub(super) fn reached(image: &Image, name: &str, entry: u64) -> Result<Reached, FunctionError> {
    let mut descent = Descent {
        image,
        boundaries: Boundaries::of(image)?,
        name,
        seen: HashSet::new(),
        pending: Vec::new(),
        fallen: HashMap::new(),
        landings: HashSet::new(),
        indirect: BTreeSet::new(),
        reached: Reached::default(),
    };
    descent.jump(entry)?;
    descent.run()?;
    if descent.reached.exits.is_empty() {
        return Err(FunctionError::NeverReturns { name: name.into() });
    }
    Ok(descent.reached)
}

struct Descent<'a> {
    image: &'a Image<'a>,
    boundaries: Boundaries,
    name: &'a str,
    seen: HashSet<Step>,
    pending: Vec<Step>,
    /// From an instruction to the one from which control falls into it.
    fallen: HashMap<u64, u64>,
    /// Where control arrives otherwise.
    landings: HashSet<u64>,
    /// The indirect jumps.
    indirect: BTreeSet<u64>,
    reached: Reached,
}

/// An instruction to look at.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Step {
    at: u64,
    /// Reached only if the call before it returns: if that never does, anything can stand here.
    after_call: bool,
}

/// What follows an instruction.
pub(super) enum Next {
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
    /// Follows everything. What a jump table holds can only be told once nothing else is left to
    /// follow, since a jump into the code before it would void what that code shows; and again after
    /// what it leads to has been followed.
    fn run(&mut self) -> Result<(), FunctionError> {
        loop {
            while let Some(step) = self.pending.pop() {
                self.take(step)?;
            }
            let known = self.landings.len();
            for at in self.indirect.clone() {
                let block = self.block(at);
                let targets = table::targets(self.image, &block);
                let targets = targets.filter(|_| self.indirect.len() <= MAX_TABLES);
                for target in targets.ok_or_else(|| self.indirect_jump(at))? {
                    self.jump(target)?;
                }
            }
            if self.landings.len() == known {
                return Ok(());
            }
        }
    }

    fn take(&mut self, Step { at, after_call }: Step) -> Result<(), FunctionError> {
        let name = || self.name.to_owned();
        let Some((offset, _)) = self.image.code(at) else {
            return unless(after_call, FunctionError::LeavesFile { name: name(), at });
        };
        let instruction = self.image.instruction(at);
        let behind = instruction.next_ip();
        if is_call(&instruction) {
            self.reached.returns.insert(behind);
        }
        match next(&instruction) {
            Next::Exit => {
                self.reached.exits.insert(offset);
                Ok(())
            }
            Next::Nothing => Ok(()),
            Next::Falls if after_call && instruction.mnemonic() == Mnemonic::Nop => {
                self.after_call(behind)
            }
            Next::Falls => self.fall(at, behind),
            Next::Returns => self.after_call(behind),
            Next::Jumps(target) => self.jump(target),
            Next::Branches(target) => {
                self.jump(target)?;
                self.fall(at, behind)
            }
            Next::Unknown => {
                self.indirect.insert(at);
                Ok(())
            }
            Next::NotUserCode => {
                unless(after_call, FunctionError::Undecodable { name: name(), at })
            }
        }
    }

    /// The instructions up to this one into which control only falls.
    fn block(&self, mut at: u64) -> Vec<Instruction> {
        let mut block = vec![self.image.instruction(at)];
        while let Some(&before) = self.fallen.get(&at)
            && !self.landings.contains(&at)
            && block.len() < MAX_BLOCK
        {
            block.push(self.image.instruction(before));
            at = before;
        }
        block.reverse();
        block
    }

    fn indirect_jump(&self, at: u64) -> FunctionError {
        FunctionError::IndirectJump {
            name: self.name.into(),
            at,
        }
    }

    fn jump(&mut self, at: u64) -> Result<(), FunctionError> {
        self.landings.insert(at);
        self.push(Step {
            at,
            after_call: false,
        })
    }

    fn fall(&mut self, from: u64, at: u64) -> Result<(), FunctionError> {
        if self
            .fallen
            .insert(at, from)
            .is_some_and(|other| other != from)
        {
            self.landings.insert(at);
        }
        self.push(Step {
            at,
            after_call: false,
        })
    }

    /// Follows the return from a call, or the padding behind it, unless the function ends here.
    fn after_call(&mut self, at: u64) -> Result<(), FunctionError> {
        if self.boundaries.contains(at) {
            return Ok(());
        }
        self.landings.insert(at);
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

fn is_call(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::Call | FlowControl::IndirectCall
    )
}

pub(super) fn next(instruction: &Instruction) -> Next {
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
