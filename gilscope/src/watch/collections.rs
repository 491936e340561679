//! Counts the garbage collections of a process.

use crate::{
    interpreter::Interpreter,
    model::{self, Generation},
    target::Memory,
};

/// What was read, and when.
type Look = (u64, [Generation; 3]);

/// What was read first and last.
#[derive(Default)]
pub(super) struct Collections(Option<(Look, Look)>);

impl Collections {
    /// Looks.
    pub(super) fn look(&mut self, interpreter: &Interpreter, memory: Memory, at_ns: u64) {
        if let Some(now) = interpreter.collections(memory) {
            let first = self.0.map_or((at_ns, now), |(first, _)| first);
            self.0 = Some((first, (at_ns, now)));
        }
    }

    /// What there was in between; `None` where that is not known.
    pub(super) fn finish(self, origin_ns: u64) -> Option<model::Collections> {
        let ((from_ns, before), (until_ns, now)) = self.0?;
        let mut generations = now;
        for (generation, before) in generations.iter_mut().zip(before) {
            // What counts down is no count.
            generation.count = generation.count.checked_sub(before.count)?;
            generation.sum_ns = match (generation.sum_ns, before.sum_ns) {
                (Some(now), Some(before)) => Some(now.checked_sub(before)?),
                _ => None,
            };
        }
        Some(model::Collections {
            from_ns: from_ns.saturating_sub(origin_ns),
            until_ns: until_ns.saturating_sub(origin_ns),
            generations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generations(counts: [u64; 3], sum_ns: Option<u64>) -> [Generation; 3] {
        counts.map(|count| Generation { count, sum_ns })
    }

    #[test]
    fn between_two_looks() {
        let of = |before, now| Collections(Some(((110, before), (250, now)))).finish(100);
        let before = generations([5, 4, 3], Some(70));
        let now = generations([9, 4, 4], Some(90));
        let found = of(before, now).map(|it| (it.from_ns, it.until_ns, it.generations));
        assert_eq!(found, Some((10, 150, generations([4, 0, 1], Some(20)))));
        assert_eq!(of(now, before), None);
        assert_eq!(Collections::default().finish(100), None);
        let untimed = generations([9, 4, 4], None);
        let found = of(untimed, untimed).map(|it| it.generations);
        assert_eq!(found, Some(generations([0; 3], None)));
    }
}
