//! Configuration files: TOML, unknown keys refused, paths relative to the file.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// Reads a configuration file. A key that is not known is an error that names it.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!(
            "cannot read the configuration file {}",
            path.display()
        ))
        .cause(error)
        .next("write one with `steeldb init`, or name another with --config")
    })?;
    toml::from_str(&text).map_err(|error| {
        Failure::usage(format!(
            "the configuration file {} is not valid",
            path.display()
        ))
        .cause(error)
        .next("correct or remove that line; docs/operations.md lists the keys")
    })
}

/// A path of a configuration file, which is relative to the file that names it.
pub fn resolve(config: &Path, path: &Path) -> PathBuf {
    let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let joined = config.parent().unwrap_or(Path::new("/")).join(path);
    // Drops `.` components; `..` stays, for it may lead through a link.
    joined.components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Known {
        #[allow(dead_code)]
        id: u16,
    }

    #[test]
    fn an_unknown_key_is_named_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("replica.toml");
        fs::write(&file, "id = 1\ncolour = \"red\"\n").unwrap();
        let error = load::<Known>(&file).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("colour") && text.contains("replica.toml"),
            "{text}"
        );
        assert_eq!(error.code(), crate::failure::USAGE);
    }

    #[test]
    fn paths_are_relative_to_their_file() {
        let at = |path: &str| resolve(Path::new("/c/replica-1/replica.toml"), Path::new(path));
        assert_eq!(at("identity"), Path::new("/c/replica-1/identity"));
        assert_eq!(at("./data"), Path::new("/c/replica-1/data"));
        assert_eq!(at("/elsewhere"), Path::new("/elsewhere"));
    }
}
