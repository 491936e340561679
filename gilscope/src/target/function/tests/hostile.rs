//! A real libc, damaged at random: an answer or an error, never a panic, never without end.

use std::ops::Range;

use super::super::{Function, FunctionError, find};
use super::real::libc_path;

const FUNCTION: &str = "pthread_cond_timedwait";

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

/// Overwrites some bytes of a region, asks for the function, and repairs them; `times` times.
fn damage(elf: &mut [u8], region: &Range<usize>, times: u32, random: &mut Random) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let true_one = find(elf, FUNCTION).unwrap();
    let whole = elf[region.clone()].to_vec();
    for _ in 0..times {
        for _ in 0..=random.below(4) {
            let start = region.start + random.below(region.len());
            let end = region.end.min(start + [1, 2, 4, 8][random.below(4)]);
            elf[start..end].fill([0, 0xff, 0x7f, 0x80, random.next() as u8][random.below(5)]);
        }
        outcomes.count(find(elf, FUNCTION), &true_one);
        elf[region.clone()].copy_from_slice(&whole);
    }
    outcomes
}

#[test]
fn damage_is_survived() {
    let mut elf = std::fs::read(libc_path()).unwrap();
    let mut random = Random(1);
    let word = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().unwrap()) as usize;
    let (sections, count) = (word(0x28), usize::from(elf[0x3c]));
    let section = |kind: u32| {
        let mut headers = (0..count).map(|index| sections + index * 64);
        let header = headers
            .find(|at| elf[at + 4..at + 8] == kind.to_le_bytes())
            .unwrap();
        word(header + 0x18)..word(header + 0x18) + word(header + 0x20)
    };
    let code = find(&elf, FUNCTION).unwrap().entry_offset as usize;
    let symbol = section(11)
        .step_by(24)
        .position(|at| word(at + 8) == code)
        .unwrap();
    let version = section(0x6fff_ffff).start + symbol * 2;
    let symbol = section(11).start + symbol * 24;
    let unwind = (64..0x400)
        .step_by(8)
        .find(|at| elf[*at..at + 4] == 0x6474_e550_u32.to_le_bytes());
    let unwind = word(unwind.unwrap() + 8);
    let regions = [
        ("file header", 0..64),
        ("program headers", 64..0x400),
        ("section headers", sections..sections + count * 64),
        ("symbol", symbol..symbol + 24),
        ("version", version..version + 2),
        ("unwind table", unwind..unwind + 16),
        ("code", code..code + 0x300),
    ];
    for (what, region) in regions {
        let outcomes = damage(&mut elf, &region, 500, &mut random);
        println!("{what}: {outcomes:?}");
        assert!(outcomes.same > 0, "{what}: {outcomes:?}");
        // The symbols tell what the unwind table would.
        let harmless = what == "unwind table";
        let changed = outcomes.other + outcomes.refused > 0;
        assert!(changed || harmless, "{what}: {outcomes:?}");
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
