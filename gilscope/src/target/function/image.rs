//! The parts of an ELF file that matter here: its sections and its segments of code and constants.

use iced_x86::{Decoder, DecoderOptions, Instruction};
use object::LittleEndian as LE;
use object::elf::{EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, PF_W, PF_X, PT_LOAD, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionTable};

use super::FunctionError;

/// Linkers make one executable segment and few others; more are hostile and would make look-ups slow.
const MAX_SEGMENTS: usize = 16;
/// No x86 instruction is longer (Intel SDM, volume 2, 2.3.11).
const MAX_INSTRUCTION_LEN: usize = 15;

/// A parsed ELF file.
pub(super) struct Image<'a> {
    pub(super) data: &'a [u8],
    pub(super) sections: SectionTable<'a, FileHeader64<LE>>,
    pub(super) programs: &'a [ProgramHeader64<LE>],
    segments: Vec<Segment<'a>>,
}

struct Segment<'a> {
    address: u64,
    offset: u64,
    bytes: &'a [u8],
    executable: bool,
}

impl<'a> Image<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, FunctionError> {
        let header = FileHeader64::<LE>::parse(data)?;
        let kind = header.e_type.get(LE);
        if !header.is_little_endian()
            || header.e_machine.get(LE) != EM_X86_64
            || (kind != ET_DYN && kind != ET_EXEC)
        {
            return Err(FunctionError::WrongArchitecture);
        }
        let programs = header.program_headers(LE, data)?;
        let mut segments = Vec::new();
        for program in programs {
            let flags = program.p_flags.get(LE);
            if program.p_type.get(LE) != PT_LOAD || flags.contains(PF_W) {
                continue;
            }
            if segments.len() == MAX_SEGMENTS {
                return Err(FunctionError::BadElf("too many segments".into()));
            }
            let bytes = program
                .data(LE, data)
                .map_err(|()| FunctionError::BadElf("a segment lies outside the file".into()))?;
            segments.push(Segment {
                address: program.p_vaddr.get(LE),
                offset: program.p_offset.get(LE),
                bytes,
                executable: flags.contains(PF_X),
            });
        }
        Ok(Self {
            data,
            sections: header.sections(LE, data)?,
            programs,
            segments,
        })
    }

    /// Where in the file the code at this address lies, and the bytes from there to the end of its
    /// segment, which are never empty.
    pub(super) fn code(&self, address: u64) -> Option<(u64, &'a [u8])> {
        let mut executable = self.segments.iter().filter(|segment| segment.executable);
        executable.find_map(|segment| segment.from(address))
    }

    /// The instruction at this address; an invalid one where there is no code.
    pub(super) fn instruction(&self, at: u64) -> Instruction {
        let (_, code) = self.code(at).unwrap_or_default();
        let code = code.get(..MAX_INSTRUCTION_LEN).unwrap_or(code);
        Decoder::with_ip(64, code, at, DecoderOptions::NONE).decode()
    }

    /// The bytes from this address to the end of its segment, which the program cannot change.
    pub(super) fn constants(&self, address: u64) -> Option<&'a [u8]> {
        let mut segments = self.segments.iter();
        let (_, bytes) = segments.find_map(|segment| segment.from(address))?;
        Some(bytes)
    }
}

impl<'a> Segment<'a> {
    /// The file offset of an address, and the bytes from there on, if there are any.
    fn from(&self, address: u64) -> Option<(u64, &'a [u8])> {
        let distance = address.checked_sub(self.address)?;
        let bytes = self.bytes.get(usize::try_from(distance).ok()?..)?;
        let offset = self.offset.checked_add(distance)?;
        (!bytes.is_empty()).then_some((offset, bytes))
    }
}
