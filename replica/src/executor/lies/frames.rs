//! How what PostgreSQL said is falsified.

use bytes::Bytes;
use txn::{Event, Evidence, SequenceUse, WriteSet};

/// PostgreSQL's numbers of int4 and float4, which are as long.
const INTEGER: [u8; 4] = 23u32.to_be_bytes();
const FLOAT: [u8; 4] = 700u32.to_be_bytes();

/// The rows that a write set leaves.
pub fn rows_of(set: &mut WriteSet) -> impl Iterator<Item = &mut String> {
    let rows = set.events.iter_mut().filter_map(|event| match event {
        Event::Rows { new, .. } => Some(new),
        _ => None,
    });
    rows.flatten()
}

/// The last digit of a command's tag, its number of rows, with one more.
pub fn one_more(frame: &mut Bytes) {
    let mut tag = frame.to_vec();
    if tag.first() != Some(&b'C') {
        return;
    }
    if let Some(digit) = tag.iter_mut().rev().find(|byte| byte.is_ascii_digit()) {
        *digit = b'0' + (*digit - b'0' + 1) % 10;
    }
    *frame = tag.into();
}

/// Every year of this century in the text, a century later.
pub fn later(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for at in 0..text.len().saturating_sub(4) {
        let year = text[at..at + 4].iter().all(u8::is_ascii_digit) && text[at + 4] == b'-';
        if year && text[at..at + 2] == *b"20" {
            text[at + 1] = b'1';
        }
    }
    text
}

pub fn a_century_later(row: &str) -> String {
    // Digits for digits.
    String::from_utf8_lossy(&later(row.as_bytes())).into_owned()
}

/// The row with one bit of its last value flipped.
pub fn altered(row: &Bytes) -> Bytes {
    let mut row = row.to_vec();
    if let Some(last) = row.last_mut() {
        *last ^= 1;
    }
    row.into()
}

/// A RowDescription whose columns have other names: the last letter is the next one.
pub fn misnamed(frame: &mut Bytes) {
    let mut bytes = frame.to_vec();
    for (name, _) in columns(&mut bytes) {
        if let Some(last) = name.last_mut() {
            *last += 1;
        }
    }
    *frame = bytes.into();
}

/// A RowDescription or ParameterDescription in which integers are floats.
pub fn mistyped(frame: &mut Bytes) {
    let mut bytes = frame.to_vec();
    let integer = |oid: &mut [u8]| {
        if oid == INTEGER {
            oid.copy_from_slice(&FLOAT);
        }
    };
    if bytes.first() == Some(&b't') {
        bytes[7..].chunks_exact_mut(4).for_each(integer);
    }
    for (_, field) in columns(&mut bytes) {
        integer(&mut field[6..10]);
    }
    *frame = bytes.into();
}

/// The columns of a RowDescription: their names, and what follows each.
fn columns(frame: &mut [u8]) -> Vec<(&mut [u8], &mut [u8])> {
    let mut found = Vec::new();
    if frame.first() != Some(&b'T') {
        return found;
    }
    let mut rest = &mut frame[7..];
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (name, after) = rest.split_at_mut(end);
        let (field, next) = after[1..].split_at_mut(18);
        found.push((name, field));
        rest = next;
    }
    found
}

/// Sequences gave values further on.
pub fn ahead(evidence: &mut Evidence) {
    for what in evidence.sequences.iter_mut().flat_map(|s| &mut s.uses) {
        if let SequenceUse::Given { first, .. } = what {
            *first += 1_000;
        }
    }
}

/// Sequences went round before they gave anything.
pub fn round(evidence: &mut Evidence) {
    for values in &mut evidence.sequences {
        values.uses.insert(0, SequenceUse::Cycled);
    }
}
