//! The clock that the kernel's events carry, and the one that people read.

use nix::time::{ClockId, clock_gettime};
use std::time::SystemTime;

/// `CLOCK_MONOTONIC` now, which is what `bpf_ktime_get_ns` reads.
pub fn now_ns() -> u64 {
    // It cannot fail: the clock exists on every Linux and the buffer is ours (clock_gettime(2)).
    let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else {
        return 0;
    };
    let (seconds, nanoseconds) = (now.tv_sec().unsigned_abs(), now.tv_nsec().unsigned_abs());
    seconds * 1_000_000_000 + nanoseconds
}

/// Processor time of this process so far.
pub fn cpu_time_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(0, |used| {
        let (seconds, nanoseconds) = (used.tv_sec().unsigned_abs(), used.tv_nsec().unsigned_abs());
        seconds * 1_000_000_000 + nanoseconds
    })
}

/// RFC 3339 in UTC, to the millisecond.
pub fn rfc_3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        .unwrap_or_default()
}
