//! Signatures made in this thread, for the simulator: it plays all signers itself, so what one
//! of them signed need not be verified again by arithmetic. In builds with the feature `memo` only.
//! A signature that was not made here is verified as ever, so every outcome is the same.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::crypto::{PublicKey, Signature};

/// Signatures remembered before all are forgotten.
const ROOM: usize = 1 << 16;

thread_local! {
    static MADE: RefCell<BTreeSet<[u8; 32]>> = const { RefCell::new(BTreeSet::new()) };
}

fn name(key: &PublicKey, message: &[u8], signature: &Signature) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.0).update(&signature.0).update(message);
    *hasher.finalize().as_bytes()
}

/// Remembers a signature just made.
pub(crate) fn note(key: &PublicKey, message: &[u8], signature: &Signature) {
    MADE.with_borrow_mut(|made| {
        if made.len() >= ROOM {
            made.clear();
        }
        made.insert(name(key, message, signature));
    });
}

/// Whether it was made here.
pub(crate) fn knows(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    MADE.with_borrow(|made| made.contains(&name(key, message, signature)))
}
