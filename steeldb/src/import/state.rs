//! What is known of an import after its command has ended: `import.toml` in the cluster's directory.
//!
//! While it says `begun`, the database holds an unknown part of the source and is served to nobody who was not let in on
//! purpose: `up` refuses to go on without the import.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::directory;
use crate::failure::Failure;
use crate::layout::Layout;

/// How far an import got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Something may have been written; nothing was verified.
    Begun,
    /// Everything was compared with the source.
    Verified,
}

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub stage: Stage,
    /// The server and database that it came from, without a password.
    pub source: String,
}

impl State {
    /// The state of this directory; `None` where nothing was ever imported.
    pub fn read(layout: &Layout) -> Result<Option<State>, Failure> {
        let path = layout.import_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Failure::new(format!("cannot read {}", path.display())).cause(error));
            }
        };
        let state = toml::from_str(&text)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        Ok(Some(state))
    }

    pub fn write(&self, layout: &Layout) -> Result<(), Failure> {
        let text = toml::to_string(self).expect("two strings are always TOML");
        directory::write(&layout.import_file(), &text)
    }
}

/// # Errors
/// When an import was interrupted and is not taken up again.
pub fn refuse_interrupted(layout: &Layout) -> Result<(), Failure> {
    let Some(state) = State::read(layout)?.filter(|state| state.stage == Stage::Begun) else {
        return Ok(());
    };
    let root = layout.root().display();
    Err(
        Failure::new(format!("the import into {root} was interrupted"))
            .cause(format!(
                "the database holds a part of {}, and nothing of it was verified",
                state.source
            ))
            .next(format!(
                "steeldb up --data {root} --from DSN --begin-anew, which drops that part first"
            )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_import_is_refused_until_it_is_verified() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        refuse_interrupted(&layout).unwrap();
        let mut state = State {
            stage: Stage::Begun,
            source: "db1:5432/shop".into(),
        };
        state.write(&layout).unwrap();
        let said = refuse_interrupted(&layout).unwrap_err().to_string();
        assert!(
            said.contains("db1:5432/shop") && said.contains("--begin-anew"),
            "{said}"
        );
        state.stage = Stage::Verified;
        state.write(&layout).unwrap();
        refuse_interrupted(&layout).unwrap();
        assert_eq!(State::read(&layout).unwrap(), Some(state));
    }
}
