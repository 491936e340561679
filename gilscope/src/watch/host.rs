//! The machine, as the report names it.

use crate::model::{Host, TickSource};

/// The machine that this runs on.
pub fn host() -> Host {
    let name = nix::sys::utsname::uname().ok();
    let field = |read: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        name.as_ref()
            .map(|name| read(name).to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    Host {
        hostname: field(|name| name.nodename()),
        kernel: field(|name| name.release()),
        arch: field(|name| name.machine()),
        cpus: online_cpus(),
    }
}

fn online_cpus() -> u32 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN)
        .ok()
        .flatten()
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(1)
}

/// How the kernel splits a thread's time into user and system: exact only on processors that run
/// without a tick (`CONFIG_VIRT_CPU_ACCOUNTING_GEN` acts under `nohz_full=`).
pub fn tick_source() -> TickSource {
    let path = "/sys/devices/system/cpu/nohz_full";
    match std::fs::read_to_string(path).as_deref().map(str::trim) {
        Ok(list) if list.starts_with(|first: char| first.is_ascii_digit()) => TickSource::Exact,
        _ => TickSource::Tick,
    }
}
