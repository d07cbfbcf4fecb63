//! A log in bytes: each entry with its length and checksum, so that a torn or altered tail ends
//! the log instead of being believed.

use consensus::{Decided, Record};

use crate::disk::Entry;

const HEAD: usize = 4 + 1 + 8;

/// The bytes of entries.
pub fn write(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let (kind, payload) = match entry {
            Entry::Record(id, record) => (0, postcard::to_stdvec(&(*id, record))),
            Entry::Decided(decided) => (1, postcard::to_stdvec(decided)),
        };
        let payload = payload.expect("writing plain data to memory cannot fail");
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(&checksum(kind, &payload));
        bytes.extend_from_slice(&payload);
    }
    bytes
}

/// The entries before the first one that is torn or altered. One whose checksum holds
/// but that does not decode is a defect of the encoding.
pub fn read(mut bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(HEAD) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        if head[5..] != checksum(head[4], payload) {
            break;
        }
        entries.push(decode(head[4], payload)?);
        bytes = rest;
    }
    Ok(entries)
}

fn decode(kind: u8, payload: &[u8]) -> Result<Entry, String> {
    let entry = if kind == 0 {
        postcard::from_bytes::<(u64, Record)>(payload).map(|(id, r)| Entry::Record(id, r))
    } else {
        postcard::from_bytes::<Decided>(payload).map(Entry::Decided)
    };
    entry.map_err(|error| format!("codec: a log entry does not come back: {error}"))
}

fn checksum(kind: u8, payload: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]).update(payload);
    let mut sum = [0; 8];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<Entry> {
        let record = |regency| Record::Regency {
            view: 1,
            regency,
            start: None,
        };
        (1..=5).map(|i| Entry::Record(i, record(i))).collect()
    }

    #[test]
    fn a_log_cut_or_altered_anywhere_is_believed_up_to_there() {
        let whole = write(&log());
        let each = whole.len() / 5;
        for at in 0..whole.len() {
            assert_eq!(read(&whole[..at]).expect("it decodes").len(), at / each);
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            assert_eq!(read(&flipped).expect("it decodes").len(), at / each);
        }
        assert_eq!(read(&whole).expect("it decodes").len(), 5);
    }
}
