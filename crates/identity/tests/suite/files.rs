//! Modes, atomic writes, and paths.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sealwire_identity::Error;
use sealwire_identity::files::{
    check_private, create_private_dir, expand, read_private, read_public, write_atomic, write_new,
};
use tempfile::TempDir;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn modes_are_set_exactly() {
    let home = TempDir::new().unwrap();
    for wanted in [0o600, 0o400, 0o644] {
        let path = home.path().join(format!("{wanted:o}"));
        write_atomic(&path, b"secret", wanted).unwrap();
        assert_eq!(mode(&path), wanted);
        assert_eq!(fs::read(&path).unwrap(), b"secret");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_to_run() {
    let home = TempDir::new().unwrap();
    let key = home.path().join("key.pem");
    write_atomic(&key, b"secret", 0o600).unwrap();
    assert_eq!(*read_private(&key).unwrap(), b"secret");
    for wide in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777, 0o660] {
        set_mode(&key, wide);
        let error = read_private(&key).unwrap_err();
        assert!(matches!(error, Error::Mode { mode, allowed: 0o600, .. } if mode == wide));
        assert_eq!(error.remedy(), format!("run: chmod 600 {}", key.display()));
        assert!(check_private(&key).is_err());
    }
    for narrow in [0o600, 0o400] {
        set_mode(&key, narrow);
        read_private(&key).unwrap();
        check_private(&key).unwrap();
    }
}

#[test]
fn a_symbolic_link_is_followed_and_its_target_checked() {
    let home = TempDir::new().unwrap();
    let (target, link) = (home.path().join("target"), home.path().join("link"));
    write_atomic(&target, b"secret", 0o600).unwrap();
    symlink(&target, &link).unwrap();
    assert_eq!(*read_private(&link).unwrap(), b"secret");
    set_mode(&target, 0o644);
    assert!(matches!(read_private(&link), Err(Error::Mode { .. })));
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let home = TempDir::new().unwrap();
    assert!(matches!(read_public(home.path()), Err(Error::FileType { .. })));
    let pipe = home.path().join("pipe");
    crate::support::run("mkfifo", &["-m", "600", pipe.to_str().unwrap()], b"");
    assert!(matches!(read_private(&pipe), Err(Error::FileType { .. })));
    let missing = read_private(&home.path().join("missing")).unwrap_err();
    assert!(missing.to_string().contains("missing"), "{missing}");
    let large = home.path().join("large");
    fs::write(&large, vec![b' '; 2 << 20]).unwrap();
    assert!(matches!(read_public(&large), Err(Error::TooLarge { .. })));
}

#[test]
fn an_existing_file_is_replaced_only_on_purpose() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("file");
    write_new(&path, b"first", 0o600).unwrap();
    assert!(matches!(write_new(&path, b"second", 0o600), Err(Error::Exists { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"first");
    write_atomic(&path, b"third", 0o600).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"third");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "a temporary file was left");
}

#[test]
fn a_failed_write_changes_nothing() {
    let home = TempDir::new().unwrap();
    let taken = home.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert!(matches!(write_atomic(&taken, b"secret", 0o600), Err(Error::Io { .. })));
    assert!(taken.is_dir());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "a temporary file was left");
}

#[test]
fn private_directories_are_made_and_wider_ones_refused() {
    let home = TempDir::new().unwrap();
    let deep = home.path().join("home/certs/ca");
    create_private_dir(&deep).unwrap();
    create_private_dir(&deep).unwrap();
    for dir in [&deep, deep.parent().unwrap(), deep.parent().unwrap().parent().unwrap()] {
        assert_eq!(mode(dir), 0o700);
    }
    set_mode(&deep, 0o750);
    let error = create_private_dir(&deep).unwrap_err();
    assert_eq!(error.remedy(), format!("run: chmod 700 {}", deep.display()));
    let file = home.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(create_private_dir(&file), Err(Error::FileType { .. })));
}

#[test]
fn a_tilde_is_the_home_directory() {
    let home = Path::new("/home/ada");
    for (path, expanded) in [
        ("~/.sealwire", "/home/ada/.sealwire"),
        ("~", "/home/ada"),
        ("/etc/~/x", "/etc/~/x"),
        ("~bob/x", "~bob/x"),
        ("a/~", "a/~"),
    ] {
        assert_eq!(expand(Path::new(path), home), PathBuf::from(expanded));
    }
}
