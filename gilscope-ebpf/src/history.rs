//! Who had a semaphore before its last turns: sums up turns, and divides long waits by the sums.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use gilscope_common::{
    history::{CHECKPOINTS, Checkpoint, CheckpointKey, STRETCH, between},
    holder::{BlockedKey, Division, Turns},
};

use crate::{holder, maps::HISTORY};

/// The checkpoint before the turn with this number.
#[inline(always)]
fn before(tgid: u32, gil_id: u32, number: u64) -> CheckpointKey {
    let index = (number / STRETCH % CHECKPOINTS) as u32;
    CheckpointKey {
        tgid,
        gil_id,
        index,
    }
}

/// Makes the next checkpoint, if it is time. A function of its own: the programs' stack is small.
#[inline(never)]
pub fn settles(turns: &mut Turns, tgid: u32, gil_id: u32) -> Option<()> {
    let number = turns.settles()?;
    let mut key = before(tgid, gil_id, number);
    let mut last = HISTORY.get_ptr(key)?;
    // SAFETY: the entries are there as long as their GIL is watched, and their memory outlasts the program (RCU).
    let is_whole = unsafe { (*last).number } == number;
    if !is_whole {
        // Another processor has not finished it yet: this one is never written.
        key.index = CHECKPOINTS as u32;
        last = HISTORY.get_ptr(key)?;
    }
    let next = HISTORY.get_ptr_mut(before(tgid, gil_id, number + STRETCH))?;
    // SAFETY: both are map values of that size. Who reads `next` meanwhile sees by its number that it is not whole.
    let next = unsafe {
        bpf_probe_read_kernel(next.cast(), size_of::<Checkpoint>() as u32, last.cast());
        &mut *next
    };
    if !is_whole {
        next.begins(number);
    }
    for turn in 0..STRETCH {
        next.add(turns, number + turn);
    }
    Some(())
}

/// Divides what a wait has had of turns that are no longer remembered. A function of its own: the programs' stack is small.
#[inline(never)]
pub fn skips(division: &mut Division, key: &mut BlockedKey) -> Option<()> {
    let (first, last) = between(division.number, division.look.number)?;
    // SAFETY: as above. One that is overwritten meanwhile shows that by its number, which is looked at again.
    let (from, to) = unsafe {
        (
            HISTORY.get(before(key.tgid, key.gil_id, first))?,
            HISTORY.get(before(key.tgid, key.gil_id, last))?,
        )
    };
    division.skips((first, from), (last, to), &mut |more| {
        key.holder = more.holder;
        holder::blocked_by_turns(key, more);
    });
    Some(())
}
