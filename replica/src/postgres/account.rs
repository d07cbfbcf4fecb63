//! The account that PostgreSQL runs with.

use std::ffi::OsStr;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Uid, User};

use super::Error;
use super::absent::remove_if_there;

/// PostgreSQL refuses to run as root, so a replica that runs as root lends it another account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub name: String,
    pub uid: u32,
    gid: u32,
    /// The replica runs as root and its children drop to this account.
    lent: bool,
}

impl Account {
    /// The replica's own account, or, as root, `configured`, else `postgres`, else `nobody`.
    pub fn choose(configured: Option<&str>) -> Result<Account, Error> {
        let own = Uid::effective();
        if !own.is_root() {
            return Ok(Account {
                name: lookup_name(own),
                uid: own.as_raw(),
                gid: nix::unistd::Gid::effective().as_raw(),
                lent: false,
            });
        }
        let names = match configured {
            Some(name) => vec![name],
            None => vec!["postgres", "nobody"],
        };
        let user = names
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten());
        match user {
            Some(user) if !user.uid.is_root() => Ok(Account {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
                lent: true,
            }),
            Some(user) => Err(Error::Account(format!("{} is root as well", user.name))),
            None => Err(Error::Account(format!(
                "there is no account {}; name another in the configuration",
                names.join(" or ")
            ))),
        }
    }

    /// A command that runs with this account, in `/`, with nothing of the replica's environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .current_dir("/");
        if self.lent {
            // As root this clears the supplementary groups too.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Makes a directory that is this account's alone. The one above must exist.
    pub fn make_private_dir(&self, path: &Path) -> Result<(), Error> {
        DirBuilder::new()
            .mode(0o700)
            .create(path)
            .map_err(Error::io("make directory", path))?;
        if self.lent {
            lchown(path, Some(self.uid), Some(self.gid)).map_err(Error::io("chown", path))?;
        }
        Ok(())
    }

    /// Puts a private file in its place at once. The directory belongs to the account: a link that
    /// lies there is replaced, never followed.
    pub fn write_file(&self, path: &Path, text: &str) -> Result<(), Error> {
        let new = PathBuf::from(format!("{}.new", path.display()));
        remove_if_there(&new)?;
        let written = || -> std::io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(text.as_bytes())?;
            if self.lent {
                fchown(&file, Some(self.uid), Some(self.gid))?;
            }
            file.sync_all()?;
            std::fs::rename(&new, path)
        };
        written().map_err(Error::io("write", path))
    }

    /// Checks that this account can enter every directory on the way to `path` (which is
    /// absolute), and names the one that it cannot enter. The account itself tries, so that ACLs
    /// count.
    pub fn check_way_to(&self, path: &Path) -> Result<(), Error> {
        if !self.lent {
            return Ok(());
        }
        let mut way: Vec<&Path> = path.ancestors().skip(1).collect();
        way.reverse();
        let tried = self
            .command("/bin/sh")
            .arg("-c")
            .arg(r#"for d in "$@"; do [ -x "$d" ] || { printf %s "$d"; exit 1; }; done"#)
            .arg("sh")
            .args(&way)
            .output()
            .map_err(Error::io("run", Path::new("/bin/sh")))?;
        if tried.status.success() {
            return Ok(());
        }
        Err(Error::NotTraversable {
            account: self.name.clone(),
            directory: String::from_utf8_lossy(&tried.stdout).into_owned(),
        })
    }
}

fn lookup_name(uid: Uid) -> String {
    let user = User::from_uid(uid).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}
