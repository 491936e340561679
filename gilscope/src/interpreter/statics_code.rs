//! Where 3.2 – 3.6 keep the GIL, by the code of a stripped file that uses it.

use super::layout::{
    DROPS_GIL, GIL_VARIABLE_SIZES, LOCK, NEVER_RETURN, READS_INTERVAL, READS_LOCKED, SIGNAL,
    TAKES_GIL, TIMED_WAIT, WAIT,
};
use crate::target::Module;
use crate::target::elf::Elf;
use crate::target::function::{Code, Use};

/// A function that may be `take_gil` is looked for among so many that its exported user calls.
const MAX_CALLS: usize = 16;

const IMPORTS: [&str; 4] = [WAIT, TIMED_WAIT, SIGNAL, LOCK];

/// The addresses of [`GIL_VARIABLES`](super::layout::GIL_VARIABLES) in the target's memory, if all that uses them agrees.
pub(super) fn addresses(module: &Module) -> Option<[u64; 8]> {
    let bytes = module.bytes().ok()?;
    let code = Code::read(&bytes, &IMPORTS, &NEVER_RETURN).ok()?;
    let linked = agreed(&code).filter(|found| are_variables(&module.elf, found))?;
    Some(linked.map(|address| address.wrapping_add(module.load_bias)))
}

/// The same, as linked. Each is used in two places at least, and these must agree.
fn agreed(code: &Code) -> Option<[u64; 8]> {
    let locked = only(Body(code.uses(READS_LOCKED).ok()?).read(4))?;
    let interval = only(Body(code.uses(READS_INTERVAL).ok()?).read(8))?;
    let take = Body::that_calls(TIMED_WAIT, code, TAKES_GIL)?;
    let drop = Body::that_calls(WAIT, code, DROPS_GIL)?;
    let (cond, mutex) = take.waits_on(TIMED_WAIT)?;
    let (switch_cond, switch_mutex) = drop.waits_on(WAIT)?;
    let last_holder = only(drop.written(8))?;
    let switch_number = only(take.written(8).filter(|one| *one != last_holder))?;
    let both_lock = |mutex| take.hands(LOCK, mutex) && drop.hands(LOCK, mutex);
    let agrees = take.0.contains(&Use::Write(last_holder, 8))
        && take.read(8).filter(|one| *one == switch_number).count() > 1
        && take.0.contains(&Use::Read(interval, 8))
        && take.0.contains(&Use::Read(locked, 4))
        && drop.0.contains(&Use::Write(locked, 4))
        && take.hands(SIGNAL, switch_cond)
        && drop.hands(SIGNAL, cond)
        && both_lock(mutex)
        && both_lock(switch_mutex);
    agrees.then_some([
        interval,
        last_holder,
        locked,
        switch_number,
        cond,
        mutex,
        switch_cond,
        switch_mutex,
    ])
}

/// Whether they lie where variables of their sizes can, beside each other.
fn are_variables(elf: &Elf, addresses: &[u64; 8]) -> bool {
    let mut all: Vec<_> = addresses.iter().copied().zip(GIL_VARIABLE_SIZES).collect();
    all.sort_unstable();
    let apart = all
        .windows(2)
        .all(|pair| matches!(pair, [(one, size), (next, _)] if next - one >= *size));
    let is_one = |(address, size): &(u64, u64)| {
        // A structure of pthreads is aligned as its widest member.
        address.is_multiple_of((*size).min(8)) && elf.is_variable(*address, *size)
    };
    apart && all.iter().all(is_one)
}

/// What a function does.
struct Body<'a>(Vec<Use<'a>>);

impl<'a> Body<'a> {
    /// The one that calls `import`: the exported `user` if the compiler has put it in there, else one that this calls.
    fn that_calls(import: &str, code: &Code<'a>, user: &str) -> Option<Body<'a>> {
        let own = Body(code.uses(user).ok()?);
        if own.arguments(import).next().is_some() {
            return Some(own);
        }
        let called = own.0.iter().filter_map(|one| match one {
            Use::Call(address) => Some(Body(code.uses_at(*address))),
            _ => None,
        });
        called
            .take(MAX_CALLS)
            .find(|body| body.arguments(import).next().is_some())
    }

    fn arguments(&self, import: &str) -> impl Iterator<Item = [Option<u64>; 2]> {
        self.0.iter().filter_map(move |one| match one {
            Use::Import(name, arguments) if *name == import => Some(*arguments),
            _ => None,
        })
    }

    /// The condition variable and the mutex on which it waits, if there is one pair.
    fn waits_on(&self, wait: &str) -> Option<(u64, u64)> {
        match only(self.arguments(wait))? {
            [Some(cond), Some(mutex)] => Some((cond, mutex)),
            _ => None,
        }
    }

    fn hands(&self, import: &str, argument: u64) -> bool {
        self.arguments(import)
            .any(|[first, _]| first == Some(argument))
    }

    fn read(&self, size: usize) -> impl Iterator<Item = u64> {
        self.0.iter().filter_map(move |one| match one {
            Use::Read(address, bytes) if *bytes == size => Some(*address),
            _ => None,
        })
    }

    fn written(&self, size: usize) -> impl Iterator<Item = u64> {
        self.0.iter().filter_map(move |one| match one {
            Use::Write(address, bytes) if *bytes == size => Some(*address),
            _ => None,
        })
    }
}

/// The one value that all are, if there are any.
fn only<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn variables_lie_apart_in_what_may_be_written() {
        let elf = Elf::read(&std::fs::File::open("/proc/self/exe").unwrap()).unwrap();
        let data = elf.segments.iter().filter(|segment| segment.writable);
        let data = data.max_by_key(|segment| segment.memory_size).unwrap();
        let start = data.address.next_multiple_of(8);
        let good = [0, 8, 16, 24, 32, 80, 120, 168].map(|distance| start + distance);
        assert!(are_variables(&elf, &good));
        let with = |index: usize, address| {
            let mut bad = good;
            bad[index] = address;
            are_variables(&elf, &bad)
        };
        let end = data.address + data.memory_size;
        assert!(!with(5, good[7]), "the same mutex twice");
        assert!(!with(5, good[5] - 8), "within another");
        assert!(!with(7, good[7] + 4), "not aligned");
        assert!(!with(7, (end - 32).next_multiple_of(8)), "partly outside");
        let code = elf.segments.iter().find(|segment| segment.executable);
        let code = code.unwrap().address.next_multiple_of(8);
        assert!(!with(7, code), "not to be written");
        assert!(!with(7, u64::MAX - 7), "no such address");
    }
}
