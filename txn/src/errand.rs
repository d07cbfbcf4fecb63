//! An operation that replicas bring to the master, because its client hears nothing of it (docs/decisions/0030-errands.md).

use crate::client::ClientMessage;
use crate::ordered::TxId;
use bytes::Bytes;
use consensus::{ClientId, PublicKey, Signature};
use ed25519_dalek::{Signer, SigningKey};
use serde::{Deserialize, Serialize};

/// What a client asks of the master, with its signature: whoever brings it can add nothing and take nothing away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    pub client: ClientId,
    /// Whose master is meant.
    pub epoch: u64,
    /// An encoded `Operation` or `AutoOperation`.
    message: Bytes,
    signature: Signature,
}

impl Errand {
    pub fn new(client: ClientId, epoch: u64, message: &ClientMessage, key: &SigningKey) -> Errand {
        let message =
            postcard::to_stdvec(message).expect("these types have no unserialisable parts");
        let signature = Signature(key.sign(&text(client, epoch, &message)).to_bytes());
        Errand {
            client,
            epoch,
            message: message.into(),
            signature,
        }
    }

    /// About how many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.message.len() as u64
    }

    /// Whether the owner of this key sent it.
    pub fn is_signed(&self, key: &PublicKey) -> bool {
        let text = text(self.client, self.epoch, &self.message);
        key.verify_strict(&text, &self.signature)
    }

    /// What is asked, and of which transaction; nothing else than an operation of the client's own is brought to anybody.
    pub fn read(&self) -> Option<(TxId, ClientMessage)> {
        let message = consensus::decode(&self.message).ok()?;
        let tx = match &message {
            ClientMessage::Operation { tx, .. } => *tx,
            ClientMessage::AutoOperation { tx, epoch, .. } if *epoch == self.epoch => *tx,
            _ => return None,
        };
        (tx.client == self.client).then_some((tx, message))
    }
}

/// What is signed: nothing else that a client signs begins like this.
fn text(client: ClientId, epoch: u64, message: &[u8]) -> [u8; 64] {
    let mut hasher = blake3::Hasher::new_derive_key("steeldb 2026 operation brought to the master");
    hasher.update(&client.0.to_be_bytes());
    hasher.update(&epoch.to_be_bytes());
    hasher.update(message);
    let mut text = [0; 64];
    text[..32].copy_from_slice(b"steeldb 2026 errand of a client:");
    text[32..].copy_from_slice(hasher.finalize().as_bytes());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;

    const CLIENT: ClientId = ClientId(1 << 16);

    fn operation(client: ClientId, sql: &str) -> ClientMessage {
        ClientMessage::Operation {
            tx: TxId {
                client,
                incarnation: 1,
                seq: 2,
            },
            step: 0,
            operation: Operation::text(sql),
        }
    }

    #[test]
    fn an_errand_is_what_its_client_signed_and_nothing_else() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = PublicKey::of(&key);
        let errand = Errand::new(CLIENT, 3, &operation(CLIENT, "SELECT 1"), &key);
        assert!(errand.is_signed(&public));
        let (tx, message) = errand.read().unwrap();
        assert_eq!((tx.seq, message), (2, operation(CLIENT, "SELECT 1")));
        let other = SigningKey::from_bytes(&[8; 32]);
        assert!(!errand.is_signed(&PublicKey::of(&other)));
        let elsewhere = Errand {
            epoch: 4,
            ..errand.clone()
        };
        assert!(!elsewhere.is_signed(&public), "another epoch");
        let other = Errand::new(CLIENT, 3, &operation(CLIENT, "SELECT 2"), &key);
        let mixed = Errand {
            message: other.message,
            ..errand
        };
        assert!(!mixed.is_signed(&public), "another statement");
    }

    #[test]
    fn nobody_has_another_ones_operation_or_a_cancel_brought() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let others = operation(ClientId(9 << 16), "SELECT 1");
        assert_eq!(Errand::new(CLIENT, 3, &others, &key).read(), None);
        let cancel = ClientMessage::CancelRead { id: 1 };
        assert_eq!(Errand::new(CLIENT, 3, &cancel, &key).read(), None);
    }
}
