//! The master's word: its signature over everything that it answered in a transaction (DESIGN.md, "Epochs are evidence").
//!
//! A client takes the word with each answer and hands the last one in with its Commit. Where a replica finds another result
//! at the transaction's snapshot, the word tells who lied: the master if it stands for what the client claims, else nobody
//! can say. A client that holds no valid word has nothing to show, so it does not commit.

use crate::operation::{Evidence, Operation, Step};
use crate::ordered::TxId;
use consensus::{PublicKey, Signature};
use ed25519_dalek::{Signer, SigningKey};

/// A running hash of what was asked and answered in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account([u8; 32]);

impl Account {
    /// Of a transaction in which nothing was answered yet.
    pub fn new(tx: TxId, epoch: u64) -> Account {
        let mut hasher = blake3::Hasher::new_derive_key("steeldb 2026 account of a transaction");
        hasher.update(&tx.client.0.to_be_bytes());
        hasher.update(&tx.incarnation.to_be_bytes());
        hasher.update(&tx.seq.to_be_bytes());
        hasher.update(&epoch.to_be_bytes());
        Account(*hasher.finalize().as_bytes())
    }

    /// Of these steps.
    pub fn of(tx: TxId, epoch: u64, steps: &[Step]) -> Account {
        let mut account = Account::new(tx, epoch);
        for step in steps {
            account.add(&step.operation, &step.evidence);
        }
        account
    }

    /// One more operation and what became of it. Whether the client wants it compared is not the master's to say.
    pub fn add(&mut self, operation: &Operation, evidence: &Evidence) {
        let mut hasher = blake3::Hasher::new_derive_key("steeldb 2026 step of an account");
        hasher.update(&self.0);
        let what = (
            operation,
            evidence.result,
            evidence.write,
            &evidence.sequences,
            &evidence.claims,
            evidence.schema_change,
            evidence.adds_only,
            evidence.failed,
        );
        postcard::to_io(&what, &mut hasher).expect("these types have no unserialisable parts");
        self.0 = *hasher.finalize().as_bytes();
    }

    /// The master's word for it.
    pub fn sign(&self, key: &SigningKey) -> Signature {
        Signature(key.sign(&self.text()).to_bytes())
    }

    /// Whether the owner of this key gave its word for it.
    pub fn is_signed(&self, word: &Signature, key: &PublicKey) -> bool {
        key.verify_strict(&self.text(), word)
    }

    /// What is signed: nothing else that a replica signs begins like this.
    fn text(&self) -> [u8; 64] {
        let mut text = [0; 64];
        text[..32].copy_from_slice(b"steeldb 2026 word of the master:");
        text[32..].copy_from_slice(&self.0);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Claims, SequenceUse, SequenceValues};
    use consensus::{ClientId, Digest};

    fn tx(seq: u64) -> TxId {
        TxId {
            client: ClientId(1 << 16),
            incarnation: 1,
            seq,
        }
    }

    fn steps() -> Vec<Step> {
        let evidence = Evidence {
            result: Digest([1; 32]),
            write: Digest([2; 32]),
            sequences: vec![SequenceValues {
                sequence: "s".into(),
                uses: vec![SequenceUse::Given { first: 1, count: 2 }],
            }],
            claims: Some(Claims {
                key: vec!["id".into()],
                rows: vec![vec!["1".into()]],
            }),
            schema_change: false,
            adds_only: false,
            failed: false,
            unvalidated: false,
        };
        let step = |sql: &str| Step {
            operation: Operation::text(sql),
            evidence: evidence.clone(),
        };
        vec![step("SELECT 1"), step("UPDATE t SET a = 1")]
    }

    #[test]
    fn a_word_holds_for_what_was_answered_and_for_nothing_else() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = PublicKey::of(&key);
        let word = Account::of(tx(1), 3, &steps()).sign(&key);
        let holds =
            |tx, epoch, steps: &[Step]| Account::of(tx, epoch, steps).is_signed(&word, &public);
        assert!(holds(tx(1), 3, &steps()));
        assert!(!holds(tx(2), 3, &steps()), "another transaction");
        assert!(!holds(tx(1), 4, &steps()), "another epoch");
        assert!(!holds(tx(1), 3, &steps()[..1]), "less");
        let changes: [fn(&mut Vec<Step>); 9] = [
            |s| s.swap(0, 1),
            |s| s[0].operation.sql.push(' '),
            |s| s[1].evidence.result = Digest([3; 32]),
            |s| s[1].evidence.write = Digest([3; 32]),
            |s| s[1].evidence.schema_change = true,
            |s| s[1].evidence.adds_only = true,
            |s| s[1].evidence.sequences[0].uses[0] = SequenceUse::Given { first: 1, count: 3 },
            |s| s[1].evidence.claims = None,
            |s| s.push(s[0].clone()),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut other = steps();
            change(&mut other);
            assert!(!holds(tx(1), 3, &other), "change {number}");
        }
        let mut uncompared = steps();
        uncompared[0].evidence.unvalidated = true;
        assert!(holds(tx(1), 3, &uncompared), "that is the client's word");
        let other = PublicKey::of(&SigningKey::from_bytes(&[8; 32]));
        assert!(!Account::of(tx(1), 3, &steps()).is_signed(&word, &other));
    }
}
