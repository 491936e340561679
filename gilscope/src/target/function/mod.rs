//! Where a function of an ELF file begins and every place at which it returns, as file offsets for
//! uprobes.
//!
//! gilscope uses no uretprobes: they rewrite the return addresses on the target's stack, which has
//! crashed Python services (coroot-node-agent #256). It probes the `ret` instructions instead, found
//! by following every direct jump from the entry, tail jumps into other functions included: glibc
//! 2.36's `sem_wait` returns by itself only when it need not sleep.
//!
//! What a consumer must know:
//! - A `ret` may be shared. A function reached by a tail jump may also be called by others, even by
//!   the function itself: musl 1.2.5's `pthread_mutex_lock` leaves through `pthread_mutex_timedlock`,
//!   which both calls and tail-jumps to `pthread_mutex_trylock` (measured: 6,128 of 33,788 hits on its
//!   exits were such inner returns). So a hit on an exit proves nothing alone. On entry the stack
//!   pointer addresses the return address, and it has the same value at the `ret` that leaves this
//!   very call: **an exit belongs to the entry of the same thread with the same stack pointer**, and
//!   an exit without such an entry is to be ignored.
//! - A thread may leave without a `ret`: it exits, is cancelled, or unwinds (`longjmp`, an
//!   exception) through the function. Its next entry, or its end, closes the open one.
//! - glibc before 2.34 has the pthread functions in `libpthread.so.0`; what `libc.so.6` exports under
//!   the same names there are forwarders, which are refused here because they jump indirectly.

mod boundary;
mod code;
mod descent;
mod error;
mod image;
mod import;
mod registers;
mod symbol;
mod table;
#[cfg(test)]
mod tests;

pub use code::{Code, Use};
pub use error::FunctionError;

/// A function, as file offsets to which uprobes can be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The name under which it was found.
    pub name: String,
    /// The file offset of its first instruction.
    pub entry_offset: u64,
    /// The file offset of every `ret` that its code can reach without a call, ascending; never empty.
    pub exit_offsets: Vec<u64>,
    /// The address, as linked, behind every call and system call that its code can reach without a call, ascending: what is on the
    /// stack while it waits in one.
    pub return_addresses: Vec<u64>,
}

/// Finds the function `name` in an x86-64 ELF shared object or executable: the default version of a
/// dynamic symbol, else a symbol of `.symtab` (an executable with a static libc).
///
/// # Errors
/// If there is no such function, or if not all of its exits can be found.
pub fn find(elf: &[u8], name: &str) -> Result<Function, FunctionError> {
    let image = image::Image::parse(elf)?;
    let entry = symbol::address(&image, name)?;
    let (entry_offset, _) = image.code(entry).ok_or_else(|| FunctionError::LeavesFile {
        name: name.to_owned(),
        at: entry,
    })?;
    let reached = descent::reached(&image, name, entry)?;
    Ok(Function {
        name: name.to_owned(),
        entry_offset,
        exit_offsets: reached.exits.into_iter().collect(),
        return_addresses: reached.returns.into_iter().collect(),
    })
}
