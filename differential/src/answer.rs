//! Frames as lines that can be compared: what is the server's own business is left out or numbered.

use bytes::{Buf, Bytes};
use std::collections::BTreeMap;

/// OIDs below are the same in every server of a version.
const FIRST_OF_USERS: u32 = 16_384;

/// The OIDs of one server's users, by the order in which they were first seen. Two servers that hear the same statements
/// number the same things alike.
#[derive(Debug, Default)]
pub struct Numbering(BTreeMap<u32, usize>);

impl Numbering {
    fn of(&mut self, oid: u32) -> String {
        if oid < FIRST_OF_USERS {
            return oid.to_string();
        }
        let next = self.0.len();
        format!("user{}", self.0.entry(oid).or_insert(next))
    }
}

/// What of an answer counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Compared {
    /// Rows count in the order in which they came.
    pub ordered: bool,
    /// Values count by their shape.
    pub volatile: bool,
    /// Of several rows that fail, an error may name any: rows lie in no agreed order.
    pub any_row: bool,
    /// The other side's servers are of several majors: an error counts by its SQLSTATE alone, notices and reported settings
    /// not at all.
    pub majors: bool,
}

/// The lines of one side's answer.
pub struct Reading {
    types: Numbering,
    tables: Numbering,
    /// Columns of the rows that come, which hold OIDs in their binary form.
    holds_oids: Vec<bool>,
}

impl Reading {
    pub fn new() -> Reading {
        Reading {
            types: Numbering::default(),
            tables: Numbering::default(),
            holds_oids: Vec::new(),
        }
    }

    /// The answer in lines, as far as they count.
    pub fn lines(&mut self, frames: &[Bytes], how: Compared) -> Vec<String> {
        let Compared {
            ordered,
            volatile,
            any_row,
            majors,
        } = how;
        let mut lines: Vec<String> = Vec::new();
        let mut first_row = None;
        for frame in frames {
            let mut line = self.line(frame, volatile);
            if majors && matches!(frame[0], b'N' | b'S') {
                continue;
            }
            if majors && line.starts_with("E C=") {
                line.truncate("E C=00000".len());
            }
            if line.starts_with("E ") {
                if any_row {
                    line = without_row(line);
                }
                // The front sends a batch as one operation: an error of its Parse or Bind comes after their completions.
                while lines
                    .last()
                    .is_some_and(|last| ["1", "2", "n"].contains(&last.as_str()))
                {
                    lines.pop();
                }
            }
            match frame[0] {
                b'D' | b'd' => {
                    first_row.get_or_insert(lines.len());
                }
                _ => {
                    if let Some(first) = first_row.take().filter(|_| !ordered) {
                        lines[first..].sort();
                    }
                }
            }
            lines.push(line);
        }
        lines
    }

    fn line(&mut self, frame: &Bytes, volatile: bool) -> String {
        let mut body = frame.slice(5..);
        match frame[0] {
            b'T' => {
                self.holds_oids.clear();
                let columns = body.get_u16();
                let columns: Vec<_> = (0..columns).map(|_| self.column(&mut body)).collect();
                format!("T {}", columns.join(", "))
            }
            b't' => {
                let count = body.get_u16();
                let types: Vec<_> = (0..count).map(|_| self.types.of(body.get_u32())).collect();
                format!("t {}", types.join(", "))
            }
            b'D' => {
                let values = (0..body.get_u16()).map(|at| match body.get_i32() {
                    -1 => "null".to_owned(),
                    length => {
                        let mut bytes = body.split_to(length as usize).to_vec();
                        if self.holds_oids.get(usize::from(at)) == Some(&true) {
                            mask(&mut bytes);
                        }
                        value(&bytes, volatile)
                    }
                });
                format!("D {}", values.collect::<Vec<_>>().join(" | "))
            }
            b'd' => format!("d {}", value(&body, volatile)),
            kind @ (b'E' | b'N') => match fields(&body) {
                told if volatile => {
                    format!("{} {} {}", kind as char, &told[..7], shape(&told[7..]))
                }
                told => format!("{} {told}", kind as char),
            },
            kind @ (b'C' | b'S' | b'Z') => {
                let text = String::from_utf8_lossy(&body);
                format!(
                    "{} {}",
                    kind as char,
                    text.trim_end_matches('\0').replace('\0', "=")
                )
            }
            kind @ (b'G' | b'H') => format!("{} {:?}", kind as char, &body[..]),
            kind => (kind as char).to_string(),
        }
    }

    /// Name, table and place in it, type, modifier, format.
    fn column(&mut self, body: &mut Bytes) -> String {
        let end = body.iter().position(|byte| *byte == 0).unwrap();
        let name = String::from_utf8_lossy(&body.split_to(end)).into_owned();
        body.advance(1);
        let (table, place) = (body.get_u32(), body.get_u16());
        let of = match table {
            0 => String::new(),
            // A catalog's table, or a user's.
            table => format!(" of {}.{place}", self.tables.of(table)),
        };
        let (oid, size, modifier, format) = (
            body.get_u32(),
            body.get_i16(),
            body.get_i32(),
            body.get_u16(),
        );
        // Of a user's type, of an anonymous row, or regtype.
        let holds = oid >= FIRST_OF_USERS || [2249, 2206].contains(&oid);
        self.holds_oids.push(holds && format == 1);
        format!(
            "{name}: {}({modifier}) {size} {format}{of}",
            self.types.of(oid)
        )
    }
}

/// An error without the values of the row that it is about.
fn without_row(line: String) -> String {
    match line.split_once("D=Failing row contains (") {
        Some((before, rest)) => {
            let after = rest.find(" M=").map_or("", |at| &rest[at..]);
            format!("{before}D=Failing row{after}")
        }
        None => line,
    }
}

/// Covers what may be an OID of a user's object: two servers give others.
fn mask(bytes: &mut [u8]) {
    for at in 0..bytes.len().saturating_sub(3) {
        if let [0, 0, 0x40..=0xff, _] = bytes[at..at + 4] {
            bytes[at..at + 4].copy_from_slice(&[0, 0, 0xff, 0xff]);
        }
    }
}

/// An error's or a notice's fields but for where in the server's source it arose.
fn fields(body: &[u8]) -> String {
    let mut told: Vec<_> = body
        .split(|byte| *byte == 0)
        .filter_map(|field| field.split_first())
        .filter(|(code, _)| !b"VFLR".contains(code))
        // The functions that stand in for nextval and its like show in the context.
        .filter(|(code, text)| **code != b'W' || !String::from_utf8_lossy(text).contains("steel."))
        .map(|(code, text)| format!("{}={}", *code as char, String::from_utf8_lossy(text)))
        .collect();
    // SQLSTATE and severity first.
    told.sort_by_key(|field| {
        (
            !field.starts_with("C="),
            !field.starts_with("S="),
            field.clone(),
        )
    });
    told.join(" ")
}

fn value(bytes: &[u8], volatile: bool) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') => {
            match volatile {
                true => shape(text),
                false => text.to_owned(),
            }
        }
        _ if volatile => format!("{} bytes", bytes.len()),
        _ => {
            let escaped: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\x{}", escaped.concat())
        }
    }
}

/// `2026-11-29 04:00:00.25+00` becomes `x-x-x x:x:x+x`: a fraction of nothing is not written.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for c in text.chars() {
        match c.is_alphanumeric() || c == '.' {
            true if shape.ends_with('x') => {}
            true => shape.push('x'),
            false => shape.push(c),
        }
    }
    shape
}

#[test]
fn what_is_volatile_has_a_shape() {
    assert_eq!(shape("2026-11-29 04:00:00.25+00"), "x-x-x x:x:x+x");
    assert_eq!(shape("04:00:00"), shape("04:00:00.5"));
    assert_ne!(shape("04:00"), shape("04:00:00"));
}
