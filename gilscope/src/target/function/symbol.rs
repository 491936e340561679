//! A function's address by its default symbol version.

use object::LittleEndian as LE;
use object::elf::{
    FileHeader64, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, STB_LOCAL, STT_FUNC, STT_GNU_IFUNC,
    STT_NOTYPE, SectionType, Sym64, SymbolType, Versym,
};
use object::read::elf::{SectionHeader, SymbolTable};

use super::FunctionError;
use super::image::Image;

/// The address of the function `name`.
pub(super) fn address(image: &Image, name: &str) -> Result<u64, FunctionError> {
    let found = match in_table(image, SHT_DYNSYM, name)? {
        Some(found) => Some(found),
        None => in_table(image, SHT_SYMTAB, name)?,
    };
    let name = || name.to_owned();
    match found {
        None => Err(FunctionError::NoSuchSymbol { name: name() }),
        Some((_, STT_GNU_IFUNC)) => Err(FunctionError::IndirectFunction { name: name() }),
        Some((address, _)) => Ok(address),
    }
}

/// The address and size of every function that a symbol table knows.
pub(super) fn extents<'a>(
    image: &Image<'a>,
    table: SectionType,
) -> Result<impl Iterator<Item = (u64, u64)> + 'a, FunctionError> {
    let symbols = image.sections.symbols(LE, image.data, table)?.symbols();
    Ok(symbols
        .iter()
        .filter(|symbol| symbol.st_shndx.get(LE) != SHN_UNDEF && symbol.st_type() == STT_FUNC)
        .map(|symbol| (symbol.st_value.get(LE), symbol.st_size.get(LE))))
}

fn in_table(
    image: &Image,
    table: SectionType,
    name: &str,
) -> Result<Option<(u64, SymbolType)>, FunctionError> {
    let symbols = image.sections.symbols(LE, image.data, table)?;
    let names = names(image, &symbols)?;
    let versions = versions(image, &symbols)?;
    let mut found = None;
    for (index, symbol) in symbols.enumerate() {
        let version = versions.map(|versions| versions.get(index.0));
        if !is_named(names, symbol, name) || !is_function(symbol) || !is_default(version) {
            continue;
        }
        let this = (symbol.st_value.get(LE), symbol.st_type());
        if found.is_some_and(|found| found != this) {
            return Err(FunctionError::Ambiguous {
                name: name.to_owned(),
            });
        }
        found = Some(this);
    }
    Ok(found)
}

/// The bytes that hold the symbols' names. `SymbolTable::symbol_name` looks for the end of every name,
/// which a hostile file can make quadratic.
pub(super) fn names<'a>(
    image: &Image<'a>,
    symbols: &SymbolTable<'a, FileHeader64<LE>>,
) -> Result<&'a [u8], FunctionError> {
    if symbols.is_empty() {
        return Ok(&[]);
    }
    let section = image.sections.section(symbols.string_section())?;
    Ok(section.data(LE, image.data)?)
}

/// The version of each symbol, if this table has versions (`.gnu.version`; musl has none).
fn versions<'a>(
    image: &Image<'a>,
    symbols: &SymbolTable<'a, FileHeader64<LE>>,
) -> Result<Option<&'a [Versym<LE>]>, FunctionError> {
    let versions = image.sections.gnu_versym(LE, image.data)?;
    Ok(versions
        .filter(|(_, table)| *table == symbols.section())
        .map(|(versions, _)| versions))
}

pub(super) fn is_named(names: &[u8], symbol: &Sym64<LE>, name: &str) -> bool {
    usize::try_from(symbol.st_name.get(LE))
        .ok()
        .and_then(|start| names.get(start..)?.strip_prefix(name.as_bytes()))
        .is_some_and(|rest| rest.first() == Some(&0))
}

/// Assembler functions may lack a type.
fn is_function(symbol: &Sym64<LE>) -> bool {
    symbol.st_shndx.get(LE) != SHN_UNDEF
        && symbol.st_bind() != STB_LOCAL
        && matches!(symbol.st_type(), STT_FUNC | STT_NOTYPE | STT_GNU_IFUNC)
}

/// A name can be defined in several versions; the linker binds new programs to the one that is not
/// hidden (`@@`). No entry in an existing version table: not exported.
fn is_default(version: Option<Option<&Versym<LE>>>) -> bool {
    match version {
        None => true,
        Some(None) => false,
        Some(Some(version)) => {
            let version = version.0.get(LE);
            !version.is_hidden() && !version.is_local()
        }
    }
}
