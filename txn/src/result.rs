//! The result digest of DESIGN.md's vocabulary, over the backend messages that a client received.
//!
//! The client computes it from what it saw, every replica from what its own PostgreSQL said: one function for both, so
//! that a master cannot send rows to the one and their digest to the others.

use bytes::Bytes;
use consensus::Digest;

/// BLAKE3 of what a statement came to: the command tag, the multiset of DataRow and CopyData bodies and how they are to be
/// read (names, types and formats of columns, types of parameters), or the SQLSTATE alone (how many rows went out before an
/// error depends on their physical order, which replicas do not share). Notices do not count, nor do OIDs that a replica gave by
/// itself. `order` names the output columns (from 0) by which the rows are ordered: then the sequence of their values counts too.
pub fn digest(frames: &[Bytes], order: Option<&[u16]>) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("steeldb 2026 result digest");
    if let Some(sqlstate) = frames.iter().find_map(sqlstate) {
        text(&mut hasher, b'E', &sqlstate);
        return Digest(*hasher.finalize().as_bytes());
    }
    let tag = frames.iter().rev().find(|f| f.first() == Some(&b'C'));
    text(
        &mut hasher,
        b'C',
        tag.and_then(|f| f.get(5..)).unwrap_or(b""),
    );
    descriptions(&mut hasher, frames);
    let mut rows: Vec<[u8; 32]> = frames
        .iter()
        .filter(|f| matches!(f.first(), Some(b'D' | b'd')))
        .map(|f| *blake3::hash(f).as_bytes())
        .collect();
    rows.sort_unstable();
    hasher.update(&(rows.len() as u64).to_be_bytes());
    for row in &rows {
        hasher.update(row);
    }
    if let Some(order) = order {
        sequence(&mut hasher, frames, order);
    }
    Digest(*hasher.finalize().as_bytes())
}

/// OIDs from here on are given by each server (PostgreSQL's FirstNormalObjectId).
const FIRST_OWN_OID: u32 = 16_384;

/// Everything else that a client goes by, each at its place among the rows: a driver begins anew at a description, and takes an
/// empty query's answer for the end. Notices and reports of settings are left out; NoData counts where it is not the only word.
fn descriptions(hasher: &mut blake3::Hasher, frames: &[Bytes]) {
    let described = |f: &&Bytes| matches!(f.first(), Some(b'T' | b'n'));
    let contested = frames.iter().filter(described).count() > 1;
    let mut rows: u64 = 0;
    for frame in frames {
        let counts = match frame.first() {
            Some(b'D' | b'd') => {
                rows += 1;
                false
            }
            Some(b'T' | b't' | b'I' | b'G' | b'H' | b'c' | b's') => true,
            Some(b'n') => contested,
            _ => false,
        };
        if counts {
            text(hasher, b'@', &rows.to_be_bytes());
            description(hasher, frame);
        }
    }
}

/// How rows and parameters are to be read: a client that was told other types reads other values out of the same bytes, one that
/// was told other names takes one column for another. Of a column the table, its attribute and the type's size are left out: the
/// first are numbers of the server's own, the last follows from the type. What is malformed counts as it is.
fn description(hasher: &mut blake3::Hasher, frame: &[u8]) {
    match frame.first() {
        Some(b'T') => {
            let fields = columns_of_description(frame);
            text(hasher, b'T', frame.get(5..7).unwrap_or_default());
            text(hasher, b'#', &(fields.len() as u64).to_be_bytes());
            for (name, field) in fields {
                text(hasher, b'N', name);
                type_of(hasher, field.get(6..10));
                // The modifier and the format.
                text(hasher, b'F', field.get(12..).unwrap_or_default());
            }
        }
        Some(b't') => {
            let types = frame.get(7..).unwrap_or_default().chunks(4);
            text(hasher, b't', frame.get(5..7).unwrap_or_default());
            text(hasher, b'#', &(types.len() as u64).to_be_bytes());
            types.for_each(|oid| type_of(hasher, Some(oid)));
        }
        // What follows has no numbers of a server's own.
        kind => {
            text(
                hasher,
                kind.copied().unwrap_or(0),
                frame.get(5..).unwrap_or_default(),
            );
        }
    }
}

fn type_of(hasher: &mut blake3::Hasher, oid: Option<&[u8]>) {
    let oid = oid.and_then(|oid| <[u8; 4]>::try_from(oid).ok());
    let oid = oid.map(|oid| u32::from_be_bytes(oid).min(FIRST_OWN_OID));
    text(hasher, b'O', &oid.unwrap_or(u32::MAX).to_be_bytes());
}

/// The names of a RowDescription's columns with the 18 bytes that follow each; a malformed one ends in what it has.
fn columns_of_description(frame: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut fields = Vec::new();
    let mut rest = frame.get(7..).unwrap_or_default();
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let after = after.get(1..).unwrap_or_default();
        let (field, next) = after.split_at(after.len().min(18));
        fields.push((name, field));
        rest = next;
    }
    fields
}

/// Whether every element is one backend message, whole, of a kind that a statement's outcome may hold. Messages of the
/// other kinds are not counted by [`digest`], so a liar could ride rows on the back of a notice, or tell a client that
/// it is at the end of its answers; what is not whole is never forwarded.
pub fn is_whole(frames: &[Bytes]) -> bool {
    frames.iter().all(|frame| {
        let length = frame.get(1..5).and_then(|l| <[u8; 4]>::try_from(l).ok());
        length.is_some_and(|length| u32::from_be_bytes(length) as usize + 1 == frame.len())
            && b"CDEGHINSTcdnt".contains(&frame[0])
    })
}

/// The SQLSTATE of an ErrorResponse frame.
pub fn sqlstate(frame: &Bytes) -> Option<Bytes> {
    error_field(frame, b'C')
}

/// One field of an ErrorResponse frame.
pub fn error_field(frame: &Bytes, wanted: u8) -> Option<Bytes> {
    if frame.first() != Some(&b'E') {
        return None;
    }
    let mut at = 5;
    loop {
        let kind = *frame.get(at)?;
        let rest = frame.get(at + 1..)?;
        let end = rest.iter().position(|b| *b == 0)?;
        if kind == 0 {
            return None;
        }
        if kind == wanted {
            return Some(frame.slice(at + 1..at + 1 + end));
        }
        at += end + 2;
    }
}

fn text(hasher: &mut blake3::Hasher, kind: u8, value: &[u8]) {
    hasher.update(&[kind]);
    hasher.update(&(value.len() as u64).to_be_bytes());
    hasher.update(value);
}

fn sequence(hasher: &mut blake3::Hasher, frames: &[Bytes], order: &[u16]) {
    hasher.update(&(order.len() as u64).to_be_bytes());
    for frame in frames.iter().filter(|f| f.first() == Some(&b'D')) {
        let values = columns(frame);
        for column in order {
            match values.get(usize::from(*column)) {
                Some(Some(value)) => text(hasher, 1, value),
                Some(None) => text(hasher, 0, b""),
                None => text(hasher, 2, b""),
            }
        }
    }
}

/// The values of a DataRow frame; a malformed row ends where it stops making sense.
fn columns(frame: &[u8]) -> Vec<Option<&[u8]>> {
    let mut values = Vec::new();
    let Some(count) = frame.get(5..7) else {
        return values;
    };
    let mut at = 7;
    for _ in 0..u16::from_be_bytes([count[0], count[1]]) {
        let Some(length) = frame.get(at..at + 4) else {
            break;
        };
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        at += 4;
        let Ok(length) = usize::try_from(length) else {
            values.push(None);
            continue;
        };
        let Some(value) = frame.get(at..at.saturating_add(length)) else {
            break;
        };
        values.push(Some(value));
        at += length;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Bytes {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes.into()
    }

    fn row(values: &[Option<&str>]) -> Bytes {
        let mut body = (values.len() as u16).to_be_bytes().to_vec();
        for value in values {
            match value {
                Some(text) => {
                    body.extend_from_slice(&(text.len() as i32).to_be_bytes());
                    body.extend_from_slice(text.as_bytes());
                }
                None => body.extend_from_slice(&(-1i32).to_be_bytes()),
            }
        }
        frame(b'D', &body)
    }

    fn tag(text: &str) -> Bytes {
        frame(b'C', format!("{text}\0").as_bytes())
    }

    #[test]
    fn what_hides_behind_a_message_is_not_whole() {
        let (notice, hidden) = (frame(b'N', b"\0"), row(&[Some("1")]));
        assert!(is_whole(&[notice.clone(), hidden.clone(), tag("SELECT 1")]));
        assert!(!is_whole(&[
            [notice, hidden.clone()].concat().into(),
            tag("SELECT 0")
        ]));
        assert!(!is_whole(&[hidden.slice(..hidden.len() - 1)]));
        assert!(!is_whole(&[frame(b'Z', b"I")]));
        assert!(!is_whole(&[Bytes::new()]));
    }

    /// A RowDescription of one column.
    fn described(name: &str, table: u32, oid: u32, modifier: i32, format: i16) -> Bytes {
        let mut body = 1u16.to_be_bytes().to_vec();
        body.extend_from_slice(format!("{name}\0").as_bytes());
        body.extend_from_slice(&table.to_be_bytes());
        body.extend_from_slice(&3i16.to_be_bytes());
        body.extend_from_slice(&oid.to_be_bytes());
        body.extend_from_slice(&8i16.to_be_bytes());
        body.extend_from_slice(&modifier.to_be_bytes());
        body.extend_from_slice(&format.to_be_bytes());
        frame(b'T', &body)
    }

    #[test]
    fn how_rows_are_to_be_read_counts_and_the_servers_own_numbers_do_not() {
        let of = |description| digest(&[description, row(&[Some("1")]), tag("SELECT 1")], None);
        let right = of(described("balance", 16_400, 20, -1, 1));
        assert_eq!(of(described("balance", 16_999, 20, -1, 1)), right);
        let own = of(described("mood", 16_400, 16_500, -1, 0));
        assert_eq!(of(described("mood", 16_400, 99_999, -1, 0)), own);
        for other in [
            described("debt", 16_400, 20, -1, 1),
            described("balance", 16_400, 701, -1, 1),
            described("balance", 16_400, 16_500, -1, 1),
            described("balance", 16_400, 20, 7, 1),
            described("balance", 16_400, 20, -1, 0),
            frame(b'n', b""),
        ] {
            assert_ne!(of(other), right);
        }
        let (described, row, tag) = (
            described("balance", 16_400, 20, -1, 1),
            row(&[Some("1")]),
            tag("SELECT 1"),
        );
        let none = frame(b'n', b"");
        let mut one_of_two = described.to_vec();
        one_of_two[6] = 2;
        for other in [
            vec![row.clone(), described.clone(), tag.clone()],
            vec![described.clone(), none.clone(), row.clone(), tag.clone()],
            vec![
                described.clone(),
                row.clone(),
                tag.clone(),
                frame(b'I', b""),
            ],
            vec![one_of_two.into(), row.clone(), tag.clone()],
            vec![
                described.clone(),
                frame(b'H', b"\0\0\x01\0\0"),
                row.clone(),
                tag.clone(),
            ],
        ] {
            assert_ne!(digest(&other, None), right, "{other:?}");
        }
        assert_eq!(digest(&[none, tag.clone()], None), digest(&[tag], None));
        let parameters = |oids: &[u32]| {
            let mut body = (oids.len() as u16).to_be_bytes().to_vec();
            oids.iter()
                .for_each(|oid| body.extend_from_slice(&oid.to_be_bytes()));
            digest(&[frame(b't', &body), frame(b'n', b"")], None)
        };
        assert_ne!(parameters(&[20]), parameters(&[701]));
        assert_ne!(parameters(&[20]), parameters(&[]));
        assert_ne!(parameters(&[20, 25]), parameters(&[25, 20]));
        assert_eq!(parameters(&[16_500]), parameters(&[16_501]));
    }

    #[test]
    fn rows_are_a_multiset_unless_an_order_is_named() {
        let (a, b) = (row(&[Some("1"), Some("x")]), row(&[Some("2"), Some("x")]));
        let one = [a.clone(), b.clone(), tag("SELECT 2")];
        let other = [b, a, tag("SELECT 2")];
        assert_eq!(digest(&one, None), digest(&other, None));
        assert_eq!(digest(&one, Some(&[1])), digest(&other, Some(&[1])));
        assert_ne!(digest(&one, Some(&[0])), digest(&other, Some(&[0])));
    }

    #[test]
    fn tag_null_value_boundaries_and_multiplicity_count() {
        let results = [
            vec![row(&[Some("ab"), Some("c")]), tag("SELECT 1")],
            vec![row(&[Some("a"), Some("bc")]), tag("SELECT 1")],
            vec![row(&[None, Some("abc")]), tag("SELECT 1")],
            vec![row(&[Some(""), Some("abc")]), tag("SELECT 1")],
            vec![row(&[Some("ab"), Some("c")]), tag("UPDATE 1")],
            vec![
                row(&[Some("ab"), Some("c")]),
                row(&[Some("ab"), Some("c")]),
                tag("SELECT 1"),
            ],
            vec![tag("SELECT 1")],
            vec![frame(b'E', b"SERROR\0C23505\0Mduplicate\0\0")],
            vec![frame(b'E', b"SERROR\0C23503\0Mduplicate\0\0")],
        ];
        for (i, one) in results.iter().enumerate() {
            for other in &results[..i] {
                assert_ne!(digest(one, Some(&[0, 1])), digest(other, Some(&[0, 1])));
                assert_ne!(digest(one, None), digest(other, None));
            }
        }
    }

    #[test]
    fn of_an_error_only_the_sqlstate_counts() {
        let one = [
            row(&[Some("1")]),
            frame(b'E', b"SERROR\0C22012\0Mdivision by zero\0\0"),
        ];
        let other = [frame(b'E', b"SFEHLER\0C22012\0MDivision durch Null\0\0")];
        assert_eq!(digest(&one, None), digest(&other, None));
    }

    #[test]
    fn malformed_frames_are_hashed_without_a_panic() {
        for bytes in [
            &b"D"[..],
            b"D\0\0\0\x06\xff\xff",
            b"D\0\0\0\x0a\0\x01\x7f\xff\xff\xff",
            b"E\0\0",
            b"T",
            b"T\0\0\0\x09\0\x01abc",
            b"T\0\0\0\x09\0\x01a\0\x01",
            b"t\0\0\0\x09\0\x01a",
            b"",
        ] {
            digest(&[Bytes::copy_from_slice(bytes)], Some(&[0, 9]));
        }
    }
}
