//! Making a data directory.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::absent::read_if_there;
use super::account::Account;
use super::binaries::Binaries;
use super::supervise::spawn;
use super::{Error, SUPERUSER};

/// Only the Unix socket, in a directory that is the server account's alone.
const HBA: &str = "# Written by SteelDB.\nlocal all all trust\n";

/// The file in which SteelDB's settings stand.
pub(super) const SETTINGS: &str = "steeldb.conf";

/// The major version that made a data directory; `None` where there is none yet.
pub(super) fn made_by(data_dir: &Path) -> Result<Option<u32>, Error> {
    let file = data_dir.join("PG_VERSION");
    match read_if_there(&file)? {
        None => Ok(None),
        Some(text) => match text.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => Err(Error::Config(format!(
                "{} holds no version; is this a data directory?",
                file.display()
            ))),
        },
    }
}

/// Makes the data directory beside its place and moves it there when it is complete, so that one
/// that is there is whole.
pub(super) fn initdb(data_dir: &Path, binaries: &Binaries, account: &Account) -> Result<(), Error> {
    refuse_used(data_dir)?;
    remove_abandoned(data_dir);
    let new = PathBuf::from(format!("{}{NEW}{}", data_dir.display(), std::process::id()));
    account.make_private_dir(&new)?;
    let made = fill(&new, binaries, account);
    if made.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_dir_all(&new);
    }
    made?;
    if data_dir.exists() {
        std::fs::remove_dir(data_dir).map_err(Error::io("replace", data_dir))?;
    }
    std::fs::rename(&new, data_dir).map_err(Error::io("move into place", data_dir))
}

const NEW: &str = ".new-";

fn fill(new: &Path, binaries: &Binaries, account: &Account) -> Result<(), Error> {
    let program = binaries.program("initdb");
    let mut command = account.command(&program);
    command
        .args([
            "-U",
            SUPERUSER,
            "--locale=C.UTF-8",
            "-E",
            "UTF8",
            "-k",
            "-N",
        ])
        .args(["-A", "trust", "-D"])
        .arg(new)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = spawn(command).map_err(Error::io("run", &program))?;
    let done = child
        .wait_with_output()
        .map_err(Error::io("run", &program))?;
    if !done.status.success() {
        return Err(Error::Program {
            program: program.display().to_string(),
            output: String::from_utf8_lossy(&done.stderr).trim().to_owned(),
        });
    }
    account.write_file(&new.join("pg_hba.conf"), HBA)?;
    account.write_file(&new.join(SETTINGS), "")?;
    let path = new.join("postgresql.conf");
    let mut text = read_if_there(&path)?.unwrap_or_default();
    text.push_str(&format!("\ninclude '{SETTINGS}'\n"));
    account.write_file(&path, &text)
}

fn refuse_used(data_dir: &Path) -> Result<(), Error> {
    let mut entries = match std::fs::read_dir(data_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io("look into", data_dir))?,
    };
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Error::NoDataDirectory(data_dir.display().to_string())),
    }
}

/// Removes what runs that were killed have left. It costs only space, so failures do not matter.
fn remove_abandoned(data_dir: &Path) {
    let (Some(parent), Some(name)) = (data_dir.parent(), data_dir.file_name()) else {
        return;
    };
    let prefix = format!("{}{NEW}", name.to_string_lossy());
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
