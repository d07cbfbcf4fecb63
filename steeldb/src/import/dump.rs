//! The source's schema as statements, told by `pg_dump` at the import's snapshot.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use super::source::Source;
use crate::failure::Failure;

/// Where Debian keeps all majors side by side.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A part of `pg_dump`'s script.
#[derive(Clone, Copy, Debug)]
pub enum Section {
    /// What tables need to be filled.
    PreData,
    /// What is quicker or safer when they are full: keys, indexes, triggers, rules, materialized views' contents.
    PostData,
}

impl Section {
    fn name(self) -> &'static str {
        match self {
            Section::PreData => "pre-data",
            Section::PostData => "post-data",
        }
    }
}

/// The statements of a section, in their order.
///
/// # Errors
/// When `pg_dump` is not there, is older than the source, or fails.
pub async fn statements(
    source: &Source,
    section: Section,
    left_out: &[String],
) -> Result<Vec<String>, Failure> {
    let program = program(source.major).await?;
    let mut command = Command::new(&program);
    command
        .args(["--section", section.name(), "--snapshot", &source.snapshot])
        .args([
            "--no-owner",
            "--no-tablespaces",
            "--no-security-labels",
            "--no-blobs",
        ])
        .args([
            "--no-publications",
            "--no-subscriptions",
            "--encoding",
            "UTF8",
        ])
        .args(
            left_out
                .iter()
                .map(|table| format!("--exclude-table={table}")),
        )
        .envs(source.environment())
        .env_remove("PGOPTIONS")
        .env_remove("PGSERVICE")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let failed = |cause: String| {
        Failure::new(format!("{} cannot read the source", program.display())).cause(cause)
    };
    let output = command
        .output()
        .await
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let script =
        String::from_utf8(output.stdout).map_err(|_| failed("its script is not UTF8".into()))?;
    let script = without_restriction(&script);
    let texts = sql::texts(&script).map_err(|error| failed(error.to_string()))?;
    Ok(texts.into_iter().map(str::to_owned).collect())
}

/// `\\restrict` and `\\unrestrict`, the first and the last line but comments of a newer `pg_dump`, are psql's.
fn without_restriction(script: &str) -> String {
    // Not `lines`: a carriage return may be a part of a string.
    let mut lines: Vec<&str> = script.split('\n').collect();
    let first = lines
        .iter()
        .position(|line| line.starts_with("\\restrict "));
    if let Some(first) = first {
        lines.remove(first);
        let last = lines
            .iter()
            .rposition(|line| line.starts_with("\\unrestrict "));
        last.map(|last| lines.remove(last));
    }
    lines.join("\n")
}

/// The newest `pg_dump` of this machine.
async fn program(source: u32) -> Result<PathBuf, Failure> {
    let mut majors: Vec<(u32, PathBuf)> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            let program = entry.path().join("bin/pg_dump");
            program.is_file().then_some((major, program))
        })
        .collect();
    majors.sort();
    let program = match majors.pop() {
        Some((_, program)) => program,
        None => PathBuf::from("pg_dump"),
    };
    let said = Command::new(&program).arg("--version").output().await;
    let said = said.map_err(|error| {
        Failure::new("there is no pg_dump on this machine")
            .cause(error)
            .next("apt-get install postgresql-client")
    })?;
    let version = String::from_utf8_lossy(&said.stdout).into_owned();
    let major: u32 = version
        .split_whitespace()
        .nth(2)
        .and_then(|number| number.split('.').next()?.parse().ok())
        .unwrap_or(0);
    if major < source {
        return Err(
            Failure::new("pg_dump of this machine cannot read the source")
                .cause(format!(
                    "{} is of version {major}, the source of version {source}",
                    program.display()
                ))
                .next("install the client programs of the newer version"),
        );
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psqls_own_lines_are_taken_out_and_a_body_that_looks_like_them_stays() {
        let script = "-- x\n\\restrict abc\n\nSELECT '\n\\restrict abc\n\\unrestrict abc\n';\n\\unrestrict abc\n-- y";
        assert_eq!(
            without_restriction(script),
            "-- x\n\nSELECT '\n\\restrict abc\n\\unrestrict abc\n';\n-- y"
        );
        assert_eq!(without_restriction("SELECT 1;"), "SELECT 1;");
    }
}
