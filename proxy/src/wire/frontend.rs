//! Messages of a client, decoded strictly.
//!
//! pgwire's decoders read on past the end of a short message and panic there, so the front has its own: each sees the
//! bytes of one message only, and what does not fit is an error in PostgreSQL's words.

use super::Fault;
use bytes::{Buf, Bytes};

/// A prepared statement or a portal, by name; the unnamed one has the empty name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Statement(String),
    Portal(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parse {
    pub name: String,
    pub sql: String,
    pub types: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bind {
    pub portal: String,
    pub statement: String,
    pub parameter_formats: Vec<i16>,
    pub parameters: Vec<Option<Bytes>>,
    pub result_formats: Vec<i16>,
}

/// A message after the startup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frontend {
    Query(String),
    Parse(Parse),
    Bind(Bind),
    Describe(Target),
    Execute { portal: String, max_rows: i32 },
    Close(Target),
    Flush,
    Sync,
    FunctionCall,
    CopyData(Bytes),
    CopyDone,
    CopyFail(String),
    Terminate,
}

impl Frontend {
    /// The type that this message has on the wire.
    pub fn kind(&self) -> u8 {
        match self {
            Frontend::Query(_) => b'Q',
            Frontend::Parse(_) => b'P',
            Frontend::Bind(_) => b'B',
            Frontend::Describe(_) => b'D',
            Frontend::Execute { .. } => b'E',
            Frontend::Close(_) => b'C',
            Frontend::Flush => b'H',
            Frontend::Sync => b'S',
            Frontend::FunctionCall => b'F',
            Frontend::CopyData(_) => b'd',
            Frontend::CopyDone => b'c',
            Frontend::CopyFail(_) => b'f',
            Frontend::Terminate => b'X',
        }
    }
}

/// Whether PostgreSQL knows a message of this type at this stage.
pub(crate) fn is_known(kind: u8) -> bool {
    b"QPBDECHSFdcfX".contains(&kind)
}

/// An error in such a message makes the server skip everything up to the next Sync.
pub(crate) fn is_extended(kind: u8) -> bool {
    b"PBDECH".contains(&kind)
}

/// Decodes the body of a message of a [known](is_known) type.
///
/// # Errors
/// 08P01 where its form is wrong, 22021 where a text is not UTF-8.
pub(crate) fn decode(kind: u8, body: Bytes) -> Result<Frontend, Fault> {
    let mut body = Body(body);
    let message = match kind {
        b'Q' => Frontend::Query(body.string()?),
        b'P' => Frontend::Parse(parse(&mut body)?),
        b'B' => Frontend::Bind(bind(&mut body)?),
        b'D' => Frontend::Describe(target(&mut body, "DESCRIBE")?),
        b'E' => Frontend::Execute {
            portal: body.string()?,
            max_rows: body.i32()?,
        },
        b'C' => Frontend::Close(target(&mut body, "CLOSE")?),
        b'H' => Frontend::Flush,
        b'S' => Frontend::Sync,
        // Refused whatever it says.
        b'F' => return Ok(Frontend::FunctionCall),
        b'd' => return Ok(Frontend::CopyData(body.0)),
        b'c' => Frontend::CopyDone,
        b'f' => Frontend::CopyFail(body.string()?),
        _ => return Ok(Frontend::Terminate),
    };
    if body.0.is_empty() {
        Ok(message)
    } else {
        Err(Fault::protocol("invalid message format"))
    }
}

fn parse(body: &mut Body) -> Result<Parse, Fault> {
    let (name, sql) = (body.string()?, body.string()?);
    let count = body.u16()?;
    let types = (0..count)
        .map(|_| body.i32().map(|oid| oid as u32))
        .collect::<Result<_, _>>()?;
    Ok(Parse { name, sql, types })
}

fn bind(body: &mut Body) -> Result<Bind, Fault> {
    let (portal, statement) = (body.string()?, body.string()?);
    let parameter_formats = formats(body)?;
    let count = body.u16()?;
    let parameters = (0..count)
        .map(|_| body.value())
        .collect::<Result<Vec<_>, _>>()?;
    if parameter_formats.len() > 1 && parameter_formats.len() != parameters.len() {
        return Err(Fault::protocol(format!(
            "bind message has {} parameter formats but {} parameters",
            parameter_formats.len(),
            parameters.len()
        )));
    }
    let result_formats = formats(body)?;
    Ok(Bind {
        portal,
        statement,
        parameter_formats,
        parameters,
        result_formats,
    })
}

fn formats(body: &mut Body) -> Result<Vec<i16>, Fault> {
    let count = body.u16()?;
    (0..count)
        .map(|_| match body.u16()? as i16 {
            format @ (0 | 1) => Ok(format),
            other => Err(Fault::error(
                "22023",
                format!("unsupported format code: {other}"),
            )),
        })
        .collect()
}

fn target(body: &mut Body, message: &str) -> Result<Target, Fault> {
    let kind = body.u8()?;
    let name = body.string()?;
    match kind {
        b'S' => Ok(Target::Statement(name)),
        b'P' => Ok(Target::Portal(name)),
        other => Err(Fault::protocol(format!(
            "invalid {message} message subtype {other}"
        ))),
    }
}

/// What is left of a message.
struct Body(Bytes);

impl Body {
    fn need(&self, bytes: usize) -> Result<(), Fault> {
        if self.0.len() < bytes {
            Err(Fault::protocol("insufficient data left in message"))
        } else {
            Ok(())
        }
    }

    fn u8(&mut self) -> Result<u8, Fault> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        self.need(2)?;
        Ok(self.0.get_u16())
    }

    fn i32(&mut self) -> Result<i32, Fault> {
        self.need(4)?;
        Ok(self.0.get_i32())
    }

    fn value(&mut self) -> Result<Option<Bytes>, Fault> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                self.need(length)?;
                Ok(Some(self.0.split_to(length)))
            }
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| Fault::protocol("invalid string in message"))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        match std::str::from_utf8(&text) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(not_utf8(&text[error.valid_up_to()..])),
        }
    }
}

fn not_utf8(rest: &[u8]) -> Fault {
    let shown = rest.iter().take(4).map(|byte| format!("0x{byte:02x}"));
    let shown = shown.collect::<Vec<_>>().join(" ");
    Fault::error(
        "22021",
        format!("invalid byte sequence for encoding \"UTF8\": {shown}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_of_a_client_make_it_panic(
            kind in prop::sample::select(&b"QPBDECHSFdcfX"[..]),
            body in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = decode(kind, Bytes::from(body));
        }
    }

    #[test]
    fn a_message_is_read_to_its_end_and_no_further() {
        let execute = decode(b'E', Bytes::from_static(b"p\0\0\0\0\x07"));
        assert_eq!(
            execute,
            Ok(Frontend::Execute {
                portal: "p".into(),
                max_rows: 7
            })
        );
        for (body, message) in [
            (&b"p\0\0\0\0"[..], "insufficient data left in message"),
            (&b"p"[..], "invalid string in message"),
            (&b"p\0\0\0\0\x07\0"[..], "invalid message format"),
        ] {
            let fault = decode(b'E', Bytes::copy_from_slice(body)).unwrap_err();
            assert_eq!(fault.message, message);
        }
    }

    #[test]
    fn a_parameter_longer_than_its_message_is_an_error() {
        let body = b"\0\0\0\0\0\x01\x7f\xff\xff\xffab";
        assert!(decode(b'B', Bytes::from_static(body)).is_err());
    }
}
