//! COPY FROM STDIN: the data is collected first and runs as one operation, so that it can be ordered with its evidence.

use super::statement::Call;
use super::{Session, Trouble};
use crate::database::Database;
use crate::limits;
use crate::wire::{Closed, Fault, Frontend, backend, frame};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Whether a relation is there, and how many columns COPY would fill by default.
const TARGET: &str = "SELECT r IS NOT NULL, (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute WHERE attrelid = r \
    AND attnum > 0 AND NOT attisdropped AND attgenerated = '') FROM (SELECT pg_catalog.to_regclass($1) AS r) AS t";

/// The data of one COPY, and its share of the memory that all of them have together.
#[derive(Debug)]
pub(super) struct CopyIn {
    /// In pieces of about [`limits::COPY_CHUNK`].
    pub chunks: Vec<Bytes>,
    _share: Option<OwnedSemaphorePermit>,
}

impl<D: Database> Session<'_, D> {
    /// Asks the client for the data of a COPY and collects it.
    ///
    /// # Errors
    /// When the client gives up (57014), sends too much (54000) or something else, or the table is not there.
    pub(super) async fn copy_data(&mut self, call: Call<'_>) -> Result<CopyIn, Trouble> {
        let form = Form::of(&call.statement.text);
        let mut columns = form.columns;
        if let Some(table) = form.table {
            let (exists, count) = self.target(table).await?;
            if !exists {
                // Let PostgreSQL say so in its own words, before the client sends anything.
                let call = Call {
                    copy_in: None,
                    ..call
                };
                let outcome = self.operate(call, false).await?;
                self.answer(outcome, call).await?;
                return Err(
                    Fault::error("42P01", format!("relation \"{table}\" does not exist")).into(),
                );
            }
            columns = columns.or(Some(count));
        }
        backend::copy_in(&mut self.wire.out, form.binary, columns.unwrap_or(0));
        self.wire.flush().await?;
        self.collect().await
    }

    async fn target(&mut self, table: &str) -> Result<(bool, u16), Trouble> {
        let statement = sql::statement(TARGET)?;
        let parameters = [Some(Bytes::copy_from_slice(table.as_bytes()))];
        let call = Call {
            types: &[25],
            parameters: &parameters,
            ..Call::simple(&statement)
        };
        let outcome = self.operate(call, true).await?;
        for found in outcome.frames {
            match frame::kind(&found) {
                b'D' => {
                    let count = frame::text_column(&found, 1).and_then(|count| count.parse().ok());
                    return Ok((
                        frame::text_column(&found, 0) == Some("t"),
                        count.unwrap_or(0),
                    ));
                }
                b'E' => {
                    self.wire.forward(found).await?;
                    return Err(Trouble::Reported);
                }
                _ => {}
            }
        }
        Ok((true, 0))
    }

    async fn collect(&mut self) -> Result<CopyIn, Trouble> {
        let mut gathered = Gathered::new(self.copying.clone());
        loop {
            let message = match self.wire.next().await? {
                Ok(message) => message,
                Err((_, fault)) => return Err(fault.into()),
            };
            match message {
                Frontend::CopyData(data) => gathered.add(&data),
                Frontend::CopyDone => return Ok(gathered.finish()?),
                Frontend::CopyFail(reason) => {
                    return Err(
                        Fault::error("57014", format!("COPY from stdin failed: {reason}")).into(),
                    );
                }
                // A client that knows no better sends them with its Execute.
                Frontend::Flush | Frontend::Sync => {}
                Frontend::Terminate => return Err(Closed::Gone.into()),
                other => {
                    let message = format!(
                        "unexpected message type 0x{:02X} during COPY from stdin",
                        other.kind()
                    );
                    return Err(Fault::protocol(message).into());
                }
            }
        }
    }
}

/// COPY data as it comes; after an overflow the rest is skipped until the client has done.
struct Gathered {
    copying: Arc<Semaphore>,
    chunks: Vec<Bytes>,
    chunk: BytesMut,
    share: Option<OwnedSemaphorePermit>,
    total: usize,
    overflow: Option<Fault>,
}

impl Gathered {
    fn new(copying: Arc<Semaphore>) -> Gathered {
        Gathered {
            copying,
            chunks: Vec::new(),
            chunk: BytesMut::new(),
            share: None,
            total: 0,
            overflow: None,
        }
    }

    fn add(&mut self, data: &[u8]) {
        if self.overflow.is_some() {
            return;
        }
        self.total += data.len();
        if self.total > limits::COPY_BYTES {
            let message = format!("COPY data of more than {} bytes", limits::COPY_BYTES);
            self.overflow(Fault::error("54000", message).hint("Load it in several COPY commands."));
            return;
        }
        self.chunk.extend_from_slice(data);
        if self.chunk.len() >= limits::COPY_CHUNK {
            self.cut();
        }
    }

    fn cut(&mut self) {
        // A piece is as long as the message that completed it.
        let pieces = self.chunk.len().div_ceil(limits::COPY_CHUNK) as u32;
        let Ok(permit) = self.copying.clone().try_acquire_many_owned(pieces) else {
            let message = "out of memory for COPY data of all clients together";
            self.overflow(
                Fault::error("53200", message)
                    .hint("Try again when other COPY commands have ended."),
            );
            return;
        };
        match &mut self.share {
            Some(share) => share.merge(permit),
            None => self.share = Some(permit),
        }
        self.chunks.push(self.chunk.split().freeze());
    }

    fn overflow(&mut self, fault: Fault) {
        (self.chunks, self.chunk, self.share) = Default::default();
        self.overflow = Some(fault);
    }

    fn finish(mut self) -> Result<CopyIn, Fault> {
        if !self.chunk.is_empty() {
            self.cut();
        }
        match self.overflow {
            Some(fault) => Err(fault),
            None => Ok(CopyIn {
                chunks: self.chunks,
                _share: self.share,
            }),
        }
    }
}

/// What the text of a COPY tells about the data that it wants.
#[derive(Debug, PartialEq, Eq)]
struct Form<'a> {
    /// As written; absent where the text is not understood.
    table: Option<&'a str>,
    /// Columns named in the statement.
    columns: Option<u16>,
    binary: bool,
}

impl<'a> Form<'a> {
    fn of(text: &'a str) -> Form<'a> {
        let rest = after_word(text, "copy").unwrap_or(text);
        let old_binary = after_word(rest, "binary");
        let rest = old_binary.unwrap_or(rest);
        let end = outside_quotes(rest, |c| c == '(' || c.is_whitespace());
        let table = &rest[..end];
        let after = rest[end..].trim_start();
        // A name of several parts may have space around its dots: then it is left to PostgreSQL.
        let understood = after.starts_with('(') || after_word(after, "from").is_some();
        let columns = after.strip_prefix('(').map(|list| {
            let list = &list[..outside_quotes(list, |c| c == ')')];
            let mut count = 1_u16;
            let mut at = 0;
            while let Some(tail) = list.get(at..) {
                let comma = outside_quotes(tail, |c| c == ',');
                if comma == tail.len() {
                    break;
                }
                count = count.saturating_add(1);
                at += comma + 1;
            }
            count
        });
        let options = after.to_ascii_lowercase();
        let words: Vec<_> = options
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        let stdin = words.iter().position(|word| *word == "stdin");
        let options = &words[stdin.unwrap_or(words.len())..];
        let binary = old_binary.is_some()
            || options.windows(2).any(|pair| pair == ["format", "binary"])
            || matches!(
                options,
                ["stdin", "binary", ..] | ["stdin", "with", "binary", ..]
            );
        Form {
            table: Some(table).filter(|table| understood && !table.is_empty()),
            columns: columns.filter(|_| understood),
            binary,
        }
    }
}

/// What follows the word, if the text begins with it.
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(word.len())?;
    let ends = rest
        .chars()
        .next()
        .is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '.' && c != '$');
    (head.eq_ignore_ascii_case(word) && ends).then(|| rest.trim_start())
}

/// Where the first such character stands that is not inside double quotes; the text's length if there is none.
fn outside_quotes(text: &str, wanted: impl Fn(char) -> bool) -> usize {
    let mut quoted = false;
    let found = text.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        !quoted && wanted(*c)
    });
    found.map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_tells_table_columns_and_format() {
        let form = |table, columns, binary| Form {
            table,
            columns,
            binary,
        };
        for (text, expected) in [
            ("copy t from stdin", form(Some("t"), None, false)),
            (
                "COPY s.\"A (b\" (x, \"y,z\") FROM STDIN",
                form(Some("s.\"A (b\""), Some(2), false),
            ),
            (
                "copy t(a,b,c)from stdin with (freeze on, format 'binary')",
                form(Some("t"), Some(3), true),
            ),
            ("copy binary t from stdin", form(Some("t"), None, true)),
            ("copy t from stdin binary", form(Some("t"), None, true)),
            ("copy t from stdin csv header", form(Some("t"), None, false)),
            ("copy s . t from stdin", form(None, None, false)),
        ] {
            assert_eq!(Form::of(text), expected, "{text}");
        }
    }
}
