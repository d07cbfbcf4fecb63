//! PostgreSQL's own frames: what the front has to read or alter in them. A frame is one whole message: type, length, body.

use bytes::{BufMut, Bytes, BytesMut};

/// The message type; NUL for an empty frame, which no server sends.
pub(crate) fn kind(frame: &Bytes) -> u8 {
    frame.first().copied().unwrap_or(0)
}

fn body(frame: &[u8]) -> &[u8] {
    frame.get(5..).unwrap_or_default()
}

fn build(kind: u8, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(body.len() + 5);
    frame.put_u8(kind);
    frame.put_u32(body.len() as u32 + 4);
    frame.put_slice(body);
    frame.freeze()
}

/// Name and value of a ParameterStatus.
pub(crate) fn parameter(frame: &Bytes) -> Option<(String, String)> {
    let mut parts = body(frame).split(|byte| *byte == 0);
    let mut text = || Some(String::from_utf8_lossy(parts.next()?).into_owned());
    Some((text()?, text()?))
}

/// The tag of a CommandComplete.
pub(crate) fn tag(frame: &Bytes) -> Option<&str> {
    std::str::from_utf8(body(frame).strip_suffix(b"\0")?).ok()
}

/// A CommandComplete whose number of rows is another: what one Execute of a portal gave.
pub(crate) fn with_rows(frame: &Bytes, rows: usize) -> Bytes {
    match tag(frame).and_then(|tag| tag.rsplit_once(' ')) {
        Some((command, count)) if count.bytes().all(|b| b.is_ascii_digit()) => {
            build(b'C', format!("{command} {rows}\0").as_bytes())
        }
        _ => frame.clone(),
    }
}

/// The fields of an ErrorResponse or NoticeResponse, in order.
fn fields(frame: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    body(frame)
        .split(|byte| *byte == 0)
        .filter_map(|field| field.split_first())
        .map(|(code, value)| (*code, value))
}

/// One field of an ErrorResponse or NoticeResponse.
pub(crate) fn field(frame: &Bytes, code: u8) -> Option<&str> {
    let found = fields(frame).find(|(found, _)| *found == code)?;
    std::str::from_utf8(found.1).ok()
}

/// The frame with another value of a field that it has.
pub(crate) fn with_field(frame: &Bytes, code: u8, value: &str) -> Bytes {
    let mut changed = BytesMut::with_capacity(frame.len() + value.len());
    for (found, old) in fields(frame) {
        changed.put_u8(found);
        changed.put_slice(if found == code { value.as_bytes() } else { old });
        changed.put_u8(0);
    }
    changed.put_u8(0);
    build(kind(frame), &changed)
}

/// An error whose position is given in the client's text instead of the executed one.
pub(crate) fn relocated(frame: Bytes, to_client: impl Fn(usize) -> usize) -> Bytes {
    match field(&frame, b'P').and_then(|position| position.parse().ok()) {
        Some(position) if to_client(position) != position => {
            with_field(&frame, b'P', &to_client(position).to_string())
        }
        _ => frame,
    }
}

/// A RowDescription of a statement made that of a portal with these result formats; `None` if it is malformed.
pub(crate) fn with_formats(frame: &Bytes, formats: &[i16]) -> Option<Bytes> {
    let mut changed = BytesMut::from(body(frame));
    let columns = u16::from_be_bytes([*changed.first()?, *changed.get(1)?]);
    let mut at = 2;
    for column in 0..usize::from(columns) {
        at += changed.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        let format = match formats {
            [] => 0,
            [one] => *one,
            each => *each.get(column)?,
        };
        // Table, attribute, type, size, modifier; then the format.
        changed
            .get_mut(at + 16..at + 18)?
            .copy_from_slice(&format.to_be_bytes());
        at += 18;
    }
    Some(build(b'T', &changed))
}

/// The types of a ParameterDescription.
pub(crate) fn parameter_types(frame: &Bytes) -> Vec<u32> {
    let types = body(frame).get(2..).unwrap_or_default().chunks_exact(4);
    types
        .map(|oid| u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]))
        .collect()
}

/// The text of a DataRow's column; `None` for NULL or when there is none.
pub(crate) fn text_column(frame: &Bytes, column: usize) -> Option<&str> {
    let mut rest = body(frame).get(2..)?;
    for _ in 0..column {
        let (length, after) = length(rest)?;
        rest = after.get(length.unwrap_or(0)..)?;
    }
    let (length, after) = length(rest)?;
    std::str::from_utf8(after.get(..length?)?).ok()
}

fn length(rest: &[u8]) -> Option<(Option<usize>, &[u8])> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    Some((usize::try_from(i32::from_be_bytes(*length)).ok(), after))
}

/// A RowDescription of one text column and a DataRow with its value: a SHOW that the front answers.
pub(crate) fn show(name: &str, value: &str, format: i16) -> (Bytes, Bytes) {
    let mut description = BytesMut::new();
    description.put_u16(1);
    description.put_slice(name.as_bytes());
    description.put_u8(0);
    description.put_i32(0);
    description.put_i16(0);
    description.put_u32(25);
    description.put_i16(-1);
    description.put_i32(-1);
    description.put_i16(format);
    let mut row = BytesMut::new();
    row.put_u16(1);
    row.put_u32(value.len() as u32);
    row.put_slice(value.as_bytes());
    (build(b'T', &description), build(b'D', &row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_tag_are_replaced() {
        let frame = build(b'C', b"INSERT 0 12\0");
        assert_eq!(tag(&with_rows(&frame, 5)), Some("INSERT 0 5"));
        let frame = build(b'C', b"CREATE TABLE\0");
        assert_eq!(tag(&with_rows(&frame, 5)), Some("CREATE TABLE"));
    }

    #[test]
    fn a_position_moves_and_all_else_stays() {
        let frame = build(b'E', b"SERROR\0C42P01\0Mno table\0P15\0\0");
        let moved = relocated(frame, |position| position + 7);
        assert_eq!(body(&moved), b"SERROR\0C42P01\0Mno table\0P22\0\0");
    }

    #[test]
    fn a_description_takes_the_formats_of_its_portal() {
        let (description, row) = show("a", "xyz", 0);
        let binary = with_formats(&description, &[1]).unwrap();
        assert_eq!(binary.last(), Some(&1));
        assert_eq!(with_formats(&description, &[]), Some(description));
        assert_eq!(with_formats(&build(b'T', b"\0\x09a\0"), &[1]), None);
        assert_eq!(text_column(&row, 0), Some("xyz"));
        assert_eq!(text_column(&row, 1), None);
    }
}
