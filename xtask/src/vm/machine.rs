//! The virtual machine: QEMU in a root of its own, and a guest that lives in memory.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::kernel;
use crate::{
    assets::{self, archive},
    process, workspace,
};

const INIT: &str = include_str!("init.py");
/// Whose interpreter and C library the guest has.
const GUEST: &str = "debian-3.11";
const QEMU_SUITE: &str = "trixie";
/// Emulation is slow, and a check that hangs must end.
const LIMIT: &str = "900";

/// A folder to chroot into, with QEMU in it and the guest's memory image.
pub struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    /// Downloads QEMU and packs the guest.
    pub fn make() -> Result<Self> {
        let root = tempfile::tempdir()?;
        for name in ["bin", "sbin", "lib", "lib64"] {
            fs::create_dir_all(root.path().join("usr").join(name))?;
            symlink(format!("usr/{name}"), root.path().join(name))?;
        }
        let work = tempfile::tempdir()?;
        let archive = archive::Archive::open(work.path().to_path_buf(), QEMU_SUITE)?;
        for package in ["dash", "findutils", "cpio"] {
            archive.with_dependencies(package)?;
        }
        for package in archive.with_dependencies("qemu-system-x86")? {
            archive::unpack(&package, root.path(), None)?;
        }
        let machine = Self { root };
        machine.pack_guest()?;
        Ok(machine)
    }

    /// Boots a kernel; what the guest wrote to its second serial port.
    pub fn boot(&self, suite: &str, version: &str) -> Result<String> {
        fs::copy(kernel::download(suite, version)?, self.path("kernel"))?;
        let mut qemu = self.chroot("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"])
            .args([
                "-m",
                "1500",
                "-nodefaults",
                "-no-reboot",
                "-display",
                "none",
            ])
            .args(["-kernel", "/kernel", "-initrd", "/guest.cpio"])
            .args(["-append", "console=ttyS0 quiet panic=-1 rdinit=/init"])
            .args(["-serial", "file:/console", "-serial", "file:/results"]);
        let ended = process::run(&mut qemu);
        let console = fs::read_to_string(self.path("console")).unwrap_or_default();
        ended.with_context(|| format!("the machine did not end; its console:\n{console}"))?;
        fs::read_to_string(self.path("results"))
            .with_context(|| format!("the guest did not start; its console:\n{console}"))
    }

    /// The whole guest is an initial memory image: no disk, no modules.
    fn pack_guest(&self) -> Result<()> {
        assets::make(&[GUEST.to_owned()])?;
        let guest = self.path("guest");
        process::run(
            Command::new("cp")
                .arg("-a")
                .arg(assets::home()?.join(GUEST))
                .arg(&guest),
        )?;
        let debug_files = guest.join("usr/lib/debug");
        if debug_files.exists() {
            fs::remove_dir_all(debug_files)?;
        }
        let job = guest.join("job");
        fs::create_dir(&job)?;
        fs::copy(workspace::gilscope(), job.join("gilscope"))?;
        for name in ["workload", "spin", "churn"] {
            fs::copy(workspace::workload(name), job.join(format!("{name}.py")))?;
        }
        fs::write(guest.join("init"), INIT)?;
        fs::set_permissions(guest.join("init"), fs::Permissions::from_mode(0o755))?;
        process::run(self.chroot("sh").args([
            "-c",
            "cd /guest && find . | cpio --quiet -o -H newc > /guest.cpio",
        ]))
    }

    fn chroot(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args([LIMIT, "chroot"]).arg(self.root.path());
        command.arg(program);
        command
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(name)
    }
}
