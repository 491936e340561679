//! The functions of a mapped file, named when the process may be gone.

use super::Module;
use crate::target::elf::{Elf, MAX_NAME};
use cpp_demangle::{DemangleOptions, ParseOptions, Symbol};
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How deep one of C++ may be nested: of 7,700 in four libraries none that can be read at all is deeper. cpp_demangle reads some constructs twice (0.5.1, `ast.rs`: a
/// conversion operator's template arguments), and so what is in them 4 times, and so on.
const MAX_DEPTH: u32 = 48;
/// So long are the names of a file made readable; each takes some 10 µs, but for hostile ones.
const READABLE: Duration = Duration::from_millis(100);

/// A file whose functions can be named.
#[derive(Debug)]
pub struct Functions {
    /// Path as the target sees it, with the kernel's ` (deleted)` if it was.
    pub path: PathBuf,
    load_bias: u64,
    file: File,
}

impl From<Module> for Functions {
    /// Keeps the file and no more.
    fn from(module: Module) -> Self {
        Self {
            path: module.path,
            load_bias: module.load_bias,
            file: module.file,
        }
    }
}

impl Functions {
    /// The names of the functions at these addresses in the target; none where no symbol says what is there. Reads the file's symbols each time.
    pub fn names(&self, addresses: &[u64]) -> Vec<Option<String>> {
        let unknown = || vec![None; addresses.len()];
        let Ok(mut elf) = Elf::read(&self.file) else {
            return unknown();
        };
        // A file that is damaged there has its dynamic symbols all the same.
        let _ = elf.read_all_symbols(&self.file);
        let linked = addresses.iter().map(|at| at.wrapping_sub(self.load_bias));
        let names = elf.functions_at(&linked.collect::<Vec<_>>());
        // Many addresses are in few functions.
        let mut known: HashMap<String, String> = HashMap::new();
        let began = Instant::now();
        let mut readable = |linked: String| {
            if let Some(name) = known.get(&linked) {
                return name.clone();
            }
            let in_time = began.elapsed() < READABLE;
            let name = in_time.then(|| readable(&linked)).flatten();
            let name = name.unwrap_or_else(|| linked.clone());
            known.insert(linked, name.clone());
            name
        };
        let names = names.into_iter();
        names.map(|name| name.map(&mut readable)).collect()
    }
}

/// What a programmer calls a function of C++ (without its parameters) or Rust (without its hash) that the linker calls so; none for another.
fn readable(linked: &str) -> Option<String> {
    let mut name = Short(String::new());
    if let Ok(rust) = rustc_demangle::try_demangle(linked) {
        write!(name, "{rust:#}").ok()?;
    } else {
        let options = DemangleOptions::new().no_params().no_return_type();
        let symbol = of_cpp(linked)?;
        symbol.structured_demangle(&mut name, &options).ok()?;
    }
    Some(name.0)
}

fn of_cpp(linked: &str) -> Option<Symbol<&str>> {
    // Else it would be taken for a type, such as `i`.
    linked.strip_prefix("_Z")?;
    let depth = ParseOptions::default().recursion_limit(MAX_DEPTH);
    Symbol::new_with_options(linked, &depth).ok()
}

/// Refuses what is longer than [`MAX_NAME`]: a short name of the linker's may stand for very much.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.0.len().saturating_add(part.len()) > MAX_NAME {
            return Err(fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn names_are_as_a_programmer_knows_them() {
        for (linked, known) in [
            (
                "_ZN5torch8autograd6Engine7executeEv",
                "torch::autograd::Engine::execute",
            ),
            // Found in NumPy 2.3.
            (
                "_ZL34promote_and_get_info_and_ufuncimplP17_tagPyUFuncObjectPKP16tagPyArrayObjectPP21PyArray_DTypeMeta_tagS7_h",
                "promote_and_get_info_and_ufuncimpl",
            ),
            (
                "_ZN4core3ops8function6FnOnce9call_once17hfffeebc71b79384dE",
                "core::ops::function::FnOnce::call_once",
            ),
            ("_RNvCs15kBYyAo9fc_7mycrate7example", "mycrate::example"),
        ] {
            assert_eq!(readable(linked).as_deref(), Some(known));
        }
        for linked in [
            "crc32_z",
            "PyCFuncPtr_call.cold",
            "_ZN",
            "",
            "_Zé",
            "i",
            "Pc",
        ] {
            assert_eq!(readable(linked), None, "{linked}");
        }
    }

    /// Each pair takes the last one twice.
    #[test]
    fn a_short_name_that_stands_for_a_long_one_stays_as_it_is() {
        let linked = |levels| {
            let places = (2..levels).filter_map(|place| char::from_digit(place, 36));
            let of = |place: char| format!("S1_IS{0}_S{0}_E", place.to_ascii_uppercase());
            let arguments: String = places.map(of).collect();
            format!("_Z1fI1a1bIS0_S0_E{arguments}Evv")
        };
        let short = readable(&linked(4)).unwrap();
        let begins = "f<a, b<a, a>, b<b<a, a>, b<a, a> >";
        assert!(short.starts_with(begins), "{short}");
        assert_eq!(readable(&linked(32)), None);
    }

    /// Each level is read twice.
    #[test]
    fn a_name_that_takes_long_to_read_stays_as_it_is() {
        let linked = |levels| {
            let (begin, end) = ("T_I".repeat(levels), "EIiE".repeat(levels));
            format!("_Zcv{begin}i{end}v")
        };
        assert!(of_cpp(&linked(8)).is_some());
        assert!(of_cpp(&linked(24)).is_none());
    }
}
