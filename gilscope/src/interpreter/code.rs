//! Code objects: what a function is called, and where its lines are.

use super::function::Function;
use super::layout::{OF_GENERATOR, Position};
use super::object::Objects;
use super::walk::RawFrame;
use super::{lines, text};
use crate::model::Frame;
use gilscope_common::frames::{self, identity};
use std::collections::HashMap;
use std::rc::Rc;

/// A longer table of lines is not read.
const MAX_LINES: u64 = 1 << 20;
/// Bytes of such tables that are read and looked through in all; beyond, lines are not known. Half a million frames have less, unless
/// somebody means to keep gilscope busy.
const MAX_WORK: usize = 1 << 30;
/// Bytes of code objects with their names and tables that are remembered; beyond, all are forgotten.
const MAX_KEPT: usize = 64 << 20;

/// What a code object holds itself. While all of it is the same, so are the names and lines that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    file: u64,
    name: u64,
    qualified_name: Option<u64>,
    lines: u64,
    first_line: i32,
    first_traceable: i32,
    units: u64,
}

#[derive(Debug)]
struct Code {
    header: Header,
    function: Function,
    qualified_name: Option<String>,
    lines: Vec<u8>,
}

impl Code {
    /// Bytes that it takes, with its place in [`Codes::recorded`]: that of one without names or lines, too.
    fn size(&self) -> usize {
        let qualified_name = self.qualified_name.as_ref().map_or(0, String::capacity);
        let names = self.function.name.capacity() + self.function.file.capacity() + qualified_name;
        size_of::<Code>() + size_of::<((u64, u32), Rc<Code>)>() + self.lines.capacity() + names
    }
}

/// The code objects that have been met.
///
/// A freed one's place may be another's by the next time, so what is known counts only for a code object with the same pointers to its
/// file, names and table of lines, and the same numbers: read anew each time, in one read, together with its type. The next one would have to have its four
/// objects, too, in the places of those that were freed, and as many lines and instructions.
#[derive(Debug)]
pub(super) struct Codes {
    objects: Objects,
    known: HashMap<u64, Rc<Code>>,
    /// Those that the kernel has met, each by its identity as well.
    recorded: HashMap<(u64, u32), Rc<Code>>,
    kept: usize,
    work: usize,
}

/// Beyond, it is no number of references to a code object.
const MAX_REFERENCES: u64 = 1 << 20;
/// The lowest 32 bits of the number of an immortal object: all (`Include/object.h`, 3.12), or the highest two (3.14); the highest 16 are flags then.
const IMMORTAL: u64 = 0x8000_0000;

/// Whether this is a living object's number of references. What it held stays in a freed one's memory for a while, but what it led to may have gone by then;
/// its first word, which this is, becomes a pointer to the next free place, or 0 (`Objects/obmalloc.c`: `pymalloc_free`; glibc
/// `malloc/malloc.c`: `tcache_put`).
fn is_referenced(references: u64) -> bool {
    let is_immortal = references & 0xffff_8000_0000 == IMMORTAL;
    (1..MAX_REFERENCES).contains(&references) || is_immortal
}

impl Objects {
    /// `None` where there is no living code object.
    fn header(&self, address: u64) -> Option<Header> {
        let code = &self.layout.in_code;
        let units = match self.layout.position {
            Position::Address { units, .. } => Some(units),
            Position::Index { .. } => None,
        };
        let offsets = [code.file, code.name, code.lines, code.first_line];
        let optional =
            [code.qualified_name, code.first_traceable, units].map(Option::unwrap_or_default);
        let block = self.block(address, &[offsets.as_slice(), &optional].concat())?;
        if block.word(self.layout.object_type)? != self.code_type {
            return None;
        }
        if let Some(at) = self.layout.references()
            && !is_referenced(block.word(at)?)
        {
            return None;
        }
        let first_traceable = code.first_traceable.and_then(|at| block.int(at));
        Some(Header {
            file: block.word(code.file)?,
            name: block.word(code.name)?,
            qualified_name: code.qualified_name.and_then(|at| block.word(at)),
            lines: block.word(code.lines)?,
            first_line: block.int(code.first_line)?,
            first_traceable: first_traceable.unwrap_or(0),
            units: units.and_then(|at| block.word(at)).unwrap_or(0),
        })
    }

    /// As the kernel tells it.
    fn identity(&self, header: &Header) -> Option<u32> {
        let hash = self.layout.text.hash();
        let name_hash = self.word(header.name, hash.into())?;
        let first_line = header.first_line.cast_unsigned();
        Some(identity(header.file, header.name, name_hash, first_line))
    }

    /// The function with this code object; `None` where there is none.
    pub(super) fn function(&self, code: u64) -> Option<Function> {
        self.names(&self.header(code)?)
    }

    fn names(&self, header: &Header) -> Option<Function> {
        Some(Function {
            file: text::read(self.memory, header.file, self.layout.text)?,
            name: text::read(self.memory, header.name, self.layout.text)?,
        })
    }

    /// The table of lines; empty where it cannot be read.
    fn lines(&self, header: &Header) -> Vec<u8> {
        let length = self.word(header.lines, self.layout.bytes_length);
        let length = length.filter(|length| *length <= MAX_LINES).unwrap_or(0);
        let at = header.lines.wrapping_add(self.layout.bytes);
        let bytes = usize::try_from(length).map(|length| self.memory.read_bytes(at, length));
        bytes.ok().and_then(Result::ok).unwrap_or_default()
    }
}

impl Codes {
    pub(super) fn new(objects: Objects) -> Codes {
        Codes {
            objects,
            known: HashMap::new(),
            recorded: HashMap::new(),
            kept: 0,
            work: MAX_WORK,
        }
    }

    /// More may be read and looked through again.
    pub(super) fn renew(&mut self) {
        self.work = MAX_WORK;
    }

    /// The function of a frame. An error where it leads to none; `Ok(None)` where the function has not begun yet.
    pub(super) fn frame(&mut self, frame: &RawFrame) -> Result<Option<Frame>, Unreadable> {
        let code = self.code(frame.code).ok_or(Unreadable)?;
        self.at(frame, &code)
    }

    /// The same of a frame that the kernel has read. Its code object may have become another since: then it is an error.
    pub(super) fn recorded(&mut self, frame: &frames::Frame) -> Result<Option<Frame>, Unreadable> {
        let key = (frame.code, frame.identity);
        let code = match self.recorded.get(&key) {
            Some(code) => Rc::clone(code),
            None => {
                let code = self.read_recorded(frame).ok_or(Unreadable)?;
                if self.keep(&code) {
                    self.recorded.clear();
                }
                self.recorded.insert(key, Rc::clone(&code));
                code
            }
        };
        let raw = RawFrame {
            code: frame.code,
            instruction: frame.instruction,
            owner: self
                .objects
                .layout
                .owner
                .and(u8::try_from(frame.owner).ok()),
            ..RawFrame::default()
        };
        self.at(&raw, &code)
    }

    /// It has to be the same before and after its names are read.
    fn read_recorded(&mut self, frame: &frames::Frame) -> Option<Rc<Code>> {
        let header = self.objects.header(frame.code)?;
        let code = self.read(header)?;
        let now = self.objects.header(frame.code)?;
        let is_it = now == header && self.objects.identity(&now)? == frame.identity;
        is_it.then_some(code)
    }

    fn at(&mut self, frame: &RawFrame, code: &Code) -> Result<Option<Frame>, Unreadable> {
        let index = self.index(frame, &code.header);
        let is_generator = frame.owner.is_none_or(|owner| owner == OF_GENERATOR);
        // The number is the target's word: any.
        let first = code.header.first_traceable.saturating_mul(UNIT);
        if !is_generator && index.is_some_and(|index| index < first) {
            return Ok(None);
        }
        Ok(Some(Frame {
            name: code.function.name.clone(),
            qualified_name: code.qualified_name.clone(),
            file: code.function.file.clone(),
            line: index.and_then(|index| self.line(code, index)),
        }))
    }

    fn code(&mut self, address: u64) -> Option<Rc<Code>> {
        let header = self.objects.header(address)?;
        let known = self.known.get(&address);
        if let Some(code) = known.filter(|code| code.header == header) {
            return Some(Rc::clone(code));
        }
        let code = self.read(header)?;
        if self.keep(&code) {
            self.known.clear();
        }
        self.known.insert(address, Rc::clone(&code));
        Some(code)
    }

    fn read(&mut self, header: Header) -> Option<Rc<Code>> {
        let (memory, layout) = (self.objects.memory, self.objects.layout);
        let qualified_name = header.qualified_name;
        Some(Rc::new(Code {
            header,
            function: self.objects.names(&header)?,
            qualified_name: qualified_name.and_then(|name| text::read(memory, name, layout.text)),
            lines: self.lines(&header),
        }))
    }

    /// Counts what is remembered; whether it is too much, so that all else has to be forgotten.
    fn keep(&mut self, code: &Code) -> bool {
        self.kept += code.size();
        let too_much = self.kept > MAX_KEPT;
        if too_much {
            self.kept = code.size();
        }
        too_much
    }

    fn lines(&mut self, header: &Header) -> Vec<u8> {
        if self.work == 0 {
            return Vec::new();
        }
        let lines = self.objects.lines(header);
        self.work = self.work.saturating_sub(lines.len());
        lines
    }

    /// How far the instruction is from the first, in bytes.
    fn index(&self, frame: &RawFrame, header: &Header) -> Option<i32> {
        match self.objects.layout.position {
            Position::Index { unit } => {
                let index = i32::try_from(frame.instruction.cast_signed()).ok()?;
                index.checked_mul(unit)
            }
            Position::Address { first, .. } => {
                let begin = frame.code.wrapping_add(first);
                let index = frame.instruction.wrapping_sub(begin).cast_signed();
                let end = header.units.saturating_mul(UNIT.unsigned_abs().into());
                // One before the first, where it has not begun (3.11, 3.12).
                let is_within = index >= -2 && index < i64::try_from(end).ok()?;
                i32::try_from(index).ok().filter(|_| is_within)
            }
        }
    }

    fn line(&mut self, code: &Code, index: i32) -> Option<u32> {
        self.work = self.work.checked_sub(code.lines.len())?;
        let first_line = code.header.first_line;
        lines::line(self.objects.layout.lines, &code.lines, first_line, index)
    }
}

/// Bytes of a code unit (3.6+).
const UNIT: i32 = 2;

/// A frame does not lead to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::interpreter::{Version, layout};
    use crate::target::Memory;

    fn codes() -> Codes {
        Codes::new(Objects {
            memory: Memory::new(std::process::id()),
            layout: layout::frames(Version::of(3, 12), false).unwrap(),
            code_type: 0,
        })
    }

    /// Without names or lines.
    fn code(first_traceable: i32) -> Code {
        Code {
            header: Header {
                file: 0,
                name: 0,
                qualified_name: None,
                lines: 0,
                first_line: 1,
                first_traceable,
                units: 1,
            },
            function: Function {
                file: String::new(),
                name: String::new(),
            },
            qualified_name: None,
            lines: Vec::new(),
        }
    }

    #[test]
    fn what_has_no_names_takes_room_too() {
        let mut codes = codes();
        let mut all = 0..MAX_KEPT / size_of::<Code>();
        assert!(all.any(|_| codes.keep(&code(0))));
    }

    /// A number of instructions that no code object has.
    #[test]
    fn any_first_traceable_instruction_is_borne() {
        let mut codes = codes();
        let Position::Address { first, .. } = codes.objects.layout.position else {
            panic!("3.12 keeps addresses");
        };
        let frame = RawFrame {
            instruction: first,
            owner: Some(0),
            ..RawFrame::default()
        };
        for (first_traceable, has_begun) in [(0, true), (i32::MAX, false), (i32::MIN, true)] {
            let read = codes.at(&frame, &code(first_traceable)).unwrap();
            assert_eq!(read.is_some(), has_begun, "{first_traceable}");
        }
    }

    /// As they were seen, and what takes their place.
    #[test]
    fn numbers_of_references() {
        for living in [
            1,
            2,
            500_000,
            0xffff_ffff,
            0xc000_0000,
            0x0004_0000_c000_0000,
        ] {
            assert!(is_referenced(living), "{living:#x}");
        }
        for freed in [0, 0x7f12_3456_7890, 0x55aa_1234_5670, 0x1ab_c3d0] {
            assert!(!is_referenced(freed), "{freed:#x}");
        }
    }
}
