//! Where a PostgreSQL of another major than the machine's lies. Used by the tests of several rooms.

use std::path::PathBuf;
use std::process::Command;

/// The programs of this major, which `scripts/lib/postgres-majors.sh` installs (`scripts/test` runs it).
pub fn programs(major: u32) -> PathBuf {
    let room = env!("CARGO_MANIFEST_DIR");
    let script = format!("{room}/../scripts/lib/postgres-majors.sh");
    let said = Command::new(&script)
        .args(["--print", &major.to_string()])
        .output()
        .unwrap_or_else(|error| panic!("{script}: {error}"));
    let printed = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    assert!(
        !printed.is_empty(),
        "PostgreSQL {major} is missing; run: scripts/lib/postgres-majors.sh {major}"
    );
    PathBuf::from(printed)
}
