//! `/proc/P/stat` and `/proc/P/task/T/stat`, from bytes to values (proc_pid_stat(5)).

/// The fields that gilscope uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Name as the kernel has it, 15 bytes at most; may hold spaces, parentheses, newlines.
    pub comm: String,
    /// `R`, `S`, `D`, `T`, `t`, `Z`, `X`, `I`.
    pub state: char,
    /// Parent process.
    pub ppid: u32,
    /// The kernel's `PF_*` flags.
    pub flags: u32,
    /// User time, as the kernel accounts it.
    pub user_ns: u64,
    /// System time, as the kernel accounts it.
    pub system_ns: u64,
    /// When it started, in clock ticks since boot: with the id it names a task for good.
    pub start_ticks: u64,
    /// The processor that it ran on last.
    pub cpu: u32,
}

/// `PF_KTHREAD` (include/linux/sched.h).
const PF_KTHREAD: u32 = 0x0020_0000;
/// `PF_FORKNOEXEC` (the same).
const PF_FORKNOEXEC: u32 = 0x40;

impl Stat {
    /// `None` when `bytes` are not a stat line.
    pub fn parse(bytes: &[u8]) -> Option<Stat> {
        // Only numbers follow the name, so its end is the last parenthesis.
        let open = bytes.iter().position(|&b| b == b'(')?;
        let close = bytes.iter().rposition(|&b| b == b')')?;
        let comm = bytes.get(open.checked_add(1)?..close)?;
        let rest = std::str::from_utf8(bytes.get(close.checked_add(1)?..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The manual counts from 1 and the state is field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        let ns = |number| -> Option<u64> {
            field(number)?
                .parse::<u64>()
                .ok()?
                .checked_mul(ns_per_tick())
        };
        Some(Stat {
            comm: String::from_utf8_lossy(comm).into_owned(),
            state: field(3)?.chars().next()?,
            ppid: field(4)?.parse().ok()?,
            flags: field(9)?.parse().ok()?,
            user_ns: ns(14)?,
            system_ns: ns(15)?,
            start_ticks: field(22)?.parse().ok()?,
            cpu: field(39)?.parse().ok()?,
        })
    }

    /// Ended, and only its parent's wait is missing.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// A copy of its parent by `fork`, which has not replaced its program since.
    pub fn is_copy(&self) -> bool {
        self.flags & PF_FORKNOEXEC != 0
    }

    /// When it started, in ns since boot: a clock tick earlier at most.
    pub fn start_ns(&self) -> u64 {
        self.start_ticks.saturating_mul(ns_per_tick())
    }

    /// Part of the kernel.
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }
}

fn ns_per_tick() -> u64 {
    // SAFETY: sysconf takes a number, returns a number and touches no memory of ours.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    // 100 on every Linux that gilscope runs on (USER_HZ).
    1_000_000_000
        / u64::try_from(per_second)
            .ok()
            .filter(|&n| n > 0)
            .unwrap_or(100)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::*;

    const REST: &str = " S 7 8 9 10 -1 4194560 0 0 0 0 150 25 0 0 20 0 3 0 123456 99 88 7 1 1 0 0 0 0 0 0 0 0 0 0 17 5 0";

    #[test]
    fn hostile_names() {
        for name in [
            "python3",
            "a) R 1 (b",
            "((",
            "))",
            "",
            "a b\nc",
            "x) Z 1 1 1",
        ] {
            let line = format!("42 ({name}){REST}\n");
            let stat = Stat::parse(line.as_bytes()).expect(name);
            assert_eq!(stat.comm, name);
            assert_eq!((stat.state, stat.ppid, stat.start_ticks), ('S', 7, 123_456));
            assert_eq!(stat.start_ns(), 1_234_560_000_000);
            assert_eq!(stat.cpu, 5);
            assert_eq!(stat.user_ns, 150 * ns_per_tick());
            assert_eq!(stat.system_ns, 25 * ns_per_tick());
            assert!(!stat.is_kernel_thread() && !stat.is_zombie());
        }
    }

    #[test]
    fn cut_or_foreign_bytes_are_no_stat() {
        let line = format!("42 (x){REST}");
        for end in 0..line.len() - "5 0".len() {
            assert_eq!(Stat::parse(&line.as_bytes()[..end]), None, "{end}");
        }
        assert_eq!(Stat::parse(b")("), None);
        assert_eq!(Stat::parse(b"1 (x) \xff"), None);
    }

    #[test]
    fn own_stat() {
        let bytes = std::fs::read("/proc/self/stat").unwrap();
        assert_eq!(
            Stat::parse(&bytes).unwrap().ppid,
            std::os::unix::process::parent_id()
        );
    }
}
