//! tracefs: found, or mounted for this process alone.
//!
//! Many minimal hosts and most containers do not have it mounted. aya looks for it once, at two
//! fixed places, so it must be there before the first attach.

use super::ProbeError;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    unistd::fchdir,
};
use std::{fs::File, io, os::unix::fs::OpenOptionsExt, path::Path};

const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// tracefs within reach, for as long as this lives: then the mount namespace is as before.
pub struct Tracefs {
    root: &'static Path,
    home: Option<Home>,
}

/// Where the process was before. To return to a mount namespace is to be in its root directory (`fs/namespace.c`: `mntns_install`),
/// from where a relative path is another.
struct Home {
    namespace: File,
    folder: File,
}

impl Tracefs {
    /// Finds it, else mounts it in a private mount namespace of this thread, which must be the
    /// process's only one.
    pub fn open() -> Result<Self, ProbeError> {
        if let Some(root) = find() {
            return Ok(Self { root, home: None });
        }
        let home = mount_privately().map_err(|source| ProbeError::NoTracefs { source })?;
        let root = find().ok_or_else(|| ProbeError::NoTracefs {
            source: io::Error::other("it stayed empty"),
        })?;
        Ok(Self {
            root,
            home: Some(home),
        })
    }

    /// Checks that the fields of a tracepoint lie where the programs read them.
    pub fn check(&self, name: &'static str, fields: &[(&str, usize)]) -> Result<(), ProbeError> {
        let wrong = |reason: String| ProbeError::Tracepoint { name, reason };
        let path = self.root.join("events").join(name).join("format");
        let format = std::fs::read_to_string(&path)
            .map_err(|error| wrong(format!("{}: {error}", path.display())))?;
        for (field, expected) in fields {
            match field_offset(&format, field) {
                Some(offset) if offset == *expected => {}
                Some(offset) => {
                    return Err(wrong(format!("{field} is at {offset}, not {expected}")));
                }
                None => return Err(wrong(format!("it has no field {field}"))),
            }
        }
        Ok(())
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        if let Some(home) = &self.home
            && let Err(error) = home.enter()
        {
            log::warn!("cannot return to the original mount namespace: {error}");
        }
    }
}

impl Home {
    fn here() -> io::Result<Self> {
        let path_only = libc::O_PATH | libc::O_DIRECTORY;
        Ok(Self {
            namespace: File::open("/proc/self/ns/mnt")?,
            folder: File::options()
                .read(true)
                .custom_flags(path_only)
                .open(".")?,
        })
    }

    fn enter(&self) -> nix::Result<()> {
        setns(&self.namespace, CloneFlags::CLONE_NEWNS)?;
        fchdir(&self.folder)
    }
}

fn find() -> Option<&'static Path> {
    PLACES
        .iter()
        .map(Path::new)
        .find(|root| root.join("events").is_dir())
}

fn mount_privately() -> io::Result<Home> {
    let home = Home::here()?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tracefs"), PLACES[0], Some("tracefs"), flags, nothing)?;
    Ok(home)
}

/// Offset of a field in a tracepoint's `format` file.
fn field_offset(format: &str, field: &str) -> Option<usize> {
    format.lines().find_map(|line| {
        let mut parts = line.trim().split(';');
        let declaration = parts.next()?.strip_prefix("field:")?;
        let name = declaration.rsplit([' ', '*']).next()?;
        let offset = parts.next()?.trim().strip_prefix("offset:")?;
        (name.split('[').next()? == field).then(|| offset.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_offsets_from_a_format_file() {
        let format = "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
                      \tfield:u32 * uaddr;\toffset:16;\tsize:8;\tsigned:0;\n\
                      \tfield:char comm[16];\toffset:24;\tsize:16;\tsigned:0;\n";
        assert_eq!(field_offset(format, "uaddr"), Some(16));
        assert_eq!(field_offset(format, "comm"), Some(24));
        assert_eq!(field_offset(format, "addr"), None);
    }
}
