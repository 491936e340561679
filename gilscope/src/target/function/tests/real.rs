//! The machine's own glibc, against what the linker, readelf and objdump say of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::process::Command;

use super::super::find;

/// What gilscope probes, and what it may.
const FUNCTIONS: [&str; 12] = [
    "pthread_cond_timedwait",
    "pthread_cond_clockwait",
    "pthread_cond_wait",
    "pthread_cond_signal",
    "pthread_cond_broadcast",
    "sem_wait",
    "sem_timedwait",
    "sem_clockwait",
    "sem_post",
    "sem_trywait",
    "pthread_mutex_lock",
    "pthread_mutex_timedlock",
];

/// A mapping of the libc of this very process: addresses, file offset, path.
struct Mapping {
    addresses: Range<u64>,
    offset: u64,
    path: String,
}

fn mappings() -> Vec<Mapping> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let all = maps.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let path = *fields.get(5)?;
        let (start, end) = fields[0].split_once('-')?;
        path.ends_with("/libc.so.6").then(|| Mapping {
            addresses: hex(start)..hex(end),
            offset: hex(fields[2]),
            path: path.to_owned(),
        })
    });
    let found: Vec<Mapping> = all.collect();
    assert!(
        !found.is_empty(),
        "these tests need a glibc of 2.34 or later: build them for *-linux-gnu"
    );
    found
}

pub(super) fn libc_path() -> String {
    mappings().swap_remove(0).path
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

#[test]
fn the_entry_is_the_one_that_programs_are_linked_to() {
    let elf = std::fs::read(libc_path()).unwrap();
    let linked = [
        (
            "pthread_cond_timedwait",
            libc::pthread_cond_timedwait as *const () as u64,
        ),
        (
            "pthread_cond_wait",
            libc::pthread_cond_wait as *const () as u64,
        ),
        (
            "pthread_cond_signal",
            libc::pthread_cond_signal as *const () as u64,
        ),
        ("sem_wait", libc::sem_wait as *const () as u64),
        ("sem_post", libc::sem_post as *const () as u64),
    ];
    for (name, address) in linked {
        let mapping = mappings()
            .into_iter()
            .find(|mapping| mapping.addresses.contains(&address))
            .unwrap();
        let offset = address - mapping.addresses.start + mapping.offset;
        assert_eq!(find(&elf, name).unwrap().entry_offset, offset, "{name}");
    }
}

/// Not by following the code, but by reading all of it: every `ret` that objdump sees between the
/// bounds that readelf gives for the function, and for those to which it jumps.
#[test]
fn the_exits_are_those_that_objdump_sees() {
    let path = libc_path();
    let elf = std::fs::read(&path).unwrap();
    let functions = unwound(&path);
    let mut exits = 0;
    for name in FUNCTIONS {
        let found = match find(&elf, name) {
            Ok(found) => found,
            Err(error) => panic!("{name}: {error}"),
        };
        let expected = returns(&path, &functions, found.entry_offset);
        let found: BTreeSet<u64> = found.exit_offsets.into_iter().collect();
        assert_eq!(found, expected, "{name}");
        exits += expected.len();
    }
    assert!(
        exits > FUNCTIONS.len(),
        "some function has more than one exit"
    );
}

/// From each function's first address to its end. glibc's executable segment lies in the file at the
/// offset that equals its address, which the comparison of the entries would notice if it changed.
fn unwound(path: &str) -> BTreeMap<u64, u64> {
    let frames = output(
        "readelf",
        &["--wide", "--debug-dump=frames,no-follow-links", path],
    );
    let ranges = frames
        .lines()
        .filter_map(|line| line.split_once(" pc=")?.1.split_once(".."));
    ranges.map(|(start, end)| (hex(start), hex(end))).collect()
}

fn returns(path: &str, functions: &BTreeMap<u64, u64>, entry: u64) -> BTreeSet<u64> {
    let mut pending = vec![entry];
    let mut seen = BTreeSet::new();
    let mut returns = BTreeSet::new();
    while let Some(address) = pending.pop() {
        let (&start, &end) = functions.range(..=address).next_back().unwrap();
        assert!(address < end, "{address:#x} has no unwind entry");
        if !seen.insert(start) {
            continue;
        }
        for (at, text) in disassembled(path, start, end) {
            let mut words = text
                .split_whitespace()
                .filter(|word| *word != "notrack" && *word != "repz");
            match words.next() {
                Some("ret") => {
                    returns.insert(at);
                }
                Some(jump) if jump.starts_with('j') => {
                    let target = words.next().unwrap();
                    if !target.starts_with('*') && !(start..end).contains(&hex(target)) {
                        pending.push(hex(target));
                    }
                }
                _ => {}
            }
        }
    }
    returns
}

fn disassembled(path: &str, start: u64, end: u64) -> Vec<(u64, String)> {
    let (start, end) = (
        format!("--start-address={start}"),
        format!("--stop-address={end}"),
    );
    let text = output("objdump", &["-d", "--no-show-raw-insn", &start, &end, path]);
    let lines = text.lines().filter_map(|line| line.split_once(":\t"));
    lines
        .map(|(at, text)| (hex(at.trim()), text.to_owned()))
        .collect()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let run = Command::new(program).args(arguments).output();
    let output = run.unwrap_or_else(|error| panic!("{program}: {error}: install binutils"));
    assert!(output.status.success(), "{program} {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}
