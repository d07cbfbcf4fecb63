//! Backend messages cut from the byte stream, verbatim.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::Error;

/// How much is asked of the socket at once, in bytes.
const READ: usize = 16 << 10;

/// One backend message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Type byte and the whole message.
    Whole(u8, Bytes),
    /// A message beyond the limit was read and thrown away.
    Skipped,
}

/// Cuts frames from a stream. Memory grows only with bytes that really arrived.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    /// Bytes of an oversized frame that are still to be thrown away.
    skip: usize,
}

impl FrameReader {
    /// The next frame; `None` when the stream ends between two frames.
    pub async fn next<R: AsyncRead + Unpin>(
        &mut self,
        stream: &mut R,
        frame_bytes: usize,
    ) -> Result<Option<Frame>, Error> {
        loop {
            if let Some(frame) = self.cut(frame_bytes)? {
                return Ok(Some(frame));
            }
            if self.buffer.capacity() - self.buffer.len() < READ / 4 {
                self.buffer.reserve(READ);
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.is_empty() && self.skip == 0 {
                    true => Ok(None),
                    false => Err(Error::Closed(None)),
                };
            }
        }
    }

    fn cut(&mut self, frame_bytes: usize) -> Result<Option<Frame>, Error> {
        if self.skip > 0 {
            let now = self.skip.min(self.buffer.len());
            let _ = self.buffer.split_to(now);
            self.skip -= now;
            return Ok((self.skip == 0).then_some(Frame::Skipped));
        }
        let [kind, a, b, c, d, ..] = self.buffer[..] else {
            return Ok(None);
        };
        let length = i32::from_be_bytes([a, b, c, d]);
        let length = match usize::try_from(length) {
            Ok(length) if length >= 4 => length + 1,
            _ => {
                return Err(Error::Protocol(format!(
                    "a message of type {kind:#04x} gives its length as {length}"
                )));
            }
        };
        if length > frame_bytes {
            self.skip = length;
            return self.cut(frame_bytes);
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        Ok(Some(Frame::Whole(
            kind,
            self.buffer.split_to(length).freeze(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn all(mut bytes: &[u8], limit: usize) -> Result<Vec<Frame>, Error> {
        let mut reader = FrameReader::default();
        let mut frames = Vec::new();
        while let Some(frame) = reader.next(&mut bytes, limit).await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[tokio::test]
    async fn an_oversized_frame_is_skipped_and_the_next_one_read() {
        let mut stream = b"D\0\0\xff\xff".to_vec();
        stream.resize(1 + 0xffff, 7);
        stream.extend_from_slice(b"Z\0\0\0\x05I");
        let frames = all(&stream, 100).await.unwrap();
        let ready = Frame::Whole(b'Z', Bytes::from_static(b"Z\0\0\0\x05I"));
        assert_eq!(frames, [Frame::Skipped, ready]);
    }

    #[tokio::test]
    async fn a_length_that_cannot_be_is_an_error() {
        for stream in [&b"D\0\0\0\x03"[..], b"D\xff\xff\xff\xff"] {
            assert!(matches!(all(stream, 100).await, Err(Error::Protocol(_))));
        }
        assert!(matches!(all(b"D\0", 100).await, Err(Error::Closed(None))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(all(&bytes, 50));
        }
    }
}
