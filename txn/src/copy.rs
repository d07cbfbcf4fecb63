//! What replicas say to each other while one of them copies a database (docs/decisions/0022-copy.md).

use consensus::{Digest, Height};
use serde::{Deserialize, Serialize};

/// What a source holds at a height. Sources that hold the same say the same, but for the positions of sequences, which run ahead of
/// the order where transactions are open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Of everything that clients have defined.
    pub definitions: Digest,
    /// Of roles, owners, privileges and settings, as statements that make them.
    pub statements: Digest,
    /// (name, rows, digest), by name.
    pub tables: Vec<(String, u64, Digest)>,
    pub positions: Vec<Position>,
}

impl Holding {
    /// The part that is equal at equal sources.
    pub fn agreed(&self) -> (&Digest, &Digest, &[(String, u64, Digest)]) {
        (&self.definitions, &self.statements, &self.tables)
    }
}

/// Where a sequence stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub sequence: String,
    pub last: i64,
    pub called: bool,
    /// It counts upwards.
    pub ascending: bool,
}

/// A unit of the copy: fetched from one source, and fetched again from another one as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Part {
    /// Lines of which [`Holding::statements`] is the digest.
    Statements,
    /// pg_dump's text, in pieces.
    Schema,
    /// A table's rows as `record_out` writes them.
    Table(String),
}

/// Between the one that copies and its sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyMessage {
    /// The sender keeps this height for the one that asked for it by the order, and begins to read it.
    Keeping { height: Height },
    /// What the sender keeps.
    Held { height: Height, holding: Holding },
    /// Chunks of a part may be sent up to this number, which is not included. Asking for another part ends the one before.
    Fetch {
        height: Height,
        part: Part,
        until: u32,
    },
    /// A piece of a part: texts, encoded. `hash` is BLAKE3 of the payload.
    Chunk {
        height: Height,
        part: Part,
        number: u32,
        last: bool,
        payload: Vec<u8>,
        hash: Digest,
    },
    /// The sender does not keep this height, or not any more.
    Gone { height: Height, why: String },
    /// Everything is fetched.
    Release { height: Height },
}
