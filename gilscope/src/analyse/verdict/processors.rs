//! What the machine has.

use super::case::{Case, Found, evidence};
use super::{percent, seconds};

/// Time without a processor, in percent of the time that threads wanted one, waits for the GIL apart.
const WITHOUT_PERCENT: f64 = 30.0;
/// Time that threads wanted one, in percent of the time.
const WANTED_PERCENT: f64 = 50.0;

/// Threads that could run have no processor.
pub(super) fn oversubscribed(case: &Case<'_>) -> Option<Found> {
    let (mut ran_ns, mut ready_ns) = (0_u64, 0_u64);
    for thread in &case.process.threads {
        // Who has been woken for the GIL, or the mutex in it, would have had to wait for that.
        let in_waits = thread.gil.iter().map(|gil| gil.wait_parts.runnable_ns);
        let in_waits_ns = in_waits.fold(0, u64::saturating_add);
        let outside_ns = thread.cpu.runnable_ns.saturating_sub(in_waits_ns);
        ran_ns = ran_ns.saturating_add(thread.cpu.on_cpu_ns);
        ready_ns = ready_ns.saturating_add(outside_ns);
    }
    let wanted_ns = ran_ns.saturating_add(ready_ns);
    let without = percent(ready_ns, wanted_ns);
    if without < WITHOUT_PERCENT || percent(wanted_ns, case.observed_ns()) < WANTED_PERCENT {
        return None;
    }
    let says = format!(
        "Its threads were ready to run and without a processor for {}, and ran for {}: there are more that want to run than processors.",
        seconds(ready_ns),
        seconds(ran_ns),
    );
    let figures = vec![
        evidence("without_processor_percent", without),
        evidence("runnable_ns", ready_ns as f64),
        evidence("on_cpu_ns", ran_ns as f64),
    ];
    let suggestion = "Run fewer processes, or threads that compute, than there are processors; look at what else runs on the machine.";
    Some(Found::new(says, figures, suggestion))
}
