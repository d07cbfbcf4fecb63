//! Programs that do one thing and end.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Error;

/// Runs it to its end, at most for `limit`; returns what it has said.
pub(crate) async fn run(command: &mut Command, limit: Duration) -> Result<String, Error> {
    // How it enters its host is of no interest.
    let words: Vec<_> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    let shown = words
        .rsplit(|word| word == "--")
        .next()
        .unwrap_or_default()
        .join(" ");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(std::mem::replace(command, Command::new("")));
    let done = tokio::time::timeout(limit, command.kill_on_drop(true).output()).await;
    let done = done.map_err(|_| Error::new(format!("{shown} did not end within {limit:?}")))?;
    let done = done.map_err(Error::io("run", &shown))?;
    if !done.status.success() {
        return Err(Error::io("do", &shown)(String::from_utf8_lossy(
            &done.stderr,
        )));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
