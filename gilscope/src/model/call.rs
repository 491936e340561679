//! What a thread sleeps in.

use syscalls::x86_64::Sysno;

/// What a thread slept in, or came back from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// The system call with this number.
    Number(u16),
    /// No system call: a page fault, as a rule.
    NoSyscall,
    /// It has not slept since it last had the GIL.
    EvalLoop,
    /// Nobody knows.
    Unknown,
}

impl Call {
    /// The system call's name, if it has one that is known, or a word that is no system call's.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Number(number) => system_call(number.into()),
            Self::NoSyscall => Some("no-syscall"),
            Self::EvalLoop => Some("eval-loop"),
            Self::Unknown => None,
        }
    }

    /// The system call's number.
    pub fn number(self) -> Option<u16> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }
}

/// The name of a system call of x86-64.
pub fn system_call(number: u64) -> Option<&'static str> {
    let known = Sysno::new(usize::try_from(number).ok()?)?;
    Some(known.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown() {
        let names = [0, 45, 202, 230, 9_999].map(|number| Call::Number(number).name());
        let calls = ["read", "recvfrom", "futex", "clock_nanosleep"].map(Some);
        assert_eq!(names[..4], calls);
        assert_eq!((names[4], system_call(u64::MAX)), (None, None));
        assert_eq!(Call::Unknown.name(), None);
        assert_eq!(Call::EvalLoop.number(), None);
    }
}
