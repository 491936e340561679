//! The parts of an ELF file that matter here: its sections and its executable segments.

use object::LittleEndian as LE;
use object::elf::{EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, PF_X, PT_LOAD, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionTable};

use super::FunctionError;

/// Linkers make one executable segment, at most a few; more are hostile and would make look-ups slow.
const MAX_EXECUTABLE_SEGMENTS: usize = 16;

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
        let mut segments = Vec::new();
        let programs = header.program_headers(LE, data)?;
        for program in programs {
            if program.p_type.get(LE) != PT_LOAD || !program.p_flags.get(LE).contains(PF_X) {
                continue;
            }
            if segments.len() == MAX_EXECUTABLE_SEGMENTS {
                return Err(FunctionError::BadElf("too many executable segments".into()));
            }
            let bytes = program
                .data(LE, data)
                .map_err(|()| FunctionError::BadElf("a segment lies outside the file".into()))?;
            segments.push(Segment {
                address: program.p_vaddr.get(LE),
                offset: program.p_offset.get(LE),
                bytes,
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
        self.segments.iter().find_map(|segment| {
            let distance = address.checked_sub(segment.address)?;
            let bytes = segment.bytes.get(usize::try_from(distance).ok()?..)?;
            let offset = segment.offset.checked_add(distance)?;
            (!bytes.is_empty()).then_some((offset, bytes))
        })
    }
}
