//! Frames on the wire: a 6-byte head (payload length as u32 little endian, channel, kind) and the payload.
//!
//! A message is one frame of kind `LAST`, or several of kind `MORE` followed by one `LAST` on the same channel; frames of
//! other channels may come between them.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before the payload of a frame.
pub const HEAD: usize = 6;

const LAST: u8 = 0;
const MORE: u8 = 1;
const PING: u8 = 2;

/// The head of a ping, which is a whole frame: sent in silence, and as the listener's first word.
pub const PING_FRAME: [u8; HEAD] = [0, 0, 0, 0, 0, PING];

/// A piece of a message, ready to be written.
pub struct Piece {
    pub channel: u8,
    pub last: bool,
    pub payload: Bytes,
}

impl Piece {
    pub fn encode(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.payload.len()).expect("a piece is at most a fragment");
        out.put_u32_le(length);
        out.put_u8(self.channel);
        out.put_u8(if self.last { LAST } else { MORE });
        out.put_slice(&self.payload);
    }
}

/// What a peer sent that no honest peer sends; it ends the connection.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    #[error("a frame of {0} bytes is over the limit of {1}")]
    FrameTooLong(usize, usize),
    #[error("unfinished messages over the limit of {0} bytes")]
    MessageTooLong(usize),
    #[error("a malformed frame head")]
    Malformed,
}

/// Cuts a peer's byte stream into messages, within bounds whatever the peer sends.
pub struct Assembler {
    max_frame: usize,
    max_message: usize,
    unfinished: BTreeMap<u8, Vec<u8>>,
    unfinished_bytes: usize,
}

impl Assembler {
    pub fn new(max_frame: usize, max_message: usize) -> Assembler {
        Assembler {
            max_frame,
            max_message,
            unfinished: BTreeMap::new(),
            unfinished_bytes: 0,
        }
    }

    /// Takes frames from the front of `input` until a message is complete; `None`: more input is needed.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<(u8, Bytes)>, WireError> {
        while input.len() >= HEAD {
            let mut head = &input[..HEAD];
            let length = head.get_u32_le() as usize;
            let (channel, kind) = (head.get_u8(), head.get_u8());
            if length > self.max_frame {
                return Err(WireError::FrameTooLong(length, self.max_frame));
            }
            if kind > PING || (kind == PING && length > 0) || (kind == MORE && length == 0) {
                return Err(WireError::Malformed);
            }
            if input.len() < HEAD + length {
                input.reserve(HEAD + length - input.len());
                return Ok(None);
            }
            let message = match kind {
                PING => None,
                LAST => Some(self.finish(channel, &input[HEAD..HEAD + length])?),
                _ => {
                    self.keep(channel, &input[HEAD..HEAD + length])?;
                    None
                }
            };
            input.advance(HEAD + length);
            if let Some(payload) = message {
                return Ok(Some((channel, payload)));
            }
        }
        Ok(None)
    }

    fn keep(&mut self, channel: u8, part: &[u8]) -> Result<(), WireError> {
        if self.unfinished_bytes + part.len() > self.max_message {
            return Err(WireError::MessageTooLong(self.max_message));
        }
        self.unfinished_bytes += part.len();
        let message = self.unfinished.entry(channel).or_default();
        message.extend_from_slice(part);
        Ok(())
    }

    fn finish(&mut self, channel: u8, part: &[u8]) -> Result<Bytes, WireError> {
        if !self.unfinished.contains_key(&channel) {
            return Ok(Bytes::copy_from_slice(part));
        }
        self.keep(channel, part)?;
        let message = self.unfinished.remove(&channel).unwrap_or_default();
        self.unfinished_bytes -= message.len();
        Ok(message.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(channel: u8, last: bool, payload: &'static [u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let payload = Bytes::from_static(payload);
        Piece {
            channel,
            last,
            payload,
        }
        .encode(&mut out);
        out
    }

    fn feed(assembler: &mut Assembler, wire: &[u8]) -> Result<Vec<(u8, Bytes)>, WireError> {
        let (mut input, mut messages) = (BytesMut::new(), Vec::new());
        // Byte by byte: a frame may be torn anywhere.
        for byte in wire {
            input.put_u8(*byte);
            messages.extend(assembler.next(&mut input)?);
        }
        assert!(input.is_empty());
        Ok(messages)
    }

    #[test]
    fn fragments_of_two_channels_interleave() {
        let wire = [
            frame(1, false, b"he"),
            frame(2, false, b"wo"),
            PING_FRAME.to_vec(),
            frame(3, true, b""),
            frame(2, true, b"rld"),
            frame(1, true, b"llo"),
        ]
        .concat();
        let messages = feed(&mut Assembler::new(8, 8), &wire).unwrap();
        let expected = [(3, &b""[..]), (2, b"world"), (1, b"hello")];
        assert_eq!(
            messages,
            expected.map(|(channel, text)| (channel, Bytes::from_static(text)))
        );
    }

    #[test]
    fn unfinished_messages_are_bounded_together() {
        let wire = [frame(1, false, b"12345"), frame(2, false, b"12345")].concat();
        let mut assembler = Assembler::new(8, 9);
        assert_eq!(
            feed(&mut assembler, &wire),
            Err(WireError::MessageTooLong(9))
        );
    }

    #[test]
    fn a_long_frame_is_refused_by_its_head_alone() {
        let head = [9, 0, 0, 0, 1, LAST];
        let mut input = BytesMut::from(&head[..]);
        let refused = Assembler::new(8, 100).next(&mut input);
        assert_eq!(refused, Err(WireError::FrameTooLong(9, 8)));
    }

    #[test]
    fn heads_that_no_peer_writes_are_refused() {
        for head in [
            [0, 0, 0, 0, 0, 3],
            [1, 0, 0, 0, 0, PING],
            [0, 0, 0, 0, 7, MORE],
        ] {
            let mut input = BytesMut::from(&head[..]);
            assert_eq!(
                Assembler::new(8, 8).next(&mut input),
                Err(WireError::Malformed)
            );
        }
    }
}
