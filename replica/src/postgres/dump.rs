//! pg_dump's text of a database's schema.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::account::Account;
use super::{Address, Error, SUPERUSER};

/// The longest text that is taken, in bytes.
const LONGEST: u64 = 128 << 20;

/// How long it may take; what it waits for longer than `LOCK` is a statement that runs.
const PATIENCE: Duration = Duration::from_secs(120);
const LOCK: &str = "--lock-wait-timeout=5000";

/// Runs pg_dump on one server.
#[derive(Clone, Debug)]
pub struct Dumper {
    pub(super) program: PathBuf,
    pub(super) account: Account,
    pub(super) address: Address,
}

impl Dumper {
    /// The definitions in a database as SQL, at an exported snapshot: no owners and no privileges, no extensions, and nothing of the
    /// schema `steel`.
    ///
    /// # Errors
    /// When the program cannot be run, fails, or says too much.
    pub async fn schema(&self, database: &str, snapshot: &str) -> Result<String, Error> {
        let failed = |output: String| Error::Program {
            program: self.program.display().to_string(),
            output,
        };
        let mut command = Command::from(self.account.command(&self.program));
        command
            .arg("-h")
            .arg(&self.address.socket_dir)
            .args(["-p", &self.address.port.to_string(), "-U", SUPERUSER])
            .args(["--schema-only", "--no-owner", "--no-privileges"])
            // Of the extensions that alone, which is everywhere: the others are made by the replica itself.
            .args(["--extension=plpgsql", "--encoding=UTF8", LOCK])
            .arg(format!("--snapshot={snapshot}"))
            .arg(database)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(Error::io("run", &self.program))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (Some(out), Some(err)) = (out, err) else {
            return Err(failed("it has no output".into()));
        };
        let ended = async {
            let (mut text, mut said) = (Vec::new(), Vec::new());
            let (mut out, mut err) = (out.take(LONGEST), err.take(64 << 10));
            tokio::try_join!(out.read_to_end(&mut text), err.read_to_end(&mut said))?;
            Ok::<_, std::io::Error>((child.wait().await?, text, said))
        };
        let ended = timeout(PATIENCE, ended).await;
        let ended = ended.map_err(|_| failed("it takes too long".into()))?;
        let (status, text, said) = ended.map_err(Error::io("run", &self.program))?;
        if !status.success() || text.len() as u64 == LONGEST {
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            return Err(failed(format!("{status}; {said}")));
        }
        let text = String::from_utf8(text).map_err(|e| failed(e.to_string()))?;
        Ok(without_frame(&text))
    }
}

/// The text without what is meant for psql alone: `\restrict` before it and `\unrestrict` behind it, if it has them.
fn without_frame(text: &str) -> String {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let first = lines
        .iter()
        .position(|line| line.starts_with("\\restrict "));
    if let Some(at) = first.filter(|at| *at < 16) {
        lines.remove(at);
    }
    let last = lines
        .iter()
        .rposition(|line| line.starts_with("\\unrestrict "));
    if let Some(at) = last.filter(|at| *at + 16 > lines.len()) {
        lines.remove(at);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::without_frame;

    #[test]
    fn what_is_meant_for_psql_goes_and_what_a_function_says_stays() {
        let body = "\\unrestrict me\nSELECT 1;\n".repeat(20);
        let text = format!("--\n\\restrict key\n{body}\\unrestrict key\n\n");
        assert_eq!(without_frame(&text), format!("--\n{body}\n"));
        assert_eq!(without_frame("SELECT 1;\n"), "SELECT 1;\n");
    }
}
