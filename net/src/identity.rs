//! The Ed25519 key of one process, and the file that keeps it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;

/// The secret key of a process. Its file holds the 32-byte seed as 64 hex digits, readable by the owner only.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
}

/// Why an identity could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file could not be read, or exists already on saving.
    #[error("identity file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error("identity file {path} is open to others (mode {mode:04o}): run chmod 600 {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold 64 hex digits.
    #[error(
        "identity file {path} does not hold 64 hex digits: restore it, or make a new identity and list its public key"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl Identity {
    /// A new random key from the system's generator.
    pub fn generate() -> Identity {
        Identity::from_seed(rand::random())
    }

    /// The key made from a 32-byte seed.
    pub fn from_seed(seed: [u8; 32]) -> Identity {
        Identity {
            key: SigningKey::from_bytes(&seed),
        }
    }

    /// Reads the file that [`save`](Identity::save) wrote; refuses one that others may read.
    pub fn load(path: impl AsRef<Path>) -> Result<Identity, IdentityError> {
        let path = path.as_ref();
        let io = |source| IdentityError::Io {
            path: path.into(),
            source,
        };
        let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Open {
                path: path.into(),
                mode,
            });
        }
        let text = fs::read(path).map_err(io)?;
        let mut seed = [0; 32];
        hex::decode_to_slice(text.trim_ascii(), &mut seed)
            .map_err(|_| IdentityError::Malformed { path: path.into() })?;
        Ok(Identity::from_seed(seed))
    }

    /// Writes the key to a new file of mode 0600 and makes it durable. Never overwrites: a lost key is a lost identity.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), IdentityError> {
        let path = path.as_ref();
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            writeln!(file, "{}", hex::encode(self.key.to_bytes()))?;
            file.sync_all()
        };
        write().map_err(|source| IdentityError::Io {
            path: path.into(),
            source,
        })
    }

    /// The public key, as the [`Directory`](crate::Directory) lists it.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// The key itself, for signing messages.
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", hex::encode(&self.public_key()[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_identity_is_private_and_loads_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let identity = Identity::generate();
        identity.save(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            Identity::load(&path).unwrap().public_key(),
            identity.public_key()
        );
        assert!(
            identity.save(&path).is_err(),
            "a second save would lose the first key"
        );
    }

    #[test]
    fn a_file_open_to_others_or_cut_short_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        Identity::generate().save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::load(&path).unwrap_err();
        assert!(matches!(error, IdentityError::Open { mode: 0o640, .. }));
        assert!(error.to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "abcd\n").unwrap();
        assert!(matches!(
            Identity::load(&path).unwrap_err(),
            IdentityError::Malformed { .. }
        ));
    }
}
