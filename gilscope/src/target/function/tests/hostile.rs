//! A real libc, damaged at random: an answer or an error, never a panic, never without end.

use std::ops::Range;

use super::super::{Function, FunctionError, find};
use super::real::libc_path;

/// One with two versions, one with a jump table.
const FUNCTIONS: [&str; 2] = ["pthread_cond_timedwait", "pthread_mutex_timedlock"];

/// SplitMix64 (Steele, Lea, Flood 2014): the same damage in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// How often the damage made no difference, made another answer, made an error.
#[derive(Debug, Default)]
struct Outcomes {
    same: u32,
    other: u32,
    refused: u32,
}

impl Outcomes {
    fn count(&mut self, found: Result<Function, FunctionError>, true_one: &Function) {
        match found {
            Ok(found) if found == *true_one => self.same += 1,
            Ok(_) => self.other += 1,
            Err(_) => self.refused += 1,
        }
    }
}

/// Overwrites some bytes of a region, asks for the function, and repairs them, many times.
fn damage(elf: &mut [u8], name: &str, region: &Range<usize>, random: &mut Random) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let true_one = find(elf, name).unwrap();
    let whole = elf[region.clone()].to_vec();
    for _ in 0..150 {
        for _ in 0..=random.below(4) {
            let start = region.start + random.below(region.len());
            let end = region.end.min(start + [1, 2, 4, 8][random.below(4)]);
            elf[start..end].fill([0, 0xff, 0x7f, 0x80, random.next() as u8][random.below(5)]);
        }
        outcomes.count(find(elf, name), &true_one);
        elf[region.clone()].copy_from_slice(&whole);
    }
    outcomes
}

/// The places in the file on which the answer rests.
fn regions(elf: &[u8], name: &str) -> [(&'static str, Range<usize>); 7] {
    let word = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().unwrap()) as usize;
    let is = |at: usize, kind: u32| elf[at..at + 4] == kind.to_le_bytes();
    let (sections, count) = (word(0x28), usize::from(elf[0x3c]));
    let section = |kind: u32| {
        let mut headers = (0..count).map(|index| sections + index * 64);
        let header = headers.find(|at| is(at + 4, kind)).unwrap();
        word(header + 0x18)..word(header + 0x18) + word(header + 0x20)
    };
    let function = find(elf, name).unwrap();
    let entry = function.entry_offset as usize;
    let exit = *function.exit_offsets.last().unwrap() as usize;
    let mut symbols = section(11).step_by(24);
    let symbol = symbols.position(|at| word(at + 8) == entry).unwrap();
    let version = section(0x6fff_ffff).start + symbol * 2;
    let symbol = section(11).start + symbol * 24;
    let mut programs = (64..0x400).step_by(8);
    let unwind = word(programs.find(|at| is(*at, 0x6474_e550)).unwrap() + 8);
    [
        ("file header", 0..64),
        ("program headers", 64..0x400),
        ("section headers", sections..sections + count * 64),
        ("symbol", symbol..symbol + 24),
        ("version", version..version + 2),
        ("unwind table", unwind..unwind + 16),
        ("code", exit - 0x100..exit + 1),
    ]
}

#[test]
fn damage_is_survived() {
    let mut elf = std::fs::read(libc_path()).unwrap();
    let mut random = Random(1);
    for name in FUNCTIONS {
        for (what, region) in regions(&elf, name) {
            let outcomes = damage(&mut elf, name, &region, &mut random);
            println!("{name}, {what}: {outcomes:?}");
            assert!(outcomes.same > 0, "{name}, {what}: {outcomes:?}");
            // The symbols may tell what the unwind table would.
            let changed = outcomes.other + outcomes.refused > 0 || what == "unwind table";
            assert!(changed, "{name}, {what}: {outcomes:?}");
        }
    }
}

#[test]
fn a_file_cut_short_is_survived() {
    let elf = std::fs::read(libc_path()).unwrap();
    let mut random = Random(2);
    for _ in 0..2_000 {
        let length = random.below(elf.len());
        assert!(
            find(&elf[..length], "sem_wait").is_err(),
            "glibc's section headers come last"
        );
    }
}
