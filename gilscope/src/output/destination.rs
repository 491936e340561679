//! Where a report goes: standard output, or a file that is written whole or not at all.

use std::ffi::OsStr;
use std::fs::{self, FileType, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file, made anew.
    File(PathBuf),
}

/// Whom a file is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Why a report cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// Only a regular file may be replaced.
    #[error("{path:?} is {kind}, not a regular file: it is left alone (`-` is standard output)")]
    NotAFile {
        /// What was asked for.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The path has no file name.
    #[error("{path:?} does not name a file")]
    NoName {
        /// What was asked for.
        path: PathBuf,
    },
    /// The way to it leads through a symbolic link that somebody else may have laid.
    #[error("{link:?} is another user's symbolic link in a directory that all may write to")]
    ForeignLink {
        /// The link.
        link: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {doing} {path:?}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Owner {
    /// The user who called sudo, if this is root by sudo (`SUDO_UID` and `SUDO_GID`; sudo(8)).
    pub fn of_sudo() -> Option<Self> {
        let id = |name| std::env::var(name).ok()?.parse().ok();
        let by_root = nix::unistd::geteuid().is_root();
        by_root
            .then(|| {
                Some(Self {
                    uid: id("SUDO_UID")?,
                    gid: id("SUDO_GID")?,
                })
            })
            .flatten()
    }
}

impl Destination {
    /// What an argument names: `-` is standard output.
    pub fn new(argument: &OsStr) -> Self {
        if argument == "-" {
            Self::Stdout
        } else {
            Self::File(argument.into())
        }
    }

    /// Tries whether it can be written, without leaving a trace: for the time before the work.
    pub fn check(&self) -> Result<(), DestinationError> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(path) => begin(path).map(drop),
        }
    }

    /// Writes what `content` gives, and hands a new file to `owner`.
    pub fn write(
        &self,
        owner: Option<Owner>,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), DestinationError> {
        match self {
            Self::Stdout => fill(io::stdout().lock(), content)
                .map_err(|source| failed("write to", Path::new("standard output"), source)),
            Self::File(path) => {
                let mut file = begin(path)?;
                fill(file.as_file_mut(), content)
                    .map_err(|source| failed("write", path, source))?;
                finish(file, path, owner)
            }
        }
    }
}

fn fill(out: impl Write, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    content(&mut out)?;
    out.flush()
}

/// A new file beside the one that it is to become. It is gone again unless [`finish`] is reached.
fn begin(path: &Path) -> Result<NamedTempFile, DestinationError> {
    let directory = directory(path)?;
    refuse_foreign_links(directory)?;
    refuse_all_but_files(path)?;
    tempfile::Builder::new()
        .prefix(".gilscope-")
        .suffix(".tmp")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(directory)
        .map_err(|source| failed("make a file in", directory, source))
}

/// Renaming replaces a name and never follows a link, whatever happened to `path` meanwhile.
fn finish(file: NamedTempFile, path: &Path, owner: Option<Owner>) -> Result<(), DestinationError> {
    if let Some(owner) = owner {
        // Where the file system does not let root give files away, the report is still readable.
        let _ = fchown(file.as_file(), Some(owner.uid), Some(owner.gid));
    }
    file.as_file()
        .sync_all()
        .map_err(|source| failed("write", path, source))?;
    file.persist(path)
        .map_err(|failure| failed("replace", path, failure.error))?;
    Ok(())
}

fn directory(path: &Path) -> Result<&Path, DestinationError> {
    // `file_name` overlooks a slash at the end, which only a directory may have.
    let named = path.file_name().is_some() && !path.as_os_str().as_encoded_bytes().ends_with(b"/");
    match path.parent().filter(|_| named) {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(DestinationError::NoName { path: path.into() }),
    }
}

fn refuse_all_but_files(path: &Path) -> Result<(), DestinationError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) => Err(DestinationError::NotAFile {
            path: path.into(),
            kind: kind(found.file_type()),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(failed("look at", path, source)),
    }
}

/// What the kernel's `fs.protected_symlinks` refuses, where that is switched off
/// (Documentation/admin-guide/sysctl/fs.rst).
fn refuse_foreign_links(directory: &Path) -> Result<(), DestinationError> {
    for link in directory.ancestors() {
        let Ok(found) = fs::symlink_metadata(link) else {
            continue;
        };
        let above = link.parent().filter(|above| !above.as_os_str().is_empty());
        let Ok(above) = fs::metadata(above.unwrap_or(Path::new("."))) else {
            continue;
        };
        let own = found.uid() == nix::unistd::geteuid().as_raw() || found.uid() == above.uid();
        if found.is_symlink() && above.mode() & 0o002 != 0 && !own {
            return Err(DestinationError::ForeignLink { link: link.into() });
        }
    }
    Ok(())
}

fn kind(found: FileType) -> &'static str {
    match found {
        found if found.is_symlink() => "a symbolic link",
        found if found.is_dir() => "a directory",
        found if found.is_fifo() => "a FIFO",
        found if found.is_socket() => "a socket",
        _ => "a device",
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> DestinationError {
    DestinationError::Io {
        doing,
        path: path.into(),
        source,
    }
}

#[cfg(test)]
mod tests;
