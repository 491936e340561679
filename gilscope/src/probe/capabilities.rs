//! What this process may do, asked before anything is tried, so that the answer is a sentence.

use super::ProbeError;

/// What is truly needed, with the number of each (`include/uapi/linux/capability.h`); tested by
/// leaving out each of them (Linux 6.18).
const NEEDED: [(&str, u32); 3] = [
    // Loading programs and making maps (5.8+).
    ("CAP_BPF", 39),
    // Attaching to tracepoints and uprobes, reading memory from programs.
    ("CAP_PERFMON", 38),
    // Reading tracefs, which is root's alone, and the files of other users.
    ("CAP_DAC_READ_SEARCH", 2),
];
/// Reading another user's `/proc/PID/maps`, `mem` and `root`: asked for only where that is refused,
/// as a user's own processes need it not.
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
/// CAP_PERFMON, the first of those that were split off from it.
const FIRST_SPLIT_OFF: u32 = 38;
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// Whether this process may trace at all.
///
/// # Errors
/// [`ProbeError::Architecture`], [`ProbeError::NotPermitted`] with what is missing, or
/// [`ProbeError::LockedDown`].
pub fn check_permission() -> Result<(), ProbeError> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(ProbeError::Architecture(std::env::consts::ARCH.to_owned()));
    }
    // Without /proc nothing is known of them; that it is not mounted is told by who reads it next.
    let missing = missing(effective_capabilities().unwrap_or(u64::MAX));
    if !missing.is_empty() {
        return Err(ProbeError::NotPermitted { missing });
    }
    if is_confidential(&std::fs::read_to_string(LOCKDOWN).unwrap_or_default()) {
        return Err(ProbeError::LockedDown);
    }
    Ok(())
}

fn effective_capabilities() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
}

/// What is missing, as a part of a sentence; empty if nothing is.
fn missing(effective: u64) -> String {
    let has = |number: u32| effective & (1 << number) != 0;
    // Before 5.8 CAP_SYS_ADMIN was all of the newer ones, and it still implies them.
    let implied = |number: u32| number >= FIRST_SPLIT_OFF && has(SYS_ADMIN);
    let missing = NEEDED
        .iter()
        .filter(|(_, number)| !has(*number) && !implied(*number));
    let names: Vec<_> = missing.map(|(name, _)| *name).collect();
    match names.join(", ") {
        some if !some.is_empty() && !has(SYS_PTRACE) => {
            format!("{some}, and for processes of other users CAP_SYS_PTRACE")
        }
        names => names,
    }
}

fn is_confidential(lockdown: &str) -> bool {
    lockdown.contains("[confidentiality]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        assert_eq!(missing(u64::MAX), "");
        assert_eq!(missing(!(1 << 39)), "");
        assert_eq!(missing(!(1 << SYS_PTRACE)), "");
        let without_admin = !(1 << 39) & !(1 << SYS_ADMIN);
        assert_eq!(missing(without_admin), "CAP_BPF");
        assert_eq!(
            missing(0),
            "CAP_BPF, CAP_PERFMON, CAP_DAC_READ_SEARCH, and for processes of other users \
             CAP_SYS_PTRACE"
        );
    }

    #[test]
    fn knows_the_strict_lockdown() {
        assert!(is_confidential("none integrity [confidentiality]\n"));
        assert!(!is_confidential("none [integrity] confidentiality\n"));
    }
}
