//! Strict Ed25519 verification, as `ed25519_dalek::VerifyingKey::verify_strict` judges, in two thirds of its time.
//!
//! Two of its three exponentiations are left out. A key is decoded once and kept: all that is verified here is signed by a few members and
//! clients. And `s·B − k·A` is compared with R as a point instead of being encoded first, since R is decoded anyway (to refuse it if it is of
//! small order). Its encoding is unique then, as comparing bytes demands, if its y is below p: the other way to write a point twice, a
//! sign bit for x = 0, concerns points of small order only.

use std::cell::RefCell;
use std::collections::BTreeMap;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest as _, Sha512};

use crate::crypto::{PublicKey, Signature};

/// Keys remembered, about 200 bytes each, before all are forgotten.
const ROOM: usize = 1 << 10;

thread_local! {
    /// Each key's point with its sign turned; none for what is no key, or of small order.
    static KEYS: RefCell<BTreeMap<PublicKey, Option<EdwardsPoint>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Whether the owner of `key` signed `message`.
pub(crate) fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    judge(key, message, signature).unwrap_or(false)
}

fn judge(key: &PublicKey, message: &[u8], signature: &Signature) -> Option<bool> {
    let (r_bytes, s_bytes) = signature.0.split_first_chunk::<32>()?;
    let s: Scalar = Option::from(Scalar::from_canonical_bytes(s_bytes.try_into().ok()?))?;
    let minus_key = decoded(key)?;
    let r = large(r_bytes).filter(|_| is_canonical(r_bytes))?;
    let mut hash = Sha512::new();
    hash.update(r_bytes);
    hash.update(key.0);
    hash.update(message);
    let hash: [u8; 64] = hash.finalize().into();
    let k = Scalar::from_bytes_mod_order_wide(&hash);
    Some(EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &minus_key, &s) == r)
}

fn decoded(key: &PublicKey) -> Option<EdwardsPoint> {
    KEYS.with_borrow_mut(|keys| {
        if keys.len() >= ROOM {
            keys.clear();
        }
        *keys
            .entry(*key)
            .or_insert_with(|| large(&key.0).map(|point| -point))
    })
}

/// The point, if it is one and not of small order.
fn large(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    let point = CompressedEdwardsY(*bytes).decompress()?;
    (!point.is_small_order()).then_some(point)
}

/// Whether y, the lower 255 bits, is below p = 2^255 - 19.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = bytes;
    last & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff) || *first < 0xed
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

    use super::*;

    fn by_library(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        VerifyingKey::from_bytes(&key.0)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }

    /// Both verdicts, which are one.
    fn both(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let verdict = verify(key, message, signature);
        let library = by_library(key, message, signature);
        assert_eq!(verdict, library, "{key} {message:?} {:?}", signature.0);
        // And when the key is known.
        assert_eq!(verify(key, message, signature), verdict);
        verdict
    }

    fn signed(seed: u8, message: &[u8]) -> (PublicKey, Signature) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        (PublicKey::of(&key), Signature(key.sign(message).to_bytes()))
    }

    fn challenge(r: &[u8; 32], key: &PublicKey, message: &[u8]) -> Scalar {
        let mut hash = Sha512::new();
        hash.update(r);
        hash.update(key.0);
        hash.update(message);
        Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
    }

    #[test]
    fn a_good_signature_is_one_and_no_bit_of_it_may_differ() {
        let (key, signature) = signed(1, b"message");
        assert!(both(&key, b"message", &signature));
        assert!(!both(&key, b"massage", &signature));
        assert!(!both(&signed(2, b"").0, b"message", &signature));
        for bit in 0..512 {
            let mut bad = signature;
            bad.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!both(&key, b"message", &bad), "bit {bit}");
        }
        for bit in 0..256 {
            let mut other = key;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!both(&other, b"message", &signature), "bit {bit}");
        }
    }

    #[test]
    fn what_carries_a_point_of_small_order_is_judged_as_the_library_does() {
        let secret = SigningKey::from_bytes(&[3; 32]);
        let scalar = secret.to_scalar();
        let nonce = Scalar::from(77u64);
        let mut good = 0;
        for (of_r, in_r) in EIGHT_TORSION.iter().enumerate() {
            for (of_key, in_key) in EIGHT_TORSION.iter().enumerate() {
                let key = ED25519_BASEPOINT_POINT * scalar + in_key;
                let key = PublicKey(key.compress().0);
                let r = (ED25519_BASEPOINT_POINT * nonce + in_r).compress().0;
                for message in 0..8u8 {
                    let s = nonce + challenge(&r, &key, &[message]) * scalar;
                    let signature = [r, s.to_bytes()].concat().try_into().unwrap();
                    let verdict = both(&key, &[message], &Signature(signature));
                    good += usize::from(verdict);
                    assert!(verdict || (of_r, of_key) != (0, 0));
                }
            }
        }
        // Not only those without such a point: what k takes from the key may meet what R has.
        assert!(good > 8, "{good}");
    }

    #[test]
    fn keys_and_rs_of_small_order_and_every_way_to_write_them_are_refused() {
        let mut encodings: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|p| p.compress().0).collect();
        let p_and_more = |above: u8| {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (0xed + above, 0x7f);
            bytes
        };
        encodings.extend((0..19).map(p_and_more));
        for at in 0..encodings.len() {
            let mut other_sign = encodings[at];
            other_sign[31] ^= 0x80;
            encodings.push(other_sign);
        }
        let (key, signature) = signed(4, b"m");
        for encoding in encodings {
            let zero = [encoding, [0; 32]].concat().try_into().unwrap();
            let kept_s = [&encoding[..], &signature.0[32..]].concat();
            let kept_s = Signature(kept_s.try_into().unwrap());
            for signature in [Signature(zero), kept_s, signature] {
                assert!(!both(&PublicKey(encoding), b"m", &signature));
            }
            assert!(!both(&key, b"m", &kept_s));
        }
    }

    #[test]
    fn an_s_that_is_not_reduced_is_refused() {
        // The order of the group, as it is added to s: the same residue.
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let (key, signature) = signed(5, b"m");
        let mut malleable = signature;
        let mut carry = 0;
        for (byte, add) in malleable.0[32..].iter_mut().zip(ORDER) {
            carry += u16::from(*byte) + u16::from(add);
            *byte = carry as u8;
            carry >>= 8;
        }
        assert!(both(&key, b"m", &signature));
        assert!(!both(&key, b"m", &malleable));
    }

    #[test]
    fn only_one_encoding_of_a_y_is_canonical() {
        let mut bytes = [0xff; 32];
        for (first, last, canonical) in [
            (0xec, 0x7f, true),
            (0xed, 0x7f, false),
            (0xff, 0x7f, false),
            (0xec, 0xff, true),
            (0xed, 0xff, false),
            (0xff, 0x7e, true),
            (0xff, 0xfe, true),
        ] {
            (bytes[0], bytes[31]) = (first, last);
            assert_eq!(is_canonical(&bytes), canonical, "{first:x} {last:x}");
        }
        (bytes[0], bytes[17], bytes[31]) = (0xff, 0xfe, 0x7f);
        assert!(is_canonical(&bytes));
    }

    #[test]
    fn keys_are_forgotten_and_decoded_again() {
        let (key, signature) = signed(6, b"m");
        for number in 0..3 * ROOM as u64 {
            let mut unknown = PublicKey([9; 32]);
            unknown.0[..8].copy_from_slice(&number.to_le_bytes());
            let _ = verify(&unknown, b"m", &signature);
            KEYS.with_borrow(|keys| assert!(keys.len() <= ROOM));
        }
        assert!(both(&key, b"m", &signature));
    }
}
