//! Operations with the evidence that an honest master gives, for who claims that one did.

use bytes::Bytes;
use consensus::Digest;
use txn::write_set::RowChange;
use txn::{Event, Evidence, Operation, Step, WriteSet};

/// The honest evidence of `INSERT INTO table VALUES (value)`; the table is in `public` and has one column.
pub fn inserted(table: &str, value: u32) -> Step {
    let mut tag = vec![b'C', 0, 0, 0, 15];
    tag.extend(b"INSERT 0 1\0");
    let rows = Event::Rows {
        table: format!("public.{table}"),
        change: RowChange::Insert,
        old: Vec::new(),
        new: vec![format!("({value})")],
    };
    let evidence = Evidence {
        result: txn::result::digest(&[Bytes::from(tag)], None),
        write: WriteSet { events: vec![rows] }.digest(),
        sequences: Vec::new(),
        schema_change: false,
        adds_only: false,
        failed: false,
        unvalidated: false,
        claims: None,
    };
    assert_ne!(evidence.write, Digest([0; 32]));
    Step {
        operation: Operation::text(format!("INSERT INTO {table} VALUES ({value})")),
        evidence,
    }
}
