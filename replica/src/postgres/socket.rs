//! The directory of the server's Unix socket.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::{Error, PostgresConfig};

/// The longest path that `sockaddr_un` takes, in bytes.
const MAX_PATH: usize = 107;

/// The configured directory, `socket` in the data directory, or, where that makes too long a path,
/// a private one below the temporary directory. It is made when it is missing; one that is there
/// must be private to the account.
pub(super) fn socket_dir(
    config: &PostgresConfig,
    data_dir: &Path,
    account: &Account,
) -> Result<PathBuf, Error> {
    if let Some(dir) = &config.socket_dir {
        let dir = std::path::absolute(dir).map_err(Error::io("find", dir))?;
        if !fits(&dir, config.port) {
            return Err(Error::Config(format!(
                "socket_dir {} makes a socket's path longer than {MAX_PATH} bytes",
                dir.display()
            )));
        }
        return make(dir, account);
    }
    let beside = data_dir.join("socket");
    if fits(&beside, config.port) {
        return make(beside, account);
    }
    let name = blake3::hash(data_dir.as_os_str().as_encoded_bytes()).to_hex();
    let name = format!("steeldb-{}", &name[..16]);
    let candidates = [std::env::temp_dir(), PathBuf::from("/tmp")];
    let short = candidates.iter().map(|dir| dir.join(&name)).find(|dir| {
        dir.is_absolute() && fits(dir, config.port) && account.check_way_to(dir).is_ok()
    });
    match short {
        Some(dir) => make(dir, account),
        None => Err(Error::Config(format!(
            "the data directory's path is too long for a socket, and so is the temporary \
             directory's, or the account {} cannot enter it; set socket_dir",
            account.name
        ))),
    }
}

fn fits(dir: &Path, port: u16) -> bool {
    let socket = dir.join(format!(".s.PGSQL.{port}"));
    socket.as_os_str().len() <= MAX_PATH
}

fn make(dir: PathBuf, account: &Account) -> Result<PathBuf, Error> {
    account.check_way_to(&dir)?;
    match std::fs::symlink_metadata(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            account.make_private_dir(&dir)?;
        }
        Err(error) => return Err(Error::io("look at", &dir)(error)),
        // Whoever could have made it would hold the socket that sessions connect to.
        Ok(found) => {
            let private = found.is_dir() && found.uid() == account.uid && found.mode() & 0o077 == 0;
            if !private {
                return Err(Error::Config(format!(
                    "{} is there but is not a directory of the account {} with mode 0700; remove it",
                    dir.display(),
                    account.name
                )));
            }
        }
    }
    Ok(dir)
}
