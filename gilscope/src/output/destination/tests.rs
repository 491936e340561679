#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

fn write(path: &Path, text: &str) -> Result<(), DestinationError> {
    Destination::File(path.into()).write(None, |out| out.write_all(text.as_bytes()))
}

/// The names in a directory: nothing may be left behind.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_dash_is_standard_output() {
    assert_eq!(Destination::new("-".as_ref()), Destination::Stdout);
    assert_eq!(
        Destination::new("./-".as_ref()),
        Destination::File("./-".into())
    );
    assert!(Destination::Stdout.check().is_ok());
}

#[test]
fn a_file_is_made_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    Destination::File(path.clone()).check().unwrap();
    assert!(names(directory.path()).is_empty());
    write(&path, "a long first one").unwrap();
    write(&path, "second").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "second");
    assert_eq!(names(directory.path()), ["report.json"]);
    // 0644, as far as the umask allows; never writable by others.
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7133, 0o0);
}

#[test]
fn a_failure_leaves_the_old_one_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    write(&path, "old").unwrap();
    let half = Destination::File(path.clone()).write(None, |out| {
        out.write_all(&[b'x'; 100_000])?;
        Err(io::Error::other("enough"))
    });
    assert!(half.unwrap_err().to_string().contains("enough"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names(directory.path()), ["report.json"]);
}

#[test]
fn all_but_regular_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name| directory.path().join(name);
    fs::write(at("victim"), "precious").unwrap();
    symlink(at("victim"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let cases = [
        (at("link"), "a symbolic link"),
        (at("dangling"), "a symbolic link"),
        (at("directory"), "a directory"),
        (at("fifo"), "a FIFO"),
        (at("socket"), "a socket"),
        ("/dev/null".into(), "a device"),
        ("/dev/stdout".into(), "a symbolic link"),
    ];
    for (path, kind) in cases {
        let checked = Destination::File(path.clone()).check().unwrap_err();
        assert!(
            checked.to_string().contains(&format!(" is {kind},")),
            "{checked}"
        );
        assert!(matches!(
            write(&path, "x").unwrap_err(),
            DestinationError::NotAFile { .. }
        ));
    }
    assert_eq!(fs::read_to_string(at("victim")).unwrap(), "precious");
    assert_eq!(names(directory.path()).len(), 6);
}

#[test]
fn what_cannot_be_written_is_known_before() {
    let directory = tempfile::tempdir().unwrap();
    let check = |path: PathBuf| Destination::File(path).check().unwrap_err();
    let absent = check(directory.path().join("absent/report.json"));
    assert!(
        absent.to_string().contains("No such file or directory"),
        "{absent}"
    );
    fs::write(directory.path().join("file"), "").unwrap();
    let below = check(directory.path().join("file/report.json"));
    assert!(below.to_string().contains("Not a directory"), "{below}");
    assert!(matches!(
        check("/proc/report.json".into()),
        DestinationError::Io { .. }
    ));
    for path in ["", "/", "..", "directory/", "directory/.."] {
        assert!(
            matches!(check(path.into()), DestinationError::NoName { .. }),
            "{path}"
        );
    }
}

/// A link that replaces the file after the check is replaced in turn, not followed.
#[test]
fn a_link_laid_meanwhile_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name| directory.path().join(name);
    fs::write(at("victim"), "precious").unwrap();
    let path = at("report.json");
    Destination::File(path.clone())
        .write(None, |out| {
            symlink(at("victim"), &path)?;
            out.write_all(b"new")
        })
        .unwrap();
    assert_eq!(fs::read_to_string(at("victim")).unwrap(), "precious");
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
}

#[test]
fn a_foreign_link_on_the_way_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let shared = directory.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    symlink(directory.path(), shared.join("link")).unwrap();
    let destination = Destination::File(shared.join("link/report.json"));
    destination.check().unwrap();
    if !nix::unistd::geteuid().is_root() {
        println!("skipped in part: only root can make another user's link");
        return;
    }
    std::os::unix::fs::lchown(shared.join("link"), Some(12_345), None).unwrap();
    assert!(matches!(
        destination.check().unwrap_err(),
        DestinationError::ForeignLink { .. }
    ));
}

#[test]
fn root_gives_the_file_to_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    let owner = Owner {
        uid: 12_345,
        gid: 23_456,
    };
    Destination::File(path.clone())
        .write(Some(owner), |_| Ok(()))
        .unwrap();
    let found = fs::metadata(&path).unwrap();
    if !nix::unistd::geteuid().is_root() {
        println!("skipped in part: only root can give a file away");
        return;
    }
    assert_eq!((found.uid(), found.gid()), (12_345, 23_456));
}
