//! The result digest of DESIGN.md's vocabulary.

use crate::outcome::{Outcome, columns};
use crate::{ErrorFields, MultisetHash};

const RESULT: &[u8; 32] = b"SteelDB result digest, version 1";

impl Outcome {
    /// BLAKE3 of what the statement came to: the command tag and the multiset of DataRow and
    /// CopyData bodies, or the SQLSTATE alone (how many rows went out before an error depends on
    /// their physical order, which replicas do not share). Descriptions, and with them OIDs, and
    /// notices do not count.
    ///
    /// `order` names the output columns (from 0) by which the rows are ordered: then the sequence
    /// of their values counts too.
    pub fn result_digest(&self, order: Option<&[usize]>) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(RESULT);
        match (&self.error, &self.tag) {
            (Some(ErrorFields { sqlstate, .. }), _) => {
                text(&mut hasher, b'E', sqlstate);
                return *hasher.finalize().as_bytes();
            }
            (None, Some(tag)) => text(&mut hasher, b'C', tag),
            (None, None) => text(&mut hasher, b'-', ""),
        }
        let mut rows = MultisetHash::new();
        for frame in &self.frames {
            if let [kind @ (b'D' | b'd'), _, _, _, _, body @ ..] = &frame[..] {
                rows.add_parts(&[&[*kind], body]);
            }
        }
        hasher.update(&rows.finish());
        if let Some(order) = order {
            sequence(&mut hasher, self, order);
        }
        *hasher.finalize().as_bytes()
    }
}

fn text(hasher: &mut blake3::Hasher, kind: u8, value: &str) {
    hasher.update(&[kind]);
    hasher.update(&(value.len() as u64).to_be_bytes());
    hasher.update(value.as_bytes());
}

fn sequence(hasher: &mut blake3::Hasher, outcome: &Outcome, order: &[usize]) {
    hasher.update(&(order.len() as u64).to_be_bytes());
    for frame in outcome.frames.iter().filter(|f| f.first() == Some(&b'D')) {
        let values: Vec<_> = columns(frame).collect();
        for &column in order {
            match values.get(column) {
                Some(Some(range)) => {
                    hasher.update(&[1]);
                    hasher.update(&(range.len() as u64).to_be_bytes());
                    hasher.update(&frame[range.clone()]);
                }
                Some(None) => {
                    hasher.update(&[0]);
                }
                None => {
                    hasher.update(&[2]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, Bytes, BytesMut};

    fn row(values: &[Option<&str>]) -> Bytes {
        let mut body = BytesMut::new();
        body.put_u16(values.len() as u16);
        for value in values {
            match value {
                Some(text) => {
                    body.put_i32(text.len() as i32);
                    body.put_slice(text.as_bytes());
                }
                None => body.put_i32(-1),
            }
        }
        let mut frame = BytesMut::new();
        frame.put_u8(b'D');
        frame.put_i32(body.len() as i32 + 4);
        frame.extend_from_slice(&body);
        frame.freeze()
    }

    fn outcome(tag: &str, rows: &[Bytes]) -> Outcome {
        Outcome {
            frames: rows.to_vec(),
            tag: Some(tag.into()),
            ..Outcome::default()
        }
    }

    #[test]
    fn rows_are_a_multiset_unless_an_order_is_named() {
        let (a, b) = (row(&[Some("1"), Some("x")]), row(&[Some("2"), Some("x")]));
        let one = outcome("SELECT 2", &[a.clone(), b.clone()]);
        let other = outcome("SELECT 2", &[b, a]);
        assert_eq!(one.result_digest(None), other.result_digest(None));
        assert_eq!(
            one.result_digest(Some(&[1])),
            other.result_digest(Some(&[1]))
        );
        assert_ne!(
            one.result_digest(Some(&[0])),
            other.result_digest(Some(&[0]))
        );
    }

    #[test]
    fn tag_null_and_value_boundaries_count() {
        let digests = [
            outcome("SELECT 1", &[row(&[Some("ab"), Some("c")])]),
            outcome("SELECT 1", &[row(&[Some("a"), Some("bc")])]),
            outcome("SELECT 1", &[row(&[None, Some("abc")])]),
            outcome("SELECT 1", &[row(&[Some(""), Some("abc")])]),
            outcome("UPDATE 1", &[row(&[Some("ab"), Some("c")])]),
            outcome("SELECT 1", &[]),
        ];
        for order in [None, Some(&[0usize, 1][..])] {
            for (i, one) in digests.iter().enumerate() {
                for other in &digests[..i] {
                    assert_ne!(one.result_digest(order), other.result_digest(order));
                }
            }
        }
    }

    #[test]
    fn malformed_rows_are_hashed_without_a_panic() {
        for bytes in [
            &b"D"[..],
            b"D\0\0\0\x04",
            b"D\0\0\0\x06\xff\xff",
            b"D\0\0\0\x0a\0\x01\x7f\xff\xff\xff",
        ] {
            let odd = outcome("SELECT 1", &[Bytes::copy_from_slice(bytes)]);
            odd.result_digest(Some(&[0, 9]));
            odd.values().for_each(drop);
        }
    }
}
