//! What this process may do, asked before anything is tried, so that the answer is a sentence.

use super::ProbeError;

/// What is truly needed, with the number of each (`include/uapi/linux/capability.h`).
const NEEDED: [(&str, u32); 4] = [
    // Loading programs and making maps (5.8+).
    ("CAP_BPF", 39),
    // Attaching to tracepoints and uprobes, reading memory from programs.
    ("CAP_PERFMON", 38),
    // Reading another user's `/proc/PID/maps`, `mem` and `map_files`.
    ("CAP_SYS_PTRACE", 19),
    // Reading tracefs, which is root's alone.
    ("CAP_DAC_READ_SEARCH", 2),
];
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
    let missing = missing(effective_capabilities());
    if !missing.is_empty() {
        return Err(ProbeError::NotPermitted {
            missing: missing.join(", "),
        });
    }
    if is_confidential(&std::fs::read_to_string(LOCKDOWN).unwrap_or_default()) {
        return Err(ProbeError::LockedDown);
    }
    Ok(())
}

fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn missing(effective: u64) -> Vec<&'static str> {
    let has = |number: u32| effective & (1 << number) != 0;
    // Before 5.8 CAP_SYS_ADMIN was all of the newer ones, and it still implies them.
    let implied = |number: u32| number >= FIRST_SPLIT_OFF && has(SYS_ADMIN);
    NEEDED
        .iter()
        .filter(|(_, number)| !has(*number) && !implied(*number))
        .map(|(name, _)| *name)
        .collect()
}

fn is_confidential(lockdown: &str) -> bool {
    lockdown.contains("[confidentiality]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        assert_eq!(missing(u64::MAX), Vec::<&str>::new());
        assert_eq!(missing(!(1 << 39)), Vec::<&str>::new());
        let without_admin = !(1 << 39) & !(1 << SYS_ADMIN);
        assert_eq!(missing(without_admin), ["CAP_BPF"]);
        assert_eq!(missing(0).len(), NEEDED.len());
    }

    #[test]
    fn knows_the_strict_lockdown() {
        assert!(is_confidential("none integrity [confidentiality]\n"));
        assert!(!is_confidential("none [integrity] confidentiality\n"));
    }
}
