//! Where functions begin and end, as far as the file tells.
//!
//! A compiler lets a function end in a call only if the called function never returns
//! (`__stack_chk_fail`, `__libc_fatal`). What stands behind it is another function, whose exits are
//! none of this one's; nothing in the call itself tells.

use object::LittleEndian as LE;
use object::elf::{PT_GNU_EH_FRAME, SHT_DYNSYM, SHT_SYMTAB};
use object::read::elf::ProgramHeader;

use super::FunctionError;
use super::image::Image;
use super::symbol;

/// `.eh_frame_hdr` as every GNU and LLVM linker writes it (LSB 5.0 core, 10.6.2): version 1, a pc-relative
/// pointer to `.eh_frame`, a 4-byte count, and a table of 4-byte pairs relative to this header.
const FRAME_HEADER: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

/// The known first addresses of functions and those just behind their ends, sorted.
pub(super) struct Boundaries(Vec<u64>);

impl Boundaries {
    /// Collects them from the symbol tables and from the unwind table, which knows static functions
    /// and cold parts too (musl has none). What is unreadable adds nothing: the exits found are then
    /// possibly too many, never too few.
    pub(super) fn of(image: &Image) -> Result<Self, FunctionError> {
        let mut all = unwound(image).unwrap_or_default();
        for table in [SHT_DYNSYM, SHT_SYMTAB] {
            for (start, size) in symbol::extents(image, table)? {
                all.push(start);
                all.extend(start.checked_add(size));
            }
        }
        all.sort_unstable();
        Ok(Self(all))
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        self.0.binary_search(&address).is_ok()
    }
}

/// The first address of everything that has an unwind entry.
fn unwound(image: &Image) -> Option<Vec<u64>> {
    let header = image
        .programs
        .iter()
        .find(|program| program.p_type.get(LE) == PT_GNU_EH_FRAME)?;
    let base = header.p_vaddr.get(LE);
    let table = header.data(LE, image.data).ok()?;
    let (count, entries) = table
        .strip_prefix(&FRAME_HEADER)?
        .get(4..)?
        .split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let (entries, _) = entries.as_chunks::<8>();
    let starts = entries.iter().take(count).filter_map(|&[a, b, c, d, ..]| {
        base.checked_add_signed(i32::from_le_bytes([a, b, c, d]).into())
    });
    Some(starts.collect())
}
