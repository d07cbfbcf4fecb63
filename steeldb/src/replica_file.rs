//! A replica's configuration file, with paths as this process can use them.

use std::path::Path;

use replica::Config;

use crate::config_file::{load, resolve};
use crate::failure::Failure;

/// Reads the file; its paths are relative to it.
pub fn read(path: &Path) -> Result<Config, Failure> {
    let mut config: Config = load(path)?;
    let given = [
        &mut config.postgres.data_dir,
        &mut config.postgres.bin_dir,
        &mut config.postgres.socket_dir,
    ];
    let given = given.into_iter().flatten();
    for file in [&mut config.cluster, &mut config.identity, &mut config.data]
        .into_iter()
        .chain(given)
    {
        *file = resolve(path, file);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "id = 2\ncluster = \"../cluster.toml\"\nidentity = \"identity\"\ndata = \"data\"\n";

    fn read_text(text: &str) -> Result<Config, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("replica.toml");
        std::fs::write(&file, text).unwrap();
        let config = read(&file)?;
        assert!(config.data.is_absolute() && config.identity.starts_with(dir.path()));
        Ok(config)
    }

    #[test]
    fn paths_are_those_of_the_file_wherever_the_process_runs() {
        let text = format!("{GOOD}[postgres]\ndata_dir = \"/pg\"\nsocket_dir = \"s\"\n");
        let config = read_text(&text).unwrap();
        assert_eq!(config.server().data_dir, Path::new("/pg"));
        assert!(config.postgres.socket_dir.unwrap().is_absolute());
        let config = read_text(GOOD).unwrap();
        assert_eq!(config.server().data_dir, config.data.join("postgres"));
    }

    #[test]
    fn unknown_keys_are_named_at_both_levels() {
        for bad in [
            format!("colour = 1\n{GOOD}"),
            format!("{GOOD}[postgres]\ncolour = 1\n"),
        ] {
            let error = read_text(&bad).unwrap_err().to_string();
            assert!(
                error.contains("colour") && error.contains("replica.toml"),
                "{error}"
            );
        }
    }
}
