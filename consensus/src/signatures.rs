//! Ed25519 verification of requests, many at once, with one outcome for all.
//!
//! The usual batch rule (without the cofactor) accepts, by chance, signatures that
//! the single rule refuses. A Byzantine client could craft one that a leader
//! accepts and its followers refuse, and so depose leaders at will. Here one request
//! alone and in any company is judged by the same *cofactored* equation,
//! `[8](s·B − R − k·A) = 0`, summed with coefficients drawn from a hash of the whole
//! batch; `s` must be canonical, points must decode. (Chalkias, Garillot,
//! Nikolaenko: "Taming the many EdDSAs", 2020.)

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use sha2::{Digest as _, Sha512};

use crate::crypto::{PublicKey, Signature};

/// "`key` signed `message` with `signature`", to be checked.
pub(crate) struct Claim {
    pub key: PublicKey,
    pub message: Vec<u8>,
    pub signature: Signature,
}

/// A claim, decoded: `z` weighs it against the others.
struct Term {
    key: PublicKey,
    r: EdwardsPoint,
    s: Scalar,
    k: Scalar,
    z: Scalar,
}

/// Decoded keys: decoding takes a tenth of a verification.
pub(crate) type Points = BTreeMap<PublicKey, EdwardsPoint>;

/// One verdict per claim (`None` in, `false` out). Keys are looked up in `keys` and added to it.
pub(crate) fn verify(claims: &[Option<Claim>], keys: &mut Points) -> Vec<bool> {
    let mut transcript = blake3::Hasher::new();
    let mut terms = Vec::with_capacity(claims.len());
    let mut valid = vec![false; claims.len()];
    for (at, claim) in claims.iter().enumerate() {
        #[cfg(feature = "memo")]
        if let Some(Claim {
            key,
            message,
            signature,
        }) = claim
            && crate::memo::knows(key, message, signature)
        {
            valid[at] = true;
            continue;
        }
        if let Some(term) = claim
            .as_ref()
            .and_then(|claim| decode(claim, keys, &mut transcript))
        {
            terms.push((at, term));
        }
    }
    weigh(&mut terms, &transcript);
    judge(&terms, keys, &mut valid);
    valid
}

fn decode(claim: &Claim, keys: &mut Points, transcript: &mut blake3::Hasher) -> Option<Term> {
    let (r_bytes, s_bytes) = claim.signature.0.split_at(32);
    let s_bytes: [u8; 32] = s_bytes.try_into().expect("the second half of 64 bytes");
    let s: Scalar = Option::from(Scalar::from_canonical_bytes(s_bytes))?;
    let r = CompressedEdwardsY::from_slice(r_bytes).ok()?.decompress()?;
    if let Entry::Vacant(unknown) = keys.entry(claim.key) {
        unknown.insert(CompressedEdwardsY(claim.key.0).decompress()?);
    }
    let mut hash = Sha512::new();
    hash.update(r_bytes);
    hash.update(claim.key.0);
    hash.update(&claim.message);
    let hram: [u8; 64] = hash.finalize().into();
    transcript.update(&hram);
    transcript.update(&s_bytes);
    let k = Scalar::from_bytes_mod_order_wide(&hram);
    Some(Term {
        key: claim.key,
        r,
        s,
        k,
        z: Scalar::ONE,
    })
}

/// Draws each term's 128-bit coefficient from the hash of all of them: whoever
/// chose the signatures could not know it.
fn weigh(terms: &mut [(usize, Term)], transcript: &blake3::Hasher) {
    let mut stream = transcript.finalize_xof();
    let mut bytes = [0u8; 16];
    for (_, term) in terms {
        stream.fill(&mut bytes);
        term.z = Scalar::from(u128::from_le_bytes(bytes) | 1);
    }
}

/// Accepts all terms, or finds the bad ones by halving.
fn judge(terms: &[(usize, Term)], keys: &Points, valid: &mut [bool]) {
    if terms.is_empty() {
        return;
    }
    if holds(terms, keys) {
        for (at, _) in terms {
            valid[*at] = true;
        }
    } else if terms.len() > 1 {
        let (left, right) = terms.split_at(terms.len() / 2);
        judge(left, keys, valid);
        judge(right, keys, valid);
    }
}

/// `[8] Σ z(s·B − R − k·A) = 0`, with one addend per distinct key.
fn holds(terms: &[(usize, Term)], keys: &Points) -> bool {
    if let [(_, term)] = terms {
        return holds_alone(term, &keys[&term.key]);
    }
    let mut base = Scalar::ZERO;
    let mut per_key: BTreeMap<PublicKey, Scalar> = BTreeMap::new();
    for (_, term) in terms {
        base += term.z * term.s;
        *per_key.entry(term.key).or_insert(Scalar::ZERO) += term.z * term.k;
    }
    let scalars = std::iter::once(-base)
        .chain(terms.iter().map(|(_, term)| term.z))
        .chain(per_key.values().copied());
    let points = std::iter::once(ED25519_BASEPOINT_POINT)
        .chain(terms.iter().map(|(_, term)| term.r))
        .chain(per_key.keys().map(|key| keys[key]));
    EdwardsPoint::vartime_multiscalar_mul(scalars, points)
        .mul_by_cofactor()
        .is_identity()
}

/// The same for one term: z is invertible and 8 kills what is of small order, so it can be left out.
fn holds_alone(term: &Term, key: &EdwardsPoint) -> bool {
    let r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&term.k, &-key, &term.s);
    (r - term.r).mul_by_cofactor().is_identity()
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;
    use ed25519_dalek::SigningKey;

    use super::*;

    /// A signature whose R carries a point of small order, as only the owner of
    /// the key can make it.
    fn torsioned(seed: u8, torsion: usize) -> Claim {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = PublicKey::of(&key);
        let message = vec![seed; 40];
        let nonce = Scalar::from(1_000 + u64::from(seed));
        let r = (ED25519_BASEPOINT_POINT * nonce + EIGHT_TORSION[torsion]).compress();
        let mut hash = Sha512::new();
        hash.update(r.as_bytes());
        hash.update(public.0);
        hash.update(&message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let s = nonce + k * key.to_scalar();
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(r.as_bytes());
        signature[32..].copy_from_slice(s.as_bytes());
        Claim {
            key: public,
            message,
            signature: Signature(signature),
        }
    }

    #[test]
    fn a_crafted_signature_is_judged_the_same_alone_and_in_any_company() {
        for torsion in 0..8 {
            let alone = verify(&[Some(torsioned(1, torsion))], &mut Points::new());
            for company in 1..20 {
                let mut claims: Vec<_> = (2..2 + company)
                    .map(|seed| Some(torsioned(seed, 0)))
                    .collect();
                claims.push(Some(torsioned(1, torsion)));
                let verdicts = verify(&claims, &mut Points::new());
                assert_eq!(
                    verdicts.last(),
                    alone.last(),
                    "torsion {torsion}, company {company}"
                );
            }
        }
    }

    #[test]
    fn a_signature_by_another_key_or_of_another_message_is_refused_alone_and_in_company() {
        let mut of_another_message = torsioned(1, 0);
        of_another_message.message.push(0);
        let mut by_another_key = torsioned(2, 0);
        by_another_key.key = torsioned(3, 0).key;
        let claims = [
            Some(of_another_message),
            Some(by_another_key),
            Some(torsioned(4, 0)),
        ];
        let mut keys = Points::new();
        assert_eq!(verify(&claims, &mut keys), [false, false, true]);
        for (claim, verdict) in claims.into_iter().zip([false, false, true]) {
            assert_eq!(verify(&[claim], &mut keys), [verdict]);
        }
    }

    #[test]
    fn a_scalar_above_the_group_order_is_refused() {
        let mut claim = torsioned(1, 0);
        claim.signature.0[63] |= 0xf0;
        assert_eq!(verify(&[Some(claim)], &mut Points::new()), [false]);
    }
}
