//! The byte stream with one client: frames in, read ahead while earlier ones are served; answers out, gathered.

use super::{Fault, Frontend, backend, frontend};
use crate::limits;
use bytes::{Buf, Bytes, BytesMut};
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Why a connection cannot go on.
#[derive(Debug)]
pub(crate) enum Closed {
    /// The client vanished.
    Gone,
    /// It broke the protocol beyond repair, or may not stay: told so, then closed.
    Fatal(Box<Fault>),
}

impl From<Fault> for Closed {
    fn from(fault: Fault) -> Closed {
        Closed::Fatal(Box::new(fault.into_fatal()))
    }
}

/// Every method may be dropped while it waits: what was read or is still to be written stays in here.
pub(crate) struct Wire {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    input: BytesMut,
    /// Nothing more comes from the client.
    ended: bool,
    /// Answers not yet written.
    pub out: BytesMut,
    /// A large frame that goes after `out`, without being copied into it.
    large: Bytes,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Wire {
        let (read, write) = stream.into_split();
        Wire {
            read,
            write,
            input: BytesMut::new(),
            ended: false,
            out: BytesMut::new(),
            large: Bytes::new(),
        }
    }

    /// The next message. `Ok(Err(_))` is one that came whole but is malformed, with its type.
    pub async fn next(&mut self) -> Result<Result<Frontend, (u8, Fault)>, Closed> {
        loop {
            if let Some((kind, body)) = self.take_frame()? {
                return Ok(frontend::decode(kind, body).map_err(|fault| (kind, fault)));
            }
            if self.ended {
                return Err(Closed::Gone);
            }
            self.fill().await;
        }
    }

    fn take_frame(&mut self) -> Result<Option<(u8, Bytes)>, Closed> {
        let Some(header) = self.input.first_chunk::<5>() else {
            return Ok(None);
        };
        let kind = header[0];
        if !frontend::is_known(kind) {
            let message = format!("invalid frontend message type {kind}");
            return Err(Fault::protocol(message).into());
        }
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let limit = if kind == b'd' {
            limits::COPY_BYTES
        } else {
            limits::MESSAGE_BYTES
        };
        if !(4..=limit).contains(&length) {
            return Err(Fault::protocol("invalid message length").into());
        }
        if self.input.len() < length + 1 {
            return Ok(None);
        }
        let mut frame = self.input.split_to(length + 1);
        frame.advance(5);
        Ok(Some((kind, frame.freeze())))
    }

    /// A packet without a type, as they come before a session: length, then the body.
    ///
    /// # Errors
    /// When its length is outside of `8..=`[`limits::STARTUP_BYTES`].
    pub async fn next_untyped(&mut self) -> Result<Bytes, Closed> {
        loop {
            if let Some(header) = self.input.first_chunk::<4>() {
                let length = u32::from_be_bytes(*header) as usize;
                if !(8..=limits::STARTUP_BYTES).contains(&length) {
                    return Err(Fault::protocol("invalid length of startup packet").into());
                }
                if self.input.len() >= length {
                    let mut packet = self.input.split_to(length);
                    packet.advance(4);
                    return Ok(packet.freeze());
                }
            }
            if self.ended {
                return Err(Closed::Gone);
            }
            self.fill().await;
        }
    }

    /// A client's part of an authentication: a message of type `p`, of which the body.
    ///
    /// # Errors
    /// When it is of another type, or longer than [`limits::STARTUP_BYTES`].
    pub async fn next_password(&mut self) -> Result<Bytes, Closed> {
        loop {
            if let Some(header) = self.input.first_chunk::<5>() {
                if header[0] != b'p' {
                    let message = format!("expected SASL response, got message type {}", header[0]);
                    return Err(Fault::protocol(message).into());
                }
                let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
                let length = length as usize;
                if !(4..=limits::STARTUP_BYTES).contains(&length) {
                    return Err(Fault::protocol("invalid message length").into());
                }
                if self.input.len() > length {
                    let mut frame = self.input.split_to(length + 1);
                    frame.advance(5);
                    return Ok(frame.freeze());
                }
            }
            if self.ended {
                return Err(Closed::Gone);
            }
            self.fill().await;
        }
    }

    /// Whether bytes have come that nobody asked for yet.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Reads once.
    async fn fill(&mut self) {
        fill(&mut self.read, &mut self.input, &mut self.ended).await;
    }

    /// Waits for `work` and reads ahead meanwhile, within bounds.
    ///
    /// # Errors
    /// When the client vanishes before the work is done. One that said goodbye before it went waits, as it were, for the end.
    pub async fn during<F: Future>(&mut self, work: F) -> Result<F::Output, Closed> {
        tokio::pin!(work);
        loop {
            if self.ended && !terminated(&self.input) {
                return Err(Closed::Gone);
            }
            let reading = !self.ended && self.input.len() < limits::READ_AHEAD_BYTES;
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = fill(&mut self.read, &mut self.input, &mut self.ended), if reading => {}
            }
        }
    }

    /// Queues a whole frame for the client; writes when enough has gathered.
    pub async fn forward(&mut self, frame: Bytes) -> Result<(), Closed> {
        if frame.len() >= limits::OUTPUT_BYTES {
            self.flush().await?;
            self.large = frame;
            return self.flush().await;
        }
        self.out.extend_from_slice(&frame);
        if self.out.len() >= limits::OUTPUT_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes everything that has gathered, at the client's pace; reads ahead meanwhile, so that a client that
    /// pipelines without reading does not stop both sides.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        while self.out.has_remaining() || self.large.has_remaining() {
            let reading = !self.ended && self.input.len() < limits::READ_AHEAD_BYTES;
            let next: &mut (dyn Buf + Send) = if self.out.has_remaining() {
                &mut self.out
            } else {
                &mut self.large
            };
            let mut next = next;
            tokio::select! {
                biased;
                written = self.write.write_buf(&mut next) => match written {
                    Ok(0) | Err(_) => return Err(Closed::Gone),
                    Ok(_) => {}
                },
                () = fill(&mut self.read, &mut self.input, &mut self.ended), if reading => {}
            }
        }
        self.large = Bytes::new();
        Ok(())
    }

    /// Tells the client why the connection ends; gives up soon if it does not listen.
    pub async fn close(mut self, fault: Option<Fault>) {
        if let Some(fault) = fault {
            backend::error(&mut self.out, fault);
        }
        let farewell = async {
            self.flush().await.ok();
            self.write.shutdown().await.ok();
        };
        tokio::time::timeout(limits::LAST_WORDS, farewell)
            .await
            .ok();
    }
}

async fn fill(read: &mut OwnedReadHalf, input: &mut BytesMut, ended: &mut bool) {
    // Grows by doubling as data comes, so that a length alone makes nobody allocate.
    input.reserve(8 << 10);
    match read.read_buf(input).await {
        Ok(0) | Err(_) => *ended = true,
        Ok(_) => {}
    }
}

/// Whether a Terminate is among the messages that were read ahead.
fn terminated(mut input: &[u8]) -> bool {
    while let Some(header) = input.first_chunk::<5>() {
        if header[0] == b'X' {
            return true;
        }
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        input = input.get(length.saturating_add(1)..).unwrap_or_default();
    }
    false
}
