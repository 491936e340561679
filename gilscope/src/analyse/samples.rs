//! Who was seen to have a GIL, where, and for how long on end in one function.

use super::waited_at::ToldApart;
use crate::model::{Frame, GilSamples, Held, PythonStack, Sample, Sampled};
use std::{cmp::Reverse, collections::HashMap};

/// Stacks that are told apart; what comes beyond is of no place.
const MAX_STACKS: usize = 4_096;
/// Threads whose stretches are under way; those that have not been seen for longest are forgotten beyond.
const MAX_THREADS: usize = 1_024;
/// Places of threads that are counted.
const MAX_ROWS: usize = 65_536;
/// Of a stack, these innermost functions may be the one that loops: what it calls may be called anew each time.
const INNERMOST: usize = 2;

/// What has been seen so far.
#[derive(Debug, Default)]
pub struct Samples {
    totals: GilSamples,
    stacks: ToldApart,
    /// By thread, stack and what it did.
    seen: HashMap<(u32, usize, Doing), u64>,
    under_way: HashMap<u32, Stretch>,
    longest: Option<Stretch>,
}

/// What a thread that had the GIL did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Doing {
    /// It ran, or could.
    Running,
    /// It slept.
    Asleep,
    /// It collected garbage.
    Collecting,
}

/// A stretch of time in which a thread was in the same function, whenever it was seen to have the GIL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Thread id.
    pub tid: u32,
    /// When it was seen there first.
    pub began_ns: u64,
    /// When it was seen there last.
    pub ended_ns: u64,
    /// How often it was.
    pub samples: u64,
    /// How many looks there were meanwhile, of all threads.
    pub looks: u64,
    /// Looks before it.
    looks_before: u64,
    functions: Vec<Function>,
    /// How often it was at each place.
    places: HashMap<usize, u64>,
}

/// Its file and name.
type Function = (String, String);

fn function(frame: &Frame) -> Function {
    let name = frame.qualified_name.as_ref().unwrap_or(&frame.name);
    (frame.file.clone(), name.clone())
}

impl Samples {
    /// Takes a look.
    pub fn add(&mut self, sample: Sample) {
        self.totals.taken += 1;
        match sample.seen {
            Sampled::Free => {}
            Sampled::Unknown => self.totals.unknown += 1,
            Sampled::Held(held) => self.held(sample.at_ns, held),
        }
    }

    fn held(&mut self, at_ns: u64, held: Held) {
        self.totals.held += 1;
        self.totals.asleep += u64::from(held.is_asleep);
        if let Some(is_collecting) = held.is_collecting {
            *self.totals.collecting.get_or_insert(0) += u64::from(is_collecting);
        }
        let doing = match held.is_collecting {
            Some(true) => Doing::Collecting,
            _ if held.is_asleep => Doing::Asleep,
            _ => Doing::Running,
        };
        let functions = held.stack.as_ref().map(|stack| &stack.frames);
        let functions = functions.into_iter().flatten().take(INNERMOST);
        let functions: Vec<_> = functions.map(function).collect();
        let place = held
            .stack
            .and_then(|stack| self.stacks.index(stack, MAX_STACKS));
        if let Some(place) = place {
            let key = (held.holder, place, doing);
            if self.seen.len() < MAX_ROWS || self.seen.contains_key(&key) {
                *self.seen.entry(key).or_default() += 1;
            }
        }
        if doing == Doing::Running {
            self.goes_on(held.holder, at_ns, functions, place);
        } else {
            self.is_over(held.holder);
        }
    }

    fn goes_on(&mut self, tid: u32, at_ns: u64, functions: Vec<Function>, place: Option<usize>) {
        // Of a stack that could not be read nobody knows whether it is another one; it counts as a look.
        if functions.is_empty() {
            return;
        }
        let looks = self.totals.taken;
        let goes_on = |stretch: &Stretch| {
            let mut all = stretch.functions.iter();
            all.any(|one| functions.contains(one))
        };
        if self.under_way.get(&tid).is_some_and(|it| !goes_on(it)) {
            self.is_over(tid);
        }
        if self.under_way.len() >= MAX_THREADS && !self.under_way.contains_key(&tid) {
            let oldest = self.under_way.values().min_by_key(|it| it.ended_ns);
            if let Some(tid) = oldest.map(|it| it.tid) {
                self.is_over(tid);
            }
        }
        let stretch = self.under_way.entry(tid).or_insert_with(|| Stretch {
            tid,
            began_ns: at_ns,
            ended_ns: at_ns,
            samples: 0,
            looks: 0,
            looks_before: looks - 1,
            functions: functions.clone(),
            places: HashMap::new(),
        });
        stretch.functions.retain(|one| functions.contains(one));
        stretch.ended_ns = at_ns;
        stretch.samples += 1;
        stretch.looks = looks - stretch.looks_before;
        if let Some(place) = place {
            *stretch.places.entry(place).or_default() += 1;
        }
    }

    /// A thread was seen to do something else.
    fn is_over(&mut self, tid: u32) {
        let over = self.under_way.remove(&tid);
        let all = over.into_iter().chain(self.longest.take());
        self.longest = all.max_by_key(|it| it.samples);
    }

    /// How many looks, and what they saw.
    pub fn totals(&self) -> GilSamples {
        self.totals
    }

    /// The stretch with the most looks at a thread in one function.
    pub fn longest(&self) -> Option<&Stretch> {
        let all = self.under_way.values().chain(&self.longest);
        all.max_by_key(|it| (it.samples, Reverse(it.tid)))
    }

    /// Each place at which a thread had a GIL, with how often it was seen there; most often first.
    pub fn places(&self) -> Vec<(u32, Doing, &PythonStack, u64)> {
        let stacks = self.by_index();
        let seen = self.seen.iter();
        let mut all: Vec<_> = seen
            .filter_map(|((tid, place, doing), count)| {
                Some((*place, (*tid, *doing, *stacks.get(place)?, *count)))
            })
            .collect();
        all.sort_by_key(|(place, (tid, doing, _, count))| (Reverse(*count), *place, *tid, *doing));
        all.into_iter().map(|(_, one)| one).collect()
    }

    /// Where a stretch was most often.
    pub fn place_of(&self, stretch: &Stretch) -> Option<&PythonStack> {
        let places = stretch.places.iter();
        let most = places.max_by_key(|(place, count)| (**count, Reverse(**place)))?;
        self.by_index().get(most.0).copied()
    }

    fn by_index(&self) -> HashMap<usize, &PythonStack> {
        let stacks = self.stacks.indices.iter();
        stacks.map(|(stack, index)| (*index, stack)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn stack(names: &[&str]) -> PythonStack {
        let frame = |name: &&str| Frame {
            name: (*name).to_owned(),
            qualified_name: None,
            file: "app.py".to_owned(),
            line: Some(1),
        };
        PythonStack {
            frames: names.iter().map(frame).collect(),
            truncated: false,
            unreadable: 0,
        }
    }

    fn held(tid: u32, names: &[&str]) -> Sampled {
        Sampled::Held(Held {
            holder: tid,
            is_asleep: false,
            is_collecting: None,
            stack: Some(stack(names)),
        })
    }

    fn samples(seen: Vec<Sampled>) -> Samples {
        let mut samples = Samples::default();
        for (at_ns, seen) in (100..).step_by(100).zip(seen) {
            samples.add(Sample {
                at_ns,
                gil_id: 0,
                seen,
            });
        }
        samples
    }

    /// A function that calls others is the one that is there each time.
    #[test]
    fn a_loop_goes_on_while_what_it_calls_changes() {
        let samples = samples(vec![
            held(1, &["main"]),
            held(2, &["one", "loop", "main"]),
            held(2, &["loop", "main"]),
            held(1, &["other", "main"]),
            Sampled::Free,
            held(2, &["two", "loop", "main"]),
            held(2, &["loop", "main"]),
            held(2, &["deep", "two", "loop"]),
        ]);
        let longest = samples.longest().unwrap();
        assert_eq!((longest.tid, longest.samples, longest.looks), (2, 4, 6));
        assert_eq!((longest.began_ns, longest.ended_ns), (200, 700));
        assert_eq!(samples.place_of(longest), Some(&stack(&["loop", "main"])));
        assert_eq!(samples.totals().held, 7);
    }

    #[test]
    fn what_cannot_be_read_is_no_loop() {
        let nothing = || held(1, &[]);
        let samples = samples(vec![nothing(), nothing(), Sampled::Unknown]);
        assert_eq!(samples.longest(), None);
        let totals = samples.totals();
        assert_eq!((totals.taken, totals.held, totals.unknown), (3, 2, 1));
        assert_eq!((totals.asleep, totals.collecting), (0, None));
        assert!(samples.places().is_empty());
    }

    /// It is seen less often, but not seen to do something else.
    #[test]
    fn a_look_that_cannot_be_read_ends_no_loop() {
        let looped = || held(1, &["loop", "main"]);
        let samples = samples(vec![looped(), held(1, &[]), looped(), looped()]);
        let longest = samples.longest().unwrap();
        assert_eq!((longest.samples, longest.looks), (3, 4));
        assert_eq!((longest.began_ns, longest.ended_ns), (100, 400));
    }

    /// Many frames cannot make gilscope's memory endless, even without names. What is beyond is of no place, but counts.
    #[test]
    fn no_more_bytes_are_kept_than_fit() {
        let deep = |more: usize| held(1, &vec![""; 200_000 + more]);
        let samples = samples((0..5).map(deep).collect());
        assert_eq!((samples.places().len(), samples.totals().held), (3, 5));
        assert_eq!(samples.longest().unwrap().samples, 5);
    }

    #[test]
    fn asleep_and_collecting() {
        let doing = |is_asleep, is_collecting| {
            Sampled::Held(Held {
                holder: 1,
                is_asleep,
                is_collecting,
                stack: Some(stack(&["work"])),
            })
        };
        let samples = samples(vec![
            doing(true, Some(false)),
            doing(false, Some(true)),
            doing(false, Some(true)),
            doing(false, None),
        ]);
        let totals = samples.totals();
        assert_eq!((totals.asleep, totals.collecting), (1, Some(2)));
        let places = samples.places();
        let counts: Vec<_> = places
            .iter()
            .map(|(_, doing, _, count)| (*doing, *count))
            .collect();
        assert_eq!(
            counts,
            [
                (Doing::Collecting, 2),
                (Doing::Running, 1),
                (Doing::Asleep, 1)
            ]
        );
        assert_eq!(samples.longest().unwrap().samples, 1);
    }
}
