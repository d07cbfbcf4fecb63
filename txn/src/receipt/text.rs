//! A receipt as one line of JSON: what `SHOW steel.receipt` answers and `steeldb receipt verify` reads.
//!
//! There is one text of each receipt: fields in the order below, no space, lower-case hexadecimal digits. Any other is refused, so
//! that nothing can be changed in a receipt without being noticed, not even what means nothing.

use consensus::{Digest, ReplicaId, Signature, ViewCertificate};
use serde::{Deserialize, Serialize};

use super::{Fact, Header, MAX_TEXT, MAX_VIEWS, Receipt, ReceiptError, Sort};
use crate::ordered::TxId;
use crate::tally::Verdict;

/// How every receipt begins.
pub const BEGINS: &str = "{\"steel_receipt\":1,";

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    steel_receipt: u32,
    cluster: String,
    view: u64,
    height: u64,
    index: u32,
    transaction: String,
    kind: Sort,
    verdict: Committed,
    time_ms: u64,
    decided_in_view: u64,
    batch: String,
    previous_batch: String,
    request: String,
    steps: u32,
    unvalidated: u32,
    statements: String,
    operations: String,
    results: String,
    writes: String,
    signatures: Vec<TextSignature>,
    /// Certificates in the encoding of the links, hexadecimal.
    views: Vec<String>,
}

/// There are receipts of commits only.
#[derive(Serialize, Deserialize)]
enum Committed {
    #[serde(rename = "commit")]
    Commit,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TextSignature {
    replica: u16,
    signature: String,
}

impl Receipt {
    /// Its text, without a line's end.
    pub fn to_text(&self) -> String {
        let Fact { header, .. } = &self.fact;
        let signature = |(replica, signature): &(ReplicaId, Signature)| TextSignature {
            replica: replica.0,
            signature: hex::encode(signature.0),
        };
        let certificate = |view: &ViewCertificate| {
            let bytes = postcard::to_stdvec(view);
            hex::encode(bytes.expect("these types have no unserialisable parts"))
        };
        let text = Text {
            steel_receipt: FORMAT,
            cluster: hex::encode(self.fact.cluster.0),
            view: self.fact.view,
            height: header.height,
            index: self.fact.index,
            transaction: self.fact.tx.to_string(),
            kind: self.fact.sort,
            verdict: Committed::Commit,
            time_ms: header.time_ms,
            decided_in_view: header.view,
            batch: hex::encode(header.digest.0),
            previous_batch: hex::encode(header.previous.0),
            request: hex::encode(self.fact.request.0),
            steps: self.fact.steps,
            unvalidated: self.fact.unvalidated,
            statements: hex::encode(self.fact.statements.0),
            operations: hex::encode(self.fact.operations.0),
            results: hex::encode(self.fact.results.0),
            writes: hex::encode(self.fact.writes.0),
            signatures: self.signatures.iter().map(signature).collect(),
            views: self.views.iter().map(certificate).collect(),
        };
        serde_json::to_string(&text).expect("strings, numbers and lists are always valid JSON")
    }

    /// Reads a text; nothing of it is believed yet.
    ///
    /// # Errors
    /// When it is too long, no receipt, or not the one text of what it says.
    pub fn parse(text: &str) -> Result<Receipt, ReceiptError> {
        if text.len() > MAX_TEXT {
            return Err(ReceiptError::TooLong(text.len()));
        }
        let read: Text = serde_json::from_str(text).map_err(|e| malformed(e.to_string()))?;
        if read.steel_receipt != FORMAT {
            return Err(malformed(format!(
                "format {}, this steeldb reads {FORMAT}",
                read.steel_receipt
            )));
        }
        if read.views.len() > MAX_VIEWS {
            return Err(malformed(format!("more than {MAX_VIEWS} views")));
        }
        let receipt = Receipt {
            fact: Fact {
                cluster: digest("cluster", &read.cluster)?,
                view: read.view,
                header: Header {
                    height: read.height,
                    view: read.decided_in_view,
                    time_ms: read.time_ms,
                    digest: digest("batch", &read.batch)?,
                    previous: digest("previous_batch", &read.previous_batch)?,
                },
                index: read.index,
                tx: TxId::parse(&read.transaction)
                    .ok_or_else(|| malformed("transaction is no name of one".into()))?,
                sort: read.kind,
                verdict: match read.verdict {
                    Committed::Commit => Verdict::Commit,
                },
                request: digest("request", &read.request)?,
                steps: read.steps,
                unvalidated: read.unvalidated,
                statements: digest("statements", &read.statements)?,
                operations: digest("operations", &read.operations)?,
                results: digest("results", &read.results)?,
                writes: digest("writes", &read.writes)?,
            },
            signatures: read
                .signatures
                .iter()
                .map(|s| {
                    Ok((
                        ReplicaId(s.replica),
                        Signature(bytes("signature", &s.signature)?),
                    ))
                })
                .collect::<Result<_, ReceiptError>>()?,
            views: read
                .views
                .iter()
                .map(|v| certificate(v))
                .collect::<Result<_, _>>()?,
        };
        match receipt.to_text() == text {
            true => Ok(receipt),
            false => Err(ReceiptError::NotCanonical),
        }
    }
}

fn malformed(why: String) -> ReceiptError {
    ReceiptError::Malformed(why)
}

fn bytes<const N: usize>(field: &str, text: &str) -> Result<[u8; N], ReceiptError> {
    let decoded = hex::decode(text).ok();
    let decoded = decoded.and_then(|bytes| bytes.try_into().ok());
    decoded.ok_or_else(|| malformed(format!("{field} is not {} hexadecimal digits", 2 * N)))
}

fn digest(field: &str, text: &str) -> Result<Digest, ReceiptError> {
    bytes(field, text).map(Digest)
}

fn certificate(text: &str) -> Result<ViewCertificate, ReceiptError> {
    let bytes = hex::decode(text).map_err(|e| malformed(format!("views: {e}")))?;
    consensus::decode(&bytes).map_err(|e| malformed(format!("views: {e}")))
}
