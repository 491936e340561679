//! tracefs, which is not mounted everywhere.

use std::path::Path;

use anyhow::{Context as _, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

const TRACEFS: &str = "/sys/kernel/tracing";

/// Makes tracefs visible to this process alone. To be called before aya's first attach: aya remembers what it found.
pub fn ensure_mounted() -> anyhow::Result<()> {
    if Path::new(TRACEFS).join("events").exists() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS)
        .context("cannot make a private mount namespace for tracefs (root?)")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    mount(
        Some("tracefs"),
        TRACEFS,
        Some("tracefs"),
        MsFlags::empty(),
        none,
    )
    .with_context(|| format!("cannot mount tracefs; try: mount -t tracefs tracefs {TRACEFS}"))
}

/// Fails unless `field` of `event` (`category/name`) lies at `offset`, where the eBPF side reads it.
pub fn check_field(event: &str, field: &str, offset: usize) -> anyhow::Result<()> {
    let path = Path::new(TRACEFS).join("events").join(event).join("format");
    let format = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let wanted = format!("\toffset:{offset};");
    let found = format.lines().any(|line| {
        let mut parts = line.split(';');
        let declaration = parts.next().unwrap_or("");
        declaration.ends_with(&format!(" {field}")) && line.contains(&wanted)
    });
    ensure!(
        found,
        "{}: {field} is not at offset {offset}, as the oracle assumes",
        path.display()
    );
    Ok(())
}
