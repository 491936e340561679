//! Waiting for what is to come.

use std::{
    thread,
    time::{Duration, Instant},
};

/// What is awaited comes within milliseconds; a loaded machine may take longer. So may the kernel: to attach or detach what traces, it waits until
/// every thread that is ready to run has run (RCU tasks).
pub const DEADLINE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `condition` has an answer.
///
/// # Panics
/// If it has none for [`DEADLINE`].
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = condition() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain: {what}");
        thread::sleep(PAUSE);
    }
}
