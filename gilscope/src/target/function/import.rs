//! Functions of other files, by where the loader puts their addresses.

use std::collections::HashMap;

use object::LittleEndian as LE;
use object::elf::{R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT, SHT_DYNSYM};
use object::read::elf::{Rela, SectionHeader};

use super::FunctionError;
use super::image::Image;
use super::symbol;

/// Where the addresses of these imported functions are put: calls go through there, as a rule from the procedure
/// linkage table.
pub(super) fn slots<'a>(
    image: &Image,
    imports: &[&'a str],
) -> Result<HashMap<u64, &'a str>, FunctionError> {
    let symbols = image.sections.symbols(LE, image.data, SHT_DYNSYM)?;
    let names = symbol::names(image, &symbols)?;
    let mut slots = HashMap::new();
    for section in image.sections.iter() {
        let relocations = section.rela(LE, image.data)?;
        for relocation in relocations.map_or(&[][..], |(all, _)| all) {
            let kind = relocation.r_type(LE, false);
            let is_address = [R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT].contains(&kind);
            let index = relocation.symbol(LE, false).filter(|_| is_address);
            let Some(symbol) = index.and_then(|index| symbols.symbol(index).ok()) else {
                continue;
            };
            let mut imports = imports.iter();
            let name = imports.find(|name| symbol::is_named(names, symbol, name));
            slots.extend(name.map(|name| (relocation.r_offset.get(LE), *name)));
        }
    }
    Ok(slots)
}
