//! Digests, keys and signatures as plain values, and the domains that keep
//! signatures of one kind from being taken for another.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a client signs: a request.
pub(crate) const DOMAIN_REQUEST: &[u8] = b"steeldb/1/request";
/// What identifies a signed request in a batch.
pub(crate) const DOMAIN_REQUEST_DIGEST: &[u8] = b"steeldb/1/request-digest";
/// What identifies a request with a MAC vector in a batch.
pub(crate) const DOMAIN_REQUEST_DIGEST_MACS: &[u8] = b"steeldb/1/request-digest-macs";
/// What identifies a proposed value.
pub(crate) const DOMAIN_BATCH: &[u8] = b"steeldb/1/batch";
/// What identifies a service's result.
pub(crate) const DOMAIN_RESULT: &[u8] = b"steeldb/1/result";
/// What a replica signs in the ACCEPT phase.
pub(crate) const DOMAIN_ACCEPT: &[u8] = b"steeldb/1/accept";
/// What identifies a chunk of a checkpoint.
pub(crate) const DOMAIN_CHUNK: &[u8] = b"steeldb/1/chunk";
/// What members vouch for of a checkpoint.
pub(crate) const DOMAIN_STATE: &[u8] = b"steeldb/1/state";
/// What a replica signs for the leader of a new regency.
pub(crate) const DOMAIN_STOPDATA: &[u8] = b"steeldb/1/stopdata";

/// A BLAKE3 digest; the default is all zero, which is the digest of nothing known.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

/// An Ed25519 public key, not yet known to be a point of the curve.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature, not yet verified.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 64]);

impl Digest {
    /// What a reply to a client carries of a result.
    pub fn of_result(result: &[u8]) -> Self {
        Self::of(DOMAIN_RESULT, &[result])
    }

    /// The digest of `parts`, each prefixed by its length so that no two lists collide.
    pub fn of(domain: &[u8], parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in std::iter::once(&domain).chain(parts) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

impl PublicKey {
    /// The public half of `key`.
    pub fn of(key: &SigningKey) -> Self {
        Self(key.verifying_key().to_bytes())
    }

    /// Strict verification, the same at every replica: no small-order keys, no
    /// malleable encodings. For evidence; requests have their own batch rule.
    pub fn verify_strict(&self, message: &[u8], signature: &Signature) -> bool {
        #[cfg(feature = "memo")]
        if crate::memo::knows(self, message, signature) {
            return true;
        }
        crate::strict::verify(self, message, signature)
    }
}

impl Signature {
    /// Signs `message` (Ed25519 is deterministic, so signing needs no randomness).
    pub fn sign(key: &SigningKey, message: &[u8]) -> Self {
        let signature = Self(key.sign(message).to_bytes());
        #[cfg(feature = "memo")]
        crate::memo::note(&PublicKey::of(key), message, &signature);
        signature
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for Digest {
    /// The first 8 of 64 hexadecimal digits, enough for a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0[..4])
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0[..4])
    }
}

impl fmt::Display for PublicKey {
    /// All 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0[..4])
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0[..4])
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Signature;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the 64 bytes of an Ed25519 signature")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Signature, E> {
                <[u8; 64]>::try_from(bytes)
                    .map(Signature)
                    .map_err(|_| E::invalid_length(bytes.len(), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Signature, A::Error> {
                let mut bytes = [0; 64];
                for (at, byte) in bytes.iter_mut().enumerate() {
                    *byte = seq
                        .next_element()?
                        .ok_or_else(|| A::Error::invalid_length(at, &self))?;
                }
                Ok(Signature(bytes))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
