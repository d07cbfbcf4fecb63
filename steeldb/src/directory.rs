//! Directories and files with the modes that they need.
//!
//! As root, PostgreSQL runs with another account, which must be able to pass through to its data
//! directory, so directories on that way have mode 0711; what is secret has mode 0600 itself.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use crate::failure::Failure;

/// What a directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// PostgreSQL's data lies somewhere below.
    LeadsToPostgres,
    /// Nobody else has business in it.
    Private,
}

impl Purpose {
    fn mode(self) -> u32 {
        match self {
            Purpose::LeadsToPostgres if Uid::effective().is_root() => 0o711,
            Purpose::LeadsToPostgres | Purpose::Private => 0o700,
        }
    }
}

/// Makes a directory and those above it, or sets the mode of one that is there.
pub fn make(path: &Path, purpose: Purpose) -> Result<(), Failure> {
    let mode = purpose.mode();
    let made = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(mode).create(path)?;
        let found = fs::metadata(path)?.permissions().mode() & 0o777;
        if found != mode {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(())
    };
    made().map_err(|error| {
        Failure::new(format!("cannot make the directory {}", path.display())).cause(error)
    })
}

/// Puts a file in its place at once, readable by its owner only.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    written().map_err(|error| Failure::new(format!("cannot write {}", path.display())).cause(error))
}

/// As root: a directory of root's own below the temporary directory, such as `mktemp -d` makes, is opened for passage
/// (o+x) when the cluster lies below it. Returns what was opened. Other directories are the owner's to open: PostgreSQL's
/// start names them.
pub fn open_temporary_way(path: &Path) -> Vec<PathBuf> {
    if !Uid::effective().is_root() {
        return Vec::new();
    }
    let temporary = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
    let below = |dir: &&Path| temporary.iter().any(|t| dir.starts_with(t) && *dir != t);
    let mut opened = Vec::new();
    for dir in path.ancestors().skip(1).filter(below) {
        let Ok(found) = fs::symlink_metadata(dir) else {
            continue;
        };
        let mode = found.mode() & 0o7777;
        let closed_by_root = found.is_dir() && found.uid() == 0 && mode & 0o001 == 0;
        if closed_by_root && fs::set_permissions(dir, Permissions::from_mode(mode | 0o011)).is_ok()
        {
            opened.push(dir.to_owned());
        }
    }
    opened
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn directories_and_files_have_the_modes_that_they_need() {
        let dir = tempfile::tempdir().unwrap();
        let (way, own) = (dir.path().join("a/way"), dir.path().join("a/own"));
        make(&way, Purpose::LeadsToPostgres).unwrap();
        make(&own, Purpose::Private).unwrap();
        let passable = if Uid::effective().is_root() {
            0o711
        } else {
            0o700
        };
        assert_eq!((mode(&way), mode(&own)), (passable, 0o700));
        fs::set_permissions(&way, Permissions::from_mode(0o755)).unwrap();
        make(&way, Purpose::LeadsToPostgres).unwrap();
        assert_eq!(mode(&way), passable, "one that is there gets the mode too");
        let file = own.join("file");
        write(&file, "x").unwrap();
        assert_eq!(mode(&file), 0o600);
    }

    #[test]
    fn only_the_way_below_the_temporary_directory_is_opened() {
        if !Uid::effective().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        assert_eq!(open_temporary_way(&dir.path().join("db")), [dir.path()]);
        assert_eq!(mode(dir.path()), 0o711);
        assert!(
            open_temporary_way(&dir.path().join("db")).is_empty(),
            "done once"
        );
        assert!(open_temporary_way(Path::new("/root/db")).is_empty());
    }
}
