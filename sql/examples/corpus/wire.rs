//! PostgreSQL's messages over a Unix socket, one at a time and blocking.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A message: its type and its body without the length.
pub type Frame = (u8, Vec<u8>);

/// One end of a connection.
pub struct Wire(BufReader<UnixStream>);

impl Wire {
    pub fn new(stream: UnixStream) -> Wire {
        Wire(BufReader::new(stream))
    }

    /// A session of `user` with `database`, ready for its first query.
    pub fn connect(socket: &Path, user: &str, database: &str) -> io::Result<Wire> {
        let mut wire = Wire::new(UnixStream::connect(socket)?);
        let parameters = format!("user\0{user}\0database\0{database}\0\0");
        let mut startup = 196_608_u32.to_be_bytes().to_vec();
        startup.extend_from_slice(parameters.as_bytes());
        wire.send_startup(&startup)?;
        while wire.receive()?.0 != b'Z' {}
        Ok(wire)
    }

    /// The body of the first packet, which has no type.
    pub fn receive_startup(&mut self) -> io::Result<Vec<u8>> {
        self.body()
    }

    pub fn send_startup(&mut self, body: &[u8]) -> io::Result<()> {
        self.write(&[], body)
    }

    pub fn receive(&mut self) -> io::Result<Frame> {
        let mut kind = [0];
        self.0.read_exact(&mut kind)?;
        Ok((kind[0], self.body()?))
    }

    pub fn send(&mut self, (kind, body): &Frame) -> io::Result<()> {
        self.write(&[*kind], body)
    }

    /// One byte without a length: the answer to a request for encryption.
    pub fn send_byte(&mut self, byte: u8) -> io::Result<()> {
        self.0.get_mut().write_all(&[byte])
    }

    fn write(&mut self, kind: &[u8], body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len() + 4).map_err(io::Error::other)?;
        let mut bytes = kind.to_vec();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(body);
        self.0.get_mut().write_all(&bytes)
    }

    fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        let rest = length.checked_sub(4).ok_or(io::ErrorKind::InvalidData)?;
        let mut body = vec![0; rest];
        self.0.read_exact(&mut body)?;
        Ok(body)
    }
}

/// The Query message of a text.
pub fn query(sql: &str) -> Frame {
    (b'Q', [sql.as_bytes(), b"\0"].concat())
}

/// What a server answered, up to its ReadyForQuery.
#[derive(Debug, Default, Clone)]
pub struct Answer {
    /// DataRow bodies, sorted.
    pub rows: Vec<Vec<u8>>,
    /// SQLSTATE and message of the first error.
    pub error: Option<(String, String)>,
    /// The transaction status after it: `I`, `T`, `E`.
    pub status: u8,
}

impl Answer {
    /// Takes a frame in; true when it was the last.
    pub fn take(&mut self, (kind, body): &Frame) -> bool {
        match kind {
            b'D' => self.rows.push(body.clone()),
            b'E' if self.error.is_none() => {
                self.error = Some((field(body, b'C'), field(body, b'M')))
            }
            b'Z' => {
                self.rows.sort();
                self.status = body[0];
            }
            _ => {}
        }
        *kind == b'Z'
    }

    /// PostgreSQL's own grammar turned the text down, before it looked at any catalog.
    pub fn is_unparsable(&self) -> bool {
        self.error.as_ref().is_some_and(|(sqlstate, message)| {
            let scanner = [
                "unterminated ",
                "syntax error",
                "trailing junk",
                "invalid Unicode",
                "zero-length",
            ];
            sqlstate == "42601" && scanner.iter().any(|start| message.starts_with(start))
        })
    }

    pub fn sqlstate(&self) -> &str {
        self.error
            .as_ref()
            .map_or("00000", |(sqlstate, _)| sqlstate)
    }
}

fn field(body: &[u8], wanted: u8) -> String {
    body.split(|&byte| byte == 0)
        .find(|field| field.first() == Some(&wanted))
        .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
        .unwrap_or_default()
}
