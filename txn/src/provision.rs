//! Roles and extensions: an operation that only an administrator can want.
//!
//! An administrator's own requests are changes of the membership, so the transaction is another client's. The administrator signs the
//! request for that one transaction, and every replica looks at the signature before it executes, judges or answers.

use crate::{Operation, TxId};
use bytes::Bytes;
use consensus::{Signature, View};
use ed25519_dalek::{Signer, SigningKey};

/// The text of such an operation. Its first parameter is the signature, in whose place the replica puts its token; the
/// second is a JSON object that says what is wanted (see `steel.provision` in the schema `steel`).
pub const PROVISION: &str = "SELECT steel.provision($1, $2)";

/// The operation, signed by an administrator for this transaction.
pub fn sign(administrator: &SigningKey, tx: TxId, request: &str) -> Operation {
    let signature = administrator.sign(digest(tx, request.as_bytes()).as_bytes());
    Operation {
        // text and jsonb
        parameter_types: vec![25, 3802],
        parameters: vec![
            Some(encode(&signature.to_bytes())),
            Some(Bytes::copy_from_slice(request.as_bytes())),
        ],
        ..Operation::text(PROVISION)
    }
}

/// Whether an operation is one of these.
pub fn is_provision(operation: &Operation) -> bool {
    operation.sql == PROVISION
}

/// Whether an administrator of this view signed the operation for this transaction.
pub fn verify(operation: &Operation, tx: TxId, view: &View) -> bool {
    // In another form the bytes that were signed would not be those that PostgreSQL reads.
    let as_text = operation.parameter_types == [25, 3802]
        && operation.parameter_formats.is_empty()
        && !operation.describe_only;
    let [Some(signature), Some(request)] = operation.parameters.as_slice() else {
        return false;
    };
    let Some(signature) = decode(signature).filter(|_| as_text && is_provision(operation)) else {
        return false;
    };
    let digest = digest(tx, request);
    let keys = view.administrators.iter();
    let mut keys = keys.filter_map(|id| view.clients.get(id));
    keys.any(|key| key.verify_strict(digest.as_bytes(), &signature))
}

fn digest(tx: TxId, request: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("steeldb 2026 provision");
    hasher.update(&tx.client.0.to_be_bytes());
    hasher.update(&tx.incarnation.to_be_bytes());
    hasher.update(&tx.seq.to_be_bytes());
    hasher.update(request);
    hasher.finalize()
}

/// Two hexadecimal digits a byte.
fn encode(signature: &[u8; 64]) -> Bytes {
    let digits: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.into()
}

fn decode(digits: &[u8]) -> Option<Signature> {
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.len() != 128 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut signature = [0; 64];
    for (place, byte) in signature.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(Signature(signature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::{ClientId, PublicKey};

    #[test]
    fn only_an_administrators_signature_for_this_transaction_and_request_counts() {
        let (administrator, other) = (
            SigningKey::from_bytes(&[1; 32]),
            SigningKey::from_bytes(&[2; 32]),
        );
        let (chief, client) = (ClientId(65_537), ClientId(65_536));
        let key = |key: &SigningKey| PublicKey(key.verifying_key().to_bytes());
        let view = View {
            id: 0,
            f: 0,
            mode: Default::default(),
            fast: Default::default(),
            replicas: Default::default(),
            clients: [(client, key(&other)), (chief, key(&administrator))].into(),
            client_authentication: Default::default(),
            administrators: [chief].into(),
            contacts: Default::default(),
            first_leader: None,
        };
        let tx = TxId {
            client,
            incarnation: 3,
            seq: 4,
        };
        let good = sign(&administrator, tx, "{}");
        assert!(verify(&good, tx, &view));
        assert!(
            !verify(&sign(&other, tx, "{}"), tx, &view),
            "signed by an ordinary client"
        );
        assert!(
            !verify(&good, TxId { seq: 5, ..tx }, &view),
            "signed for another transaction"
        );
        type Change = fn(&mut Operation);
        let changes: [Change; 7] = [
            |operation| operation.parameters[1] = Some(Bytes::from_static(b"{ }")),
            |operation| operation.parameters[1] = None,
            |operation| operation.parameters[0] = Some(Bytes::from_static(b"")),
            |operation| operation.parameters.push(None),
            |operation| operation.parameter_formats = vec![1],
            |operation| operation.parameter_types = vec![25, 25],
            |operation| operation.sql.push(' '),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut operation = good.clone();
            change(&mut operation);
            assert!(!verify(&operation, tx, &view), "change {number}");
        }
        let nobody = View {
            administrators: Default::default(),
            ..view
        };
        assert!(!verify(&good, tx, &nobody));
    }
}
