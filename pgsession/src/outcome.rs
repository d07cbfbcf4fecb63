//! What one statement came to.

use bytes::Bytes;

use crate::ErrorFields;

/// What a trigger of the schema `steel` reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Its JSON part, token stripped.
    pub json: Bytes,
    /// By what it was called: PostgreSQL's CONTEXT, innermost first, an entry a line.
    pub context: Bytes,
}

/// What PostgreSQL answered to one statement.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The messages that a client may see, each a whole frame (type byte, length, body) as
    /// received, in order: `T D C E N n t I H d c G S`. ParseComplete, BindComplete, CloseComplete
    /// and ReadyForQuery are left out.
    pub frames: Vec<Bytes>,
    /// The command tag; of the last command where [`Session::execute`](crate::Session::execute)
    /// ran several.
    pub tag: Option<String>,
    /// The statement's error.
    pub error: Option<ErrorFields>,
    /// Number of DataRow and CopyData messages received.
    pub rows: u64,
    /// The capture notices, in order.
    pub captured: Vec<Report>,
    /// Transaction status after the statement: `I` idle, `T` in a transaction, `E` in a failed one.
    pub transaction: u8,
}

impl Outcome {
    /// The outcome, or the statement's error as an `Err`.
    pub fn into_result(self) -> Result<Outcome, Box<ErrorFields>> {
        match self.error {
            Some(error) => Err(Box::new(error)),
            None => Ok(self),
        }
    }

    /// The values of every DataRow, in the formats that were asked for. A malformed row ends
    /// where it stops making sense.
    pub fn values(&self) -> impl Iterator<Item = Vec<Option<Bytes>>> + '_ {
        self.frames
            .iter()
            .filter(|frame| frame.first() == Some(&b'D'))
            .map(|frame| {
                columns(frame)
                    .map(|column| column.map(|range| frame.slice(range)))
                    .collect()
            })
    }

    /// The first column of the first row as text, for one-value queries.
    pub fn scalar(&self) -> Option<String> {
        let value = self.values().next()?.into_iter().next()??;
        Some(String::from_utf8_lossy(&value).into_owned())
    }
}

/// The byte ranges of a DataRow frame's columns; `None` is NULL.
pub(crate) fn columns(frame: &[u8]) -> impl Iterator<Item = Option<std::ops::Range<usize>>> {
    let count = frame
        .get(5..7)
        .map_or(0, |n| u16::from_be_bytes([n[0], n[1]]));
    let mut at = 7;
    (0..count).map_while(move |_| {
        let length = frame.get(at..at + 4)?;
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        at += 4;
        let Ok(length) = usize::try_from(length) else {
            return Some(None);
        };
        let end = at.checked_add(length).filter(|&end| end <= frame.len())?;
        let range = at..end;
        at = end;
        Some(Some(range))
    })
}
