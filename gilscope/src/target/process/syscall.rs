//! System calls in which threads sleep, by name.

/// Its name, where it is one that programs sleep in (x86-64: `arch/x86/entry/syscalls/syscall_64.tbl`).
pub fn name(number: u64) -> Option<&'static str> {
    let number = i64::try_from(number).ok()?;
    let known = NAMES.iter().find(|(known, _)| *known == number);
    known.map(|(_, name)| *name)
}

macro_rules! names {
    ($($constant:ident $name:literal),* $(,)?) => {
        [$((libc::$constant, $name)),*]
    };
}

const NAMES: [(i64, &str); 44] = names![
    SYS_accept "accept",
    SYS_accept4 "accept4",
    SYS_clock_nanosleep "clock_nanosleep",
    SYS_close "close",
    SYS_connect "connect",
    SYS_copy_file_range "copy_file_range",
    SYS_epoll_pwait "epoll_pwait",
    SYS_epoll_wait "epoll_wait",
    SYS_fallocate "fallocate",
    SYS_fcntl "fcntl",
    SYS_fdatasync "fdatasync",
    SYS_flock "flock",
    SYS_fsync "fsync",
    SYS_futex "futex",
    SYS_getrandom "getrandom",
    SYS_io_getevents "io_getevents",
    SYS_io_uring_enter "io_uring_enter",
    SYS_ioctl "ioctl",
    SYS_mq_timedreceive "mq_timedreceive",
    SYS_msgrcv "msgrcv",
    SYS_nanosleep "nanosleep",
    SYS_open "open",
    SYS_openat "openat",
    SYS_pause "pause",
    SYS_poll "poll",
    SYS_ppoll "ppoll",
    SYS_pread64 "pread64",
    SYS_pselect6 "pselect6",
    SYS_pwrite64 "pwrite64",
    SYS_read "read",
    SYS_recvfrom "recvfrom",
    SYS_recvmsg "recvmsg",
    SYS_restart_syscall "restart_syscall",
    SYS_rt_sigtimedwait "rt_sigtimedwait",
    SYS_select "select",
    SYS_semop "semop",
    SYS_semtimedop "semtimedop",
    SYS_sendfile "sendfile",
    SYS_sendmsg "sendmsg",
    SYS_sendto "sendto",
    SYS_splice "splice",
    SYS_wait4 "wait4",
    SYS_waitid "waitid",
    SYS_write "write",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown() {
        assert_eq!((name(202), name(0)), (Some("futex"), Some("read")));
        assert_eq!((name(39), name(u64::MAX)), (None, None));
    }
}
