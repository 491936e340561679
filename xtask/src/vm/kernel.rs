//! Debian's kernels for clouds: small, and each with BTF.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::assets::archive::{self, Archive};

const SUFFIX: &str = "-cloud-amd64";

/// A kernel's image.
pub struct Image {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl AsRef<Path> for Image {
    fn as_ref(&self) -> &Path {
        debug_assert!(self.path.starts_with(self.folder.path()));
        &self.path
    }
}

/// Downloads the newest kernel of a suite whose version begins so.
pub fn download(suite: &str, version: &str) -> Result<Image> {
    let folder = tempfile::tempdir()?;
    let archive = Archive::open(folder.path().join("apt"), suite)?;
    // Since 7 the image is in a package that `linux-image-…` depends on.
    let package = ["linux-binary-", "linux-image-"]
        .into_iter()
        .find_map(|kind| newest(archive.names(&format!("{kind}{version}")).ok()?, kind))
        .with_context(|| format!("Debian {suite} has no kernel {version}"))?;
    let root = folder.path().join("root");
    std::fs::create_dir(&root)?;
    archive::unpack(&archive.alone(&package)?, &root, None)?;
    let release = package.splitn(3, '-').nth(2).unwrap_or_default();
    let places = [
        format!("boot/vmlinuz-{release}"),
        format!("usr/lib/modules/{release}/vmlinuz"),
    ];
    let path = places
        .into_iter()
        .map(|place| root.join(place))
        .find(|path| path.is_file())
        .with_context(|| format!("no kernel in {package}"))?;
    Ok(Image { folder, path })
}

fn newest(names: Vec<String>, kind: &str) -> Option<String> {
    names
        .into_iter()
        .filter(|name| name.ends_with(SUFFIX))
        .filter(|name| name[kind.len()..].starts_with(|first: char| first.is_ascii_digit()))
        .max_by_key(|name| numbers(name))
}

/// `5.10.0-46` is newer than `5.10.0-9`.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_found_by_number() {
        let names = [
            "5.10.0-9-cloud-amd64",
            "5.10.0-46-cloud-amd64",
            "5.10.0-47-amd64",
            "cloud-amd64",
        ];
        let names = names.map(|name| format!("linux-image-{name}")).to_vec();
        let found = newest(names, "linux-image-");
        assert_eq!(found.as_deref(), Some("linux-image-5.10.0-46-cloud-amd64"));
        assert_eq!(newest(Vec::new(), "linux-image-"), None);
    }
}
