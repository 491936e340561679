//! In which native functions a process's threads have its GIL, from the addresses at which a clock saw them.

use crate::{
    interpreter::Interpreter,
    model::{NativeAt, OnCpuSamples},
    target::{
        Module, Process,
        maps::{FileId, MappedFile, mapped_files},
        module::Functions,
    },
};
use gilscope_common::records::OnCpuRecord;
use std::{cmp::Reverse, collections::HashMap};

/// Where an address is in no file that is known, the files are read anew, but not sooner than after this.
const READ_ANEW_NS: u64 = 1_000_000_000;
/// Files whose functions are named.
const MAX_FILES: usize = 256;
/// Threads and addresses that are told apart; what comes beyond is counted, and of no function.
const MAX_PLACES: usize = 1 << 14;
/// Rows of the report.
const MAX_ROWS: usize = 100;

/// What has been seen so far.
#[derive(Debug, Default)]
pub(super) struct OnCpu {
    samples: OnCpuSamples,
    mapped: Vec<MappedFile>,
    read_ns: u64,
    /// By file: those that could be opened.
    files: HashMap<FileId, Option<Functions>>,
    /// By file, thread and address.
    seen: HashMap<FileId, HashMap<(u32, u64), u64>>,
    places: usize,
}

impl OnCpu {
    /// Takes a sample.
    pub(super) fn add(&mut self, process: &Process, python: &Interpreter, record: &OnCpuRecord) {
        let (at_ns, address) = (record.header.at_ns, record.instruction);
        self.samples.taken += 1;
        if file_at(&self.mapped, address).is_none()
            && at_ns.saturating_sub(self.read_ns) >= READ_ANEW_NS
        {
            let mappings = process.mappings().unwrap_or_default();
            self.mapped = mapped_files(mappings);
            self.mapped.retain(MappedFile::is_executable);
            self.read_ns = at_ns;
        }
        let Some(mapped) = file_at(&self.mapped, address) else {
            self.samples.unknown += 1;
            return;
        };
        let file = mapped.file;
        if python.module.mappings.iter().any(|own| own.file == file) {
            self.samples.python += 1;
            return;
        }
        self.samples.native += 1;
        if !self.files.contains_key(&file) && self.files.len() < MAX_FILES {
            let opened = Module::open(process, mapped).map(Functions::from);
            self.files.insert(file, opened.ok());
        }
        let places = self.seen.entry(file).or_default();
        let key = (record.header.tid, address);
        if self.places < MAX_PLACES || places.contains_key(&key) {
            let count = places.entry(key).or_insert(0);
            self.places += usize::from(*count == 0);
            *count += 1;
        }
    }

    /// How many samples, and the functions that they were in, most often first. Reads the symbols of those files.
    pub(super) fn finish(&self) -> (OnCpuSamples, Vec<NativeAt>) {
        let mut counts: HashMap<(u32, String, Option<String>), u64> = HashMap::new();
        for (file, places) in &self.seen {
            let Some(Some(functions)) = self.files.get(file) else {
                continue;
            };
            let library = functions.path.file_name().unwrap_or_default();
            let library = library.to_string_lossy();
            let places: Vec<_> = places.iter().collect();
            let addresses: Vec<_> = places.iter().map(|((_, address), _)| *address).collect();
            for (((tid, _), samples), name) in places.into_iter().zip(functions.names(&addresses)) {
                *counts.entry((*tid, library.to_string(), name)).or_default() += samples;
            }
        }
        let rows = counts.into_iter();
        let rows = rows.map(|((holder, library, function), samples)| NativeAt {
            holder,
            library,
            function,
            samples,
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by(|one, other| {
            let key = |row: &NativeAt| (Reverse(row.samples), row.holder);
            let names = |row: &NativeAt| (row.library.clone(), row.function.clone());
            (key(one), names(one)).cmp(&(key(other), names(other)))
        });
        rows.truncate(MAX_ROWS);
        (self.samples, rows)
    }
}

/// The file whose code is at an address.
fn file_at(mapped: &[MappedFile], address: u64) -> Option<&MappedFile> {
    let has_it = |file: &&MappedFile| {
        let mut mappings = file.mappings.iter();
        mappings.any(|one| one.executable && (one.start..one.end).contains(&address))
    };
    mapped.iter().find(has_it)
}
