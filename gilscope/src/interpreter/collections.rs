//! How often garbage was collected, and for how long.

use super::{
    Interpreter,
    layout::{BUFFERED, COUNTED, Collecting, Collections, GENERATIONS},
    locate,
};
use crate::{model::Generation, target::Memory};

/// It is written meanwhile as often as a process collects.
const ATTEMPTS: usize = 3;

impl Interpreter {
    /// The collections so far of the main interpreter (to 3.8: of all), those of the youngest generation first; `None` where this version's
    /// counts are not known, or cannot be read.
    pub fn collections(&self, memory: Memory) -> Option<[Generation; GENERATIONS]> {
        let (runtime, layout) = self.layout()?;
        let collector = layout.collector?;
        let collecting = match collector.collecting {
            Collecting::InRuntime(offset) => runtime.wrapping_add(offset),
            Collecting::InInterpreter(offset) => {
                locate::main(memory, runtime, layout)?.wrapping_add(offset)
            }
        };
        match collector.collections? {
            Collections::Before(before) => counted(memory, collecting.wrapping_sub(before)),
            Collections::PointerBefore(before) => {
                let pointer = memory.read_u64(collecting.wrapping_sub(before)).ok()?;
                (0..ATTEMPTS).find_map(|_| buffered(memory, pointer))
            }
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*word))
}

/// `Py_ssize_t`, of which none is negative.
fn number(bytes: &[u8], at: usize) -> Option<u64> {
    word(bytes, at).filter(|number| *number <= i64::MAX as u64)
}

fn counted(memory: Memory, address: u64) -> Option<[Generation; GENERATIONS]> {
    let bytes = memory
        .read_bytes(address, GENERATIONS * COUNTED.size)
        .ok()?;
    let mut generations = [Generation::default(); GENERATIONS];
    for (index, generation) in generations.iter_mut().enumerate() {
        generation.count = number(&bytes, index * COUNTED.size + COUNTED.collections)?;
    }
    Some(generations)
}

fn buffered(memory: Memory, address: u64) -> Option<[Generation; GENERATIONS]> {
    let bytes = memory.read_bytes(address, BUFFERED.size).ok()?;
    let update = memory.read_i32(address.wrapping_add(BUFFERED.update as u64));
    let before = bytes.get(BUFFERED.update..)?.first_chunk::<4>()?;
    if update.ok()? != i32::from_le_bytes(*before) {
        return None;
    }
    let mut generations = [Generation::default(); GENERATIONS];
    for (generation, (ring, items)) in generations.iter_mut().zip(BUFFERED.rings) {
        let all = (0..items).map(|index| {
            let item = ring + index * BUFFERED.item_size;
            let seconds = f64::from_bits(word(&bytes, item + BUFFERED.duration)?);
            Some(Generation {
                count: number(&bytes, item + BUFFERED.collections)?,
                sum_ns: Some(nanoseconds(seconds)?),
            })
        });
        // The sums only grow.
        let all = all.collect::<Option<Vec<_>>>()?;
        *generation = all.into_iter().max_by_key(|it| (it.count, it.sum_ns))?;
    }
    Some(generations)
}

fn nanoseconds(seconds: f64) -> Option<u64> {
    // A century; more is no duration.
    let is_sane = (0.0..3.2e9).contains(&seconds);
    // In the range of a u64, as checked.
    is_sane.then_some((seconds * 1e9) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    fn put(bytes: &mut [u8], at: usize, word: u64) {
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    fn read<const SIZE: usize>(
        bytes: &[u8; SIZE],
        read: fn(Memory, u64) -> Option<[Generation; GENERATIONS]>,
    ) -> Option<[Generation; GENERATIONS]> {
        let memory = Memory::new(std::process::id());
        read(memory, black_box(bytes).as_ptr() as u64)
    }

    #[test]
    fn counts_are_no_negative_numbers() {
        let mut bytes = [0; 72];
        put(&mut bytes, 0, 7);
        put(&mut bytes, 48, 3);
        let counts = |it: [Generation; GENERATIONS]| it.map(|one| (one.count, one.sum_ns));
        let all = read(&bytes, counted).map(counts);
        assert_eq!(all, Some([(7, None), (0, None), (3, None)]));
        put(&mut bytes, 24, u64::MAX);
        assert_eq!(read(&bytes, counted), None);
        assert_eq!(counted(Memory::new(std::process::id()), 8), None);
    }

    #[test]
    fn the_newest_in_a_ring_has_the_sums() {
        let mut bytes = [0; 1120];
        for (index, count) in [4_u64, 2, 3].into_iter().enumerate() {
            let item = 712 + index * 64;
            put(&mut bytes, item + 16, count);
            put(&mut bytes, item + 48, (count as f64 / 4.0).to_bits());
        }
        let all = read(&bytes, buffered);
        let quiet = Generation {
            count: 0,
            sum_ns: Some(0),
        };
        let sums = Generation {
            count: 4,
            sum_ns: Some(1_000_000_000),
        };
        assert_eq!(all, Some([quiet, sums, quiet]));
        for hostile in [f64::NAN, -1.0, f64::INFINITY, 1e300] {
            put(&mut bytes, 712 + 48, hostile.to_bits());
            assert_eq!(read(&bytes, buffered), None, "{hostile}");
        }
    }
}
