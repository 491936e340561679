//! Debian packages of another suite than this machine's, by apt with a state of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::process;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt for one suite, in a folder of its own: knows no installed packages, and touches nothing of the machine's.
pub struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// Sets up `folder` and downloads the suite's index.
    pub fn open(folder: PathBuf, suite: &str) -> Result<Self> {
        Self::open_index(folder, "deb", suite)
    }

    /// The same for source packages.
    pub fn open_sources(folder: PathBuf, suite: &str) -> Result<Self> {
        Self::open_index(folder, "deb-src", suite)
    }

    /// `kind`: the first word of a line in sources.list(5).
    fn open_index(folder: PathBuf, kind: &str, suite: &str) -> Result<Self> {
        for name in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::write(folder.join("status"), "")?;
        fs::write(
            folder.join("sources.list"),
            format!("{kind} [signed-by={KEYRING}] {} {suite} main\n", mirror()?),
        )?;
        fs::write(folder.join("apt.conf"), configuration(&folder))?;
        let archive = Self { folder };
        process::output(archive.apt().arg("update"))
            .with_context(|| format!("the index of Debian {suite}"))?;
        Ok(archive)
    }

    /// Downloads `package` with all that it depends on.
    pub fn with_dependencies(&self, package: &str) -> Result<Vec<PathBuf>> {
        process::output(self.apt().args([
            "install",
            "--yes",
            "--download-only",
            "--no-install-recommends",
            package,
        ]))?;
        files_in(&self.folder.join("cache/archives"), "deb")
    }

    /// Downloads `package` alone.
    pub fn alone(&self, package: &str) -> Result<PathBuf> {
        let folder = self.folder.join(package);
        fs::create_dir_all(&folder)?;
        process::output(self.apt().current_dir(&folder).args(["download", package]))?;
        files_in(&folder, "deb")?
            .pop()
            .with_context(|| format!("apt downloaded no {package}"))
    }

    /// Downloads the upstream source of a source package.
    pub fn tarball(&self, package: &str) -> Result<PathBuf> {
        let folder = self.folder.join(package);
        fs::create_dir_all(&folder)?;
        let mut apt = self.apt();
        apt.args(["--download-only", "--tar-only", "source", package]);
        process::output(apt.current_dir(&folder))?;
        files_in(&folder, "xz")?
            .pop()
            .with_context(|| format!("apt downloaded no source of {package}"))
    }

    /// The names of packages that begin so.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let mut cache = Command::new("apt-cache");
        cache.arg("-c").arg(self.folder.join("apt.conf"));
        let names = process::output(cache.args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    fn apt(&self) -> Command {
        let mut apt = Command::new("apt-get");
        apt.arg("-q").arg("-c").arg(self.folder.join("apt.conf"));
        apt
    }
}

fn files_in(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|its| its == extension))
        .collect())
}

/// Read after the machine's own configuration, so it wins; the cleared hooks would clean the machine's caches. An old suite's index
/// may be past its date.
fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
"#
    )
}

/// The mirror that this machine installs Debian's packages from.
fn mirror() -> Result<String> {
    if !Path::new(KEYRING).is_file() {
        bail!("{KEYRING} is not here: is this Debian?");
    }
    let targets = process::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN) $(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let mirror = targets
        .lines()
        .find_map(|line| line.strip_prefix("Debian "));
    mirror
        .map(str::to_owned)
        .context("apt knows no mirror of Debian here: run apt-get update")
}

/// Unpacks a package, or only `member` of it, into a root whose `/lib` and the like may be symbolic links.
pub fn unpack(package: &Path, root: &Path, member: Option<&str>) -> Result<()> {
    let mut from = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let stdout = from.stdout.take().context("dpkg-deb has no stdout")?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--keep-directory-symlink", "--no-same-owner", "-C"])
        .arg(root)
        .args(member)
        .stdin(stdout);
    let unpacked = tar
        .stderr(Stdio::null())
        .status()
        .context("cannot run tar")?;
    // With a member, tar leaves before the end, and dpkg-deb may be told so by a signal.
    let read = from.wait()?;
    if !unpacked.success() || (member.is_none() && !read.success()) {
        bail!(
            "cannot unpack {} from {}",
            member.unwrap_or("all"),
            package.display()
        );
    }
    Ok(())
}
