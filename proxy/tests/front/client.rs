//! A client that speaks frames, and tells what it hears in short lines.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub struct Client {
    pub stream: TcpStream,
    input: BytesMut,
    /// Number and secret for a cancel request.
    pub key: (i32, i32),
    /// What the server said at the start.
    pub greeting: Vec<String>,
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.put_u32(body.len() as u32 + 4);
    message.put_slice(body);
    message
}

pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', format!("{sql}\0").as_bytes())
}

pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

pub fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(
        b'B',
        format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes(),
    )
}

pub fn describe(kind: char, name: &str) -> Vec<u8> {
    message(b'D', format!("{kind}{name}\0").as_bytes())
}

pub fn execute(portal: &str, max_rows: u32) -> Vec<u8> {
    let mut body = format!("{portal}\0").into_bytes();
    body.put_u32(max_rows);
    message(b'E', &body)
}

pub fn close(kind: char, name: &str) -> Vec<u8> {
    message(b'C', format!("{kind}{name}\0").as_bytes())
}

pub fn sync() -> Vec<u8> {
    message(b'S', b"")
}

pub fn flush() -> Vec<u8> {
    message(b'H', b"")
}

pub fn terminate() -> Vec<u8> {
    message(b'X', b"")
}

pub fn copy_data(data: &[u8]) -> Vec<u8> {
    message(b'd', data)
}

pub fn copy_done() -> Vec<u8> {
    message(b'c', b"")
}

pub fn copy_fail(reason: &str) -> Vec<u8> {
    message(b'f', format!("{reason}\0").as_bytes())
}

pub fn raw(kind: u8, body: &[u8]) -> Vec<u8> {
    message(kind, body)
}

/// Parse, Bind, Describe and Execute of the unnamed statement: what most drivers send.
pub fn run(sql: &str) -> Vec<u8> {
    [
        parse("", sql),
        bind("", ""),
        describe('P', ""),
        execute("", 0),
    ]
    .concat()
}

pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u32(version);
    for (name, value) in parameters {
        body.put_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.put_u8(0);
    let mut packet = Vec::new();
    packet.put_u32(body.len() as u32 + 4);
    packet.put_slice(&body);
    packet
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        Client::with(address, &[]).await
    }

    pub async fn with(address: SocketAddr, settings: &[(&str, &str)]) -> Client {
        let mut client = Client::open(address).await;
        let parameters = [&[("user", "postgres")], settings].concat();
        client.send(&[startup(3 << 16, &parameters)]).await;
        client.greeting = client.until_ready().await;
        client
    }

    /// A connection that has not said anything yet.
    pub async fn open(address: SocketAddr) -> Client {
        Client {
            stream: TcpStream::connect(address).await.unwrap(),
            input: BytesMut::new(),
            key: (0, 0),
            greeting: Vec::new(),
        }
    }

    pub async fn send(&mut self, messages: &[Vec<u8>]) {
        self.stream.write_all(&messages.concat()).await.unwrap();
    }

    /// Sends messages and hears the answer up to ReadyForQuery.
    pub async fn ask(&mut self, messages: &[Vec<u8>]) -> Vec<String> {
        self.send(messages).await;
        self.until_ready().await
    }

    pub async fn query(&mut self, sql: &str) -> Vec<String> {
        self.ask(&[query(sql)]).await
    }

    /// Everything up to a ReadyForQuery.
    pub async fn until_ready(&mut self) -> Vec<String> {
        self.until("Z").await
    }

    /// Everything up to a line that begins so.
    pub async fn until(&mut self, start: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard
            .last()
            .is_some_and(|line: &String| line.starts_with(start))
        {
            match self.hear().await {
                Some(line) => heard.push(line),
                None => panic!("the server closed the connection after {heard:?}"),
            }
        }
        heard
    }

    /// Everything up to the end of the connection.
    pub async fn until_closed(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        while let Some(line) = self.hear().await {
            heard.push(line);
        }
        heard
    }

    /// Says that nothing comes for a while.
    pub async fn silent(&mut self) -> bool {
        let heard = timeout(Duration::from_millis(100), self.stream.readable()).await;
        self.input.is_empty() && heard.is_err()
    }

    async fn hear(&mut self) -> Option<String> {
        loop {
            if self.input.len() >= 5 {
                let length = (&self.input[1..5]).get_u32() as usize;
                if self.input.len() > length {
                    let frame = self.input.split_to(length + 1).freeze();
                    return Some(self.line(&frame));
                }
            }
            let read = self.stream.read_buf(&mut self.input);
            let read = timeout(Duration::from_secs(60), read).await;
            match read.expect("the server has to answer") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    fn line(&mut self, frame: &Bytes) -> String {
        let mut body = frame.slice(5..);
        match frame[0] {
            b'K' => {
                self.key = (body.get_i32(), body.get_i32());
                "K".into()
            }
            b'D' => {
                let columns = body.get_u16();
                let values = (0..columns).map(|_| match body.get_i32() {
                    -1 => "null".into(),
                    length => String::from_utf8_lossy(&body.split_to(length as usize)).into_owned(),
                });
                format!("D {}", values.collect::<Vec<_>>().join("|"))
            }
            b'T' => {
                let columns = body.get_u16();
                let names = (0..columns).map(|_| {
                    let end = body.iter().position(|b| *b == 0).unwrap();
                    let name = String::from_utf8_lossy(&body.split_to(end)).into_owned();
                    body.advance(17);
                    format!("{name}:{}", body.get_u16())
                });
                format!("T {}", names.collect::<Vec<_>>().join(","))
            }
            kind @ (b'E' | b'N') => {
                let field = |code: u8| {
                    let fields = body.split(|b| *b == 0);
                    let found = fields
                        .filter_map(|f| f.split_first())
                        .find(|(c, _)| **c == code);
                    found.map_or(String::new(), |(_, value)| {
                        String::from_utf8_lossy(value).into_owned()
                    })
                };
                let (severity, state, text) = (field(b'S'), field(b'C'), field(b'M'));
                let position = match field(b'P') {
                    position if position.is_empty() => position,
                    position => format!(" at {position}"),
                };
                format!("{} {severity} {state} {text}{position}", kind as char)
            }
            b'S' | b'C' | b'Z' => {
                let text = String::from_utf8_lossy(&body);
                format!(
                    "{} {}",
                    frame[0] as char,
                    text.trim_end_matches('\0').replace('\0', "=")
                )
            }
            b'G' => format!("G {} {}", body.get_u8(), body.get_u16()),
            kind => (kind as char).to_string(),
        }
    }
}
