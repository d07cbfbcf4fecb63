//! Write sets: the rows that operations changed, and their digest.

use consensus::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a statement did to the rows of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowChange {
    Insert,
    Update,
    Delete,
}

/// One reported effect of an operation, in the order in which PostgreSQL reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Rows as composite text under fixed output settings. `table` is the quoted qualified name.
    Rows {
        table: String,
        change: RowChange,
        old: Vec<String>,
        new: Vec<String>,
    },
    Truncate {
        table: String,
    },
    /// A sequence was set by hand.
    SetValue {
        sequence: String,
        value: i64,
        called: bool,
    },
    /// Schema changes are not carried by rows: whoever adopts them runs the operations again. `definition` is a digest
    /// of what the object came to be.
    Schema {
        tag: String,
        object: String,
        definition: String,
    },
}

/// Tags of commands that make what the same statement may go on to fill or to alter.
const MAKING: [&str; 5] = [
    "CREATE SEQUENCE",
    "CREATE TABLE",
    "CREATE TABLE AS",
    "SELECT INTO",
    "CREATE MATERIALIZED VIEW",
];

/// Tags of others that only add.
const ADDING: [&str; 5] = [
    "CREATE INDEX",
    "CREATE SCHEMA",
    "CREATE TYPE",
    "CREATE DOMAIN",
    "COMMENT",
];

/// Everything that one operation wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteSet {
    pub events: Vec<Event>,
}

impl WriteSet {
    /// Whether a snapshot taken before would not hide this (DESIGN.md: DDL and TRUNCATE).
    pub fn schema_change(&self) -> bool {
        self.events
            .iter()
            .any(|e| matches!(e, Event::Truncate { .. } | Event::Schema { .. }))
    }

    /// Whether its changes of the schema are all of a kind that leaves what is there as it is. What replaces something under the same
    /// tag (views, functions) is not among them.
    pub fn adds_only(&self) -> bool {
        let mut made = BTreeSet::new();
        let mut adds = |event: &Event| match event {
            // What a new table is filled with is told as that of one that was emptied.
            Event::Truncate { table } => made.contains(table),
            Event::Schema { tag, object, .. } if MAKING.contains(&tag.as_str()) => {
                made.insert(object.clone());
                true
            }
            // Foreign keys are added to a table that was just made, and a `serial` column takes possession of its sequence.
            Event::Schema { tag, object, .. }
                if tag == "ALTER TABLE" || tag == "ALTER SEQUENCE" =>
            {
                made.contains(object)
            }
            Event::Schema { tag, .. } => ADDING.contains(&tag.as_str()),
            Event::Rows { .. } | Event::SetValue { .. } => true,
        };
        self.schema_change() && self.events.iter().all(&mut adds)
    }

    /// Digest over the events in order; within one event the rows are a multiset, because replicas may meet them in
    /// another physical order. Sorting their hashes makes the multiset hash exactly as strong as BLAKE3. The order of
    /// events is kept: a peer that serves this write set to an adopting replica cannot reorder two changes of one row.
    pub fn digest(&self) -> Digest {
        if self.events.is_empty() {
            return Digest([0; 32]);
        }
        let mut hasher = blake3::Hasher::new_derive_key("steeldb 2026 write set");
        for event in &self.events {
            match event {
                Event::Rows {
                    table,
                    change,
                    old,
                    new,
                } => {
                    hasher.update(&[1, *change as u8]);
                    text(&mut hasher, table);
                    rows(&mut hasher, old);
                    rows(&mut hasher, new);
                }
                Event::Truncate { table } => {
                    hasher.update(&[2]);
                    text(&mut hasher, table);
                }
                Event::Schema {
                    tag,
                    object,
                    definition,
                } => {
                    hasher.update(&[3]);
                    text(&mut hasher, tag);
                    text(&mut hasher, object);
                    text(&mut hasher, definition);
                }
                Event::SetValue {
                    sequence,
                    value,
                    called,
                } => {
                    hasher.update(&[4, u8::from(*called)]);
                    text(&mut hasher, sequence);
                    hasher.update(&value.to_be_bytes());
                }
            }
        }
        Digest(*hasher.finalize().as_bytes())
    }
}

fn text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_be_bytes());
    hasher.update(text.as_bytes());
}

fn rows(hasher: &mut blake3::Hasher, rows: &[String]) {
    hasher.update(&(rows.len() as u64).to_be_bytes());
    if let [row] = rows {
        hasher.update(blake3::hash(row.as_bytes()).as_bytes());
        return;
    }
    let mut hashes: Vec<[u8; 32]> = rows
        .iter()
        .map(|row| *blake3::hash(row.as_bytes()).as_bytes())
        .collect();
    hashes.sort_unstable();
    for hash in &hashes {
        hasher.update(hash);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_only_adds_is_known_by_all_its_tags() {
        let of = |tags: &[&str]| WriteSet {
            events: tags
                .iter()
                .map(|tag| match *tag {
                    "TRUNCATE" => Event::Truncate { table: "t".into() },
                    tag => Event::Schema {
                        tag: tag.into(),
                        object: String::new(),
                        definition: String::new(),
                    },
                })
                .collect(),
        };
        let serial = [
            "CREATE SEQUENCE",
            "CREATE TABLE",
            "CREATE INDEX",
            "ALTER SEQUENCE",
        ];
        assert!(of(&serial).adds_only());
        assert!(!of(&[]).adds_only(), "it changes nothing");
        for other in [
            "ALTER TABLE",
            "ALTER SEQUENCE",
            "CREATE VIEW",
            "CREATE FUNCTION",
            "DROP TABLE",
            "TRUNCATE",
        ] {
            assert!(!of(&["CREATE INDEX", other]).adds_only(), "{other}");
        }
        let filled = |table: &str| WriteSet {
            events: vec![
                Event::Schema {
                    tag: "CREATE TABLE AS".into(),
                    object: "public.a".into(),
                    definition: String::new(),
                },
                Event::Truncate {
                    table: table.into(),
                },
            ],
        };
        assert!(filled("public.a").adds_only());
        assert!(!filled("public.b").adds_only(), "another one is emptied");
        // The same object, which is made before it is altered.
        assert!(of(&["CREATE TABLE", "ALTER TABLE"]).adds_only());
        assert!(!of(&["ALTER TABLE", "CREATE TABLE"]).adds_only());
    }

    use super::*;

    fn update(old: &[&str], new: &[&str]) -> Event {
        Event::Rows {
            table: "public.t".into(),
            change: RowChange::Update,
            old: old.iter().map(|s| s.to_string()).collect(),
            new: new.iter().map(|s| s.to_string()).collect(),
        }
    }

    #[test]
    fn the_physical_order_of_rows_does_not_change_the_digest() {
        let a = WriteSet {
            events: vec![update(&["(1,a)", "(2,b)"], &["(1,x)", "(2,y)"])],
        };
        let b = WriteSet {
            events: vec![update(&["(2,b)", "(1,a)"], &["(1,x)", "(2,y)"])],
        };
        assert_eq!(a.digest(), b.digest());
    }

    #[test]
    fn a_repeated_row_counts_twice() {
        let once = WriteSet {
            events: vec![update(&["(1)"], &["(2)"])],
        };
        let twice = WriteSet {
            events: vec![update(&["(1)", "(1)"], &["(2)", "(2)"])],
        };
        assert_ne!(once.digest(), twice.digest());
    }

    #[test]
    fn two_changes_of_one_row_cannot_be_reordered() {
        let there = WriteSet {
            events: vec![update(&["(a)"], &["(b)"]), update(&["(b)"], &["(c)"])],
        };
        let back = WriteSet {
            events: vec![update(&["(b)"], &["(c)"]), update(&["(a)"], &["(b)"])],
        };
        assert_ne!(there.digest(), back.digest());
    }

    #[test]
    fn text_cannot_move_from_one_field_to_the_next() {
        let a = WriteSet {
            events: vec![Event::Schema {
                tag: "CREATE".into(),
                object: "TABLEt".into(),
                definition: String::new(),
            }],
        };
        let b = WriteSet {
            events: vec![Event::Schema {
                tag: "CREATETABLE".into(),
                object: "t".into(),
                definition: String::new(),
            }],
        };
        assert_ne!(a.digest(), b.digest());
    }
}
