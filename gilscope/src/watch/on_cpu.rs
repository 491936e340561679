//! In which native functions a process's threads have its GIL, and who called them, from the addresses and stacks that a clock saw.

use super::native_code::{Address, NativeCode, is_python};
use crate::{
    interpreter::Interpreter,
    model::{NativeAt, NativeCallers, NativeFunction, OnCpuSamples},
    target::Process,
};
use gilscope_common::records::{NativeRecord, OnCpuRecord};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

/// Addresses of places that are told apart; a sample beyond is counted, and of no function.
const MAX_ADDRESSES: usize = 1 << 15;
/// Rows of the report.
const MAX_ROWS: usize = 100;
/// Ways on which the function of a row was called.
const MAX_WAYS: usize = 10;

/// A native function that a thread ran, by where it and its callers were.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    tid: u32,
    at: Address,
    /// From its own caller to the one that Python called; `None` where that is not known.
    callers: Option<Vec<Address>>,
}

impl Place {
    fn addresses(&self) -> impl Iterator<Item = &Address> {
        [&self.at].into_iter().chain(self.callers.iter().flatten())
    }
}

/// What has been seen so far.
#[derive(Debug, Default)]
pub(super) struct OnCpu {
    samples: OnCpuSamples,
    code: NativeCode,
    seen: HashMap<Place, u64>,
    /// Addresses in that.
    addresses: usize,
}

/// On what ways a thread's function was called, and how often; `None` where that is not known.
type Ways = BTreeMap<Option<Vec<Rc<NativeFunction>>>, u64>;

impl OnCpu {
    /// Takes a sample.
    pub(super) fn add(
        &mut self,
        process: &Process,
        python: &Interpreter,
        record: &OnCpuRecord,
        native: Option<&NativeRecord>,
    ) {
        self.samples.taken += 1;
        let is_own = |file| is_python(python, file);
        if self.code.file_at(record.instruction).is_some_and(is_own) {
            self.samples.python += 1;
            return;
        }
        self.code.read_mappings(process, record.header.at_ns);
        let Some(file) = self.code.file_at(record.instruction) else {
            self.samples.unknown += 1;
            return;
        };
        if is_own(file) {
            self.samples.python += 1;
            return;
        }
        self.code.open(process, file);
        let callers = native.and_then(|native| self.code.callers(process, python, native));
        let place = Place {
            tid: record.header.tid,
            at: (file, record.instruction),
            callers,
        };
        // Python itself compares, copies and asks for memory there.
        let of_c = |place: &Place| {
            place
                .addresses()
                .all(|(file, _)| self.code.is_c_library(*file))
        };
        if place.callers.is_some() && of_c(&place) {
            self.samples.python += 1;
            return;
        }
        self.samples.native += 1;
        let new = self.addresses + place.addresses().count();
        if let Some(samples) = self.seen.get_mut(&place) {
            *samples += 1;
        } else if new <= MAX_ADDRESSES {
            self.addresses = new;
            self.seen.insert(place, 1);
        }
    }

    /// Nothing more will be seen.
    pub(super) fn is_over(&mut self) {
        self.code.is_over();
    }

    /// How many samples, and the functions that they were in, most often first. Reads the symbols of those files.
    pub(super) fn finish(&self) -> (OnCpuSamples, Vec<NativeAt>) {
        let functions = self.functions();
        let function = |at: &Address| functions.get(at).cloned();
        // In an order that does not depend on addresses.
        let mut counts: BTreeMap<(u32, Rc<NativeFunction>), Ways> = BTreeMap::new();
        for (place, samples) in &self.seen {
            let Some(at) = function(&place.at) else {
                continue;
            };
            let callers = place.callers.as_ref();
            let callers = callers.and_then(|all| all.iter().map(function).collect());
            let ways = counts.entry((place.tid, at)).or_default();
            *ways.entry(callers).or_default() += samples;
        }
        let mut rows: Vec<_> = counts.iter().collect();
        rows.sort_by_key(|(_, ways)| Reverse(ways.values().sum::<u64>()));
        let rows = rows.into_iter().take(MAX_ROWS);
        let rows = rows.map(|((holder, at), ways)| NativeAt {
            holder: *holder,
            at: at.as_ref().clone(),
            samples: ways.values().sum(),
            callers: callers(ways),
        });
        (self.samples, rows.collect())
    }

    /// The functions at all addresses that were seen, of the files that could be opened.
    fn functions(&self) -> HashMap<Address, Rc<NativeFunction>> {
        let mut seen: HashMap<_, HashSet<u64>> = HashMap::new();
        for (file, at) in self.seen.keys().flat_map(Place::addresses) {
            seen.entry(*file).or_default().insert(*at);
        }
        let mut functions = HashMap::new();
        for (file, addresses) in seen {
            let Some(of) = self.code.functions(file) else {
                continue;
            };
            let library = of.path.file_name().unwrap_or_default().to_string_lossy();
            let addresses: Vec<_> = addresses.into_iter().collect();
            let names = of.names(&addresses);
            functions.extend(addresses.into_iter().zip(names).map(|(at, function)| {
                let library = library.clone().into_owned();
                ((file, at), Rc::new(NativeFunction { library, function }))
            }));
        }
        functions
    }
}

/// Those that are known, most often first.
fn callers(ways: &Ways) -> Vec<NativeCallers> {
    let known = ways.iter();
    let known = known.filter_map(|(way, samples)| Some((way.as_ref()?, *samples)));
    let mut known: Vec<_> = known.collect();
    known.sort_by_key(|(_, samples)| Reverse(*samples));
    let known = known.into_iter().take(MAX_WAYS);
    let known = known.map(|(way, samples)| NativeCallers {
        functions: way.iter().map(|at| at.as_ref().clone()).collect(),
        samples,
    });
    known.collect()
}
