//! The clock that the kernel's events carry.

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` now, which is what `bpf_ktime_get_ns` reads.
pub fn now_ns() -> u64 {
    // It cannot fail: the clock exists on every Linux and the buffer is ours (clock_gettime(2)).
    let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else {
        return 0;
    };
    let (seconds, nanoseconds) = (now.tv_sec().unsigned_abs(), now.tv_nsec().unsigned_abs());
    seconds * 1_000_000_000 + nanoseconds
}
