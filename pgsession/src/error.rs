//! What can go wrong, and what the server said about it.

use std::path::PathBuf;

use bytes::Bytes;

/// Failure of a session. The error of a statement is not one: see
/// [`Outcome::error`](crate::Outcome::error).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be opened.
    #[error("cannot connect to PostgreSQL at {path}: {source}; is the server running?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server refused the log-in.
    #[error("PostgreSQL refused the connection: {0}")]
    Refused(Box<ErrorFields>),
    /// The server wants a password; sessions of a replica carry none.
    #[error(
        "PostgreSQL asks for authentication method {0}; allow `trust` or `peer` for this role in pg_hba.conf"
    )]
    Authentication(u32),
    /// Log-in took too long.
    #[error("PostgreSQL did not answer the log-in within {0} s")]
    ConnectTimeout(u64),
    /// The statement cannot be put into protocol messages; nothing was sent.
    #[error("statement refused before it was sent: {0}")]
    Invalid(String),
    /// The result exceeds the session's limit; the session itself can go on.
    #[error("the result exceeds {limit} bytes; fetch it in smaller parts")]
    TooLarge {
        /// The limit that was exceeded, in bytes.
        limit: usize,
    },
    /// The server closed the session, perhaps after saying why.
    #[error("PostgreSQL closed the session{}", .0.as_ref().map(|e| format!(": {e}")).unwrap_or_default())]
    Closed(Option<Box<ErrorFields>>),
    /// Reading or writing failed.
    #[error("the connection to PostgreSQL failed: {0}")]
    Io(#[from] std::io::Error),
    /// The server sent what the protocol does not allow.
    #[error("PostgreSQL broke the protocol: {0}")]
    Protocol(String),
    /// The server found its own data damaged. Nothing of the run counts, whatever it answered to other statements.
    #[error("PostgreSQL found its data damaged: {0}")]
    Damaged(Box<ErrorFields>),
    /// An earlier failure or a dropped future left the session in an unknown state.
    #[error("the session is broken by an earlier failure; open a new one")]
    Broken,
}

impl Error {
    /// The SQLSTATE that tells a client about this failure.
    pub fn sqlstate(&self) -> &str {
        match self {
            Error::Connect { .. } | Error::ConnectTimeout(_) => "08001",
            Error::Refused(fields) | Error::Damaged(fields) => &fields.sqlstate,
            Error::Authentication(_) => "28000",
            Error::Invalid(_) => "08P01",
            Error::TooLarge { .. } => "54000",
            Error::Closed(Some(fields)) => &fields.sqlstate,
            Error::Closed(None) | Error::Io(_) | Error::Broken => "08006",
            Error::Protocol(_) => "08P01",
        }
    }
}

/// An ErrorResponse, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorFields {
    /// `ERROR`, `FATAL` or `PANIC`, never translated.
    pub severity: String,
    /// Five characters.
    pub sqlstate: String,
    /// The primary message.
    pub message: String,
    /// More about the problem.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The whole frame as received.
    pub frame: Bytes,
}

impl ErrorFields {
    /// Parses a whole ErrorResponse or NoticeResponse frame.
    pub(crate) fn parse(frame: &Bytes) -> Result<ErrorFields, Error> {
        let text = |code| field(frame, code).map(|v| String::from_utf8_lossy(v).into_owned());
        if !well_formed(frame) {
            return Err(Error::Protocol("an error report without an end".into()));
        }
        Ok(ErrorFields {
            severity: text(b'V').or_else(|| text(b'S')).unwrap_or_default(),
            sqlstate: text(b'C')
                .ok_or_else(|| Error::Protocol("an error report without SQLSTATE".into()))?,
            message: text(b'M').unwrap_or_default(),
            detail: text(b'D'),
            hint: text(b'H'),
            frame: frame.clone(),
        })
    }

    /// Any field of the report by its protocol code, such as `b'n'` (constraint) or `b'R'`
    /// (routine).
    pub fn field(&self, code: u8) -> Option<String> {
        field(&self.frame, code).map(|v| String::from_utf8_lossy(v).into_owned())
    }

    /// The server's data are damaged: a page whose checksum is wrong, an index that contradicts itself, a file of the data
    /// directory that is gone or cannot be read.
    ///
    /// Client code can raise any SQLSTATE with any text, but not name the source file: what PL/pgSQL raises is no damage.
    pub fn is_damage(&self) -> bool {
        let file = self.field(b'F').unwrap_or_default();
        match self.sqlstate.as_str() {
            "XX001" | "XX002" => !file.is_empty() && file != "pl_exec.c",
            // Relations' files and the transactions' states.
            "58P01" | "58030" => matches!(file.as_str(), "md.c" | "slru.c"),
            _ => false,
        }
    }

    /// The server ends the session after this report.
    pub fn is_fatal(&self) -> bool {
        self.severity == "FATAL" || self.severity == "PANIC"
    }
}

impl std::error::Error for ErrorFields {}

impl std::fmt::Display for ErrorFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.severity, self.message, self.sqlstate)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// One field of an error or notice frame; `None` when it is absent or the frame is malformed.
pub(crate) fn field(frame: &[u8], wanted: u8) -> Option<&[u8]> {
    fields(frame).find_map(|(code, value)| (code == wanted).then_some(value))
}

fn fields(frame: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = frame.get(5..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (&code, tail) = rest.split_first()?;
        if code == 0 {
            return None;
        }
        let end = tail.iter().position(|&b| b == 0)?;
        rest = &tail[end + 1..];
        Some((code, &tail[..end]))
    })
}

fn well_formed(frame: &[u8]) -> bool {
    let body: usize = fields(frame).map(|(_, value)| value.len() + 2).sum();
    frame.len() == 5 + body + 1 && frame.last() == Some(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sqlstate: &str, message: &str, file: &str) -> ErrorFields {
        let mut body = Vec::new();
        for (code, value) in [
            (b'V', "ERROR"),
            (b'C', sqlstate),
            (b'M', message),
            (b'F', file),
        ] {
            body.push(code);
            body.extend_from_slice(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        let mut frame = vec![b'E'];
        frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        frame.extend_from_slice(&body);
        ErrorFields::parse(&frame.into()).unwrap()
    }

    #[test]
    fn damage_is_what_the_server_found_and_not_what_a_client_raised() {
        let page = "invalid page in block 0 of relation base/5/16384";
        assert!(report("XX001", page, "bufmgr.c").is_damage());
        assert!(report("XX002", "index is corrupt", "nbtutils.c").is_damage());
        let gone = "could not open file \"base/5/16384\": No such file or directory";
        assert!(report("58P01", gone, "md.c").is_damage());
        let other = "could not open extension control file \"/usr/share/x.control\"";
        assert!(!report("58P01", other, "extension.c").is_damage());
        assert!(!report("XX001", page, "pl_exec.c").is_damage());
        assert!(!report("23505", "duplicate key", "nbtinsert.c").is_damage());
    }
}
