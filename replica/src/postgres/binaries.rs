//! Finding `initdb` and `postgres`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// The oldest major version that is known to work.
pub(super) const OLDEST_MAJOR: u32 = 15;

/// Where Debian keeps all majors side by side.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The programs of one PostgreSQL version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    pub dir: PathBuf,
    pub major: u32,
}

impl Binaries {
    /// Those in `configured`; else Debian's of major `wanted`; else Debian's newest; else `PATH`'s.
    pub fn find(configured: Option<&Path>, wanted: Option<u32>) -> Result<Binaries, Error> {
        if let Some(dir) = configured {
            return Self::at(dir.to_owned());
        }
        let mut majors = debian_majors(Path::new(DEBIAN));
        majors.retain(|&major| major >= OLDEST_MAJOR);
        let newest = majors.iter().copied().max();
        let chosen = wanted.filter(|w| majors.contains(w)).or(newest);
        if let Some(major) = chosen {
            return Self::at(Path::new(DEBIAN).join(major.to_string()).join("bin"));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        match std::env::split_paths(&path).find(|dir| has_programs(dir)) {
            Some(dir) => Self::at(dir),
            None => Err(Error::NotInstalled(format!(
                "no PostgreSQL server of version {OLDEST_MAJOR} or newer was found in {DEBIAN} or PATH"
            ))),
        }
    }

    fn at(dir: PathBuf) -> Result<Binaries, Error> {
        let shown = dir.display();
        if !has_programs(&dir) {
            return Err(Error::NotInstalled(format!(
                "{shown} has no initdb and postgres"
            )));
        }
        let said = Command::new(dir.join("postgres"))
            .arg("--version")
            .output()
            .map_err(Error::io("run", &dir.join("postgres")))?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        match said_major(&said) {
            Some(major) if major >= OLDEST_MAJOR => Ok(Binaries { dir, major }),
            _ => Err(Error::NotInstalled(format!(
                "{shown} holds {:?}, and PostgreSQL {OLDEST_MAJOR} or newer is needed",
                said.trim()
            ))),
        }
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The major version of the server in `bin_dir`, or of the one that is found without it.
///
/// # Errors
/// When there is none, or it is too old.
pub fn major(bin_dir: Option<&Path>) -> Result<u32, Error> {
    Ok(Binaries::find(bin_dir, None)?.major)
}

fn has_programs(dir: &Path) -> bool {
    ["initdb", "postgres"]
        .iter()
        .all(|name| dir.join(name).is_file())
}

fn debian_majors(root: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(root) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|major: &u32| has_programs(&root.join(major.to_string()).join("bin")))
        .collect()
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` or `… 17beta1`.
fn said_major(version: &str) -> Option<u32> {
    let number = version.split(") ").nth(1)?;
    let digits = number
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(number.len());
    number[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_is_read_from_what_the_server_says() {
        for (said, expected) in [
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)",
                Some(15),
            ),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("postgres (PostgreSQL) 17\n", Some(17)),
            ("something else", None),
        ] {
            assert_eq!(said_major(said), expected, "{said}");
        }
    }

    #[test]
    fn missing_binaries_come_with_the_line_that_installs_them() {
        let error = Binaries::find(Some(Path::new("/nowhere")), None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nowhere") && error.contains("apt-get install"),
            "{error}"
        );
    }
}
