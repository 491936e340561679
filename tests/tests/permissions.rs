//! Who may trace, and what the machine must offer. What is missing is named.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, process::Command};

use gilscope_tests::{Ended, Running, for_anybody, gilscope, need_root, python};

const SPIN: &str = "
import sys, threading
def busy():
    while True: pass
for _ in range(3): threading.Thread(target=busy, daemon=True).start()
print('ready', flush=True); sys.stdin.read()";
const MOUNT: &str =
    "mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing";
const ALL: [&str; 4] = ["bpf", "perfmon", "dac_read_search", "sys_ptrace"];

fn spinning() -> Running {
    Running::ready(&mut python().script(SPIN))
}

/// Runs gilscope in a mount namespace of its own, after `prepare` as root, by the words of `wrapper`.
fn in_namespace(prepare: &str, wrapper: &[&str], pid: u32) -> Ended {
    need_root();
    let mut command = Command::new("unshare");
    let script = format!("{prepare} && exec \"$@\"");
    command
        .args(["--mount", "sh", "-c", &script, "sh"])
        .args(wrapper);
    command
        .arg(for_anybody())
        .args(["--duration", "0.3", "--pid", &pid.to_string()]);
    Running::start(&mut command).end()
}

/// As a user with nothing but these capabilities.
fn with_capabilities(prepare: &str, capabilities: &[&str], pid: u32) -> Ended {
    let named = capabilities.iter().map(|one| format!(",+{one}"));
    let set = format!("-all{}", named.collect::<String>());
    let user = [
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
    ];
    let set = [format!("--inh-caps={set}"), format!("--ambient-caps={set}")];
    let wrapper: Vec<&str> = user
        .into_iter()
        .chain(set.iter().map(String::as_str))
        .collect();
    in_namespace(prepare, &wrapper, pid)
}

fn traced(ended: &Ended) {
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(
        ended.stdout.contains("At least one thread waited"),
        "{ended:?}"
    );
}

fn refused(ended: &Ended, parts: &[&str]) {
    assert_eq!((ended.status, ended.stdout.as_str()), (1, ""), "{ended:?}");
    assert!(
        parts.iter().all(|part| ended.stderr.contains(part)),
        "{parts:?}: {ended:?}"
    );
    assert!(!ended.stderr.contains("tracing process"), "{ended:?}");
}

#[test]
fn an_ordinary_user() {
    let ended = with_capabilities(MOUNT, &[], spinning().pid());
    refused(
        &ended,
        &[
            "root",
            "CAP_BPF",
            "CAP_PERFMON",
            "CAP_DAC_READ_SEARCH",
            "CAP_SYS_PTRACE",
            "sudo",
        ],
    );
}

#[test]
fn four_capabilities_do_for_any_process() {
    traced(&with_capabilities(MOUNT, &ALL, spinning().pid()));
}

/// Each is needed, so that nobody is asked for more than that.
#[test]
fn each_of_them_is_missed_by_name() {
    let target = spinning();
    for missing in ALL {
        let others: Vec<_> = ALL.into_iter().filter(|one| *one != missing).collect();
        let ended = with_capabilities(MOUNT, &others, target.pid());
        refused(&ended, &[&format!("CAP_{}", missing.to_uppercase())]);
    }
}

#[test]
fn three_do_for_a_users_own_processes() {
    need_root();
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        "python3",
        "-c",
        SPIN,
    ]);
    // pyenv's is often in a folder that is closed to others.
    command
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir("/");
    if Command::new("/usr/bin/python3").arg("-V").output().is_err() {
        println!("skipped: no interpreter that others may run: apt-get install python3");
        return;
    }
    let target = Running::ready(&mut command);
    traced(&with_capabilities(MOUNT, &ALL[..3], target.pid()));
}

/// The new capabilities were all a part of this one (capabilities(7)).
#[test]
fn the_old_capability_does_too() {
    let old = ["sys_admin", "dac_read_search", "sys_ptrace"];
    traced(&with_capabilities(MOUNT, &old, spinning().pid()));
}

const NO_TRACEFS: &str = "for at in /sys/kernel/debug/tracing /sys/kernel/tracing; do \
                          ! mountpoint -q $at || umount -l $at || exit; done";

/// Mounted for gilscope alone, and no longer than it runs.
#[test]
fn tracefs_is_not_mounted() {
    let mounts = || fs::read_to_string("/proc/self/mounts").unwrap();
    let before = mounts();
    traced(&in_namespace(NO_TRACEFS, &[], spinning().pid()));
    assert_eq!(mounts(), before);
}

/// To return from where it was mounted is not to be in another folder.
#[test]
fn a_relative_path_leads_where_it_did() {
    need_root();
    let folder = tempfile::tempdir().unwrap();
    let script = format!("{NO_TRACEFS} && cd \"$0\" && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    command.arg(folder.path()).arg(gilscope());
    let ended = Running::start(command.args(["--json", "report.json", "--", "true"])).end();
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(folder.path().join("report.json").exists(), "{ended:?}");
}

#[test]
fn tracefs_is_not_mounted_and_may_not_be() {
    let ended = with_capabilities(NO_TRACEFS, &ALL, spinning().pid());
    refused(&ended, &["mount -t tracefs tracefs /sys/kernel/tracing"]);
}

#[test]
fn a_kernel_without_btf() {
    let hide = "mount --bind /dev/null /sys/kernel/btf/vmlinux";
    refused(
        &in_namespace(hide, &[], spinning().pid()),
        &["BTF", "CONFIG_DEBUG_INFO_BTF"],
    );
}

#[test]
fn a_kernel_that_is_locked_down() {
    let lock = "mount -t tmpfs none /sys/kernel/security && \
                echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown";
    refused(&in_namespace(lock, &[], spinning().pid()), &["locked down"]);
}

#[test]
fn proc_is_not_mounted() {
    let hide = "mount -t tmpfs none /proc";
    refused(
        &in_namespace(hide, &[], spinning().pid()),
        &["mount -t proc"],
    );
}

/// There process ids are not the kernel's.
#[test]
fn another_pid_namespace() {
    need_root();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc"]);
    let inner = "import subprocess, sys, os; \
                 sys.exit(subprocess.call([sys.argv[1], '--pid', str(os.getpid())]))";
    command
        .arg(python().program())
        .args(["-c", inner])
        .arg(for_anybody());
    refused(&Running::start(&mut command).end(), &["PID namespace"]);
}
