//! A checkpoint's file: the magic with the format's version, the head's length (u32), a CRC-32C of the head (u32), the head;
//! then the content, whose chunks' digests are in the head. Numbers are little endian.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};
use consensus::transfer::{ChunkList, Content};
use consensus::{Digest, Height, LastDecided, View};
use serde::{Deserialize, Serialize};

use super::{CheckpointError, Loaded};

const MAGIC: &[u8; 8] = b"steelcp1";
/// Bytes before the head.
const PREFIX: usize = 16;

/// What lies before a checkpoint's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub list: ChunkList,
    /// Proof of its last decision.
    pub last: LastDecided,
    /// Roots at earlier agreed heights, so that a restarted replica can still vouch for them.
    pub roots: Vec<(Height, Digest)>,
}

/// A file whose head was read.
#[derive(Debug)]
pub struct Opened {
    pub path: PathBuf,
    pub file: File,
    pub head: Head,
    /// Where the content begins.
    pub begin: u64,
}

impl Head {
    pub fn encode(&self) -> Vec<u8> {
        let head = postcard::to_stdvec(self).expect("writing plain data to memory cannot fail");
        let mut bytes = MAGIC.to_vec();
        bytes.put_u32_le(u32::try_from(head.len()).expect("a list is bounded far below 4 GiB"));
        bytes.put_u32_le(crc32c::crc32c(&head));
        bytes.extend_from_slice(&head);
        bytes
    }
}

impl Opened {
    /// Reads and checks the head.
    pub fn read(path: &Path, file: File) -> Result<Opened, CheckpointError> {
        let damaged = |what| CheckpointError::Damaged {
            path: path.into(),
            offset: 0,
            what,
        };
        let io = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("the head is cut"),
            _ => CheckpointError::io(path)(error),
        };
        let mut prefix = [0; PREFIX];
        file.read_exact_at(&mut prefix, 0).map_err(io)?;
        let mut rest = prefix
            .strip_prefix(MAGIC)
            .ok_or(damaged("no checkpoint of this version begins here"))?;
        let (length, checksum) = (rest.get_u32_le(), rest.get_u32_le());
        let size = file.metadata().map_err(CheckpointError::io(path))?.len();
        if u64::from(length) > size {
            return Err(damaged("the head is cut"));
        }
        let mut head = vec![0; length as usize];
        file.read_exact_at(&mut head, PREFIX as u64).map_err(io)?;
        if crc32c::crc32c(&head) != checksum {
            return Err(damaged("the head's checksum does not match"));
        }
        let head: Head =
            postcard::from_bytes(&head).map_err(|_| damaged("the head is unreadable"))?;
        let begin = PREFIX as u64 + u64::from(length);
        head.list
            .check(usize::MAX)
            .map_err(|_| damaged("the list of chunks cannot be"))?;
        Ok(Opened {
            path: path.into(),
            file,
            head,
            begin,
        })
    }

    /// One chunk, checked against the list.
    pub fn chunk(&self, index: u32) -> Result<Bytes, CheckpointError> {
        let damaged = |offset, what| CheckpointError::Damaged {
            path: self.path.clone(),
            offset,
            what,
        };
        let (at, length) = self
            .head
            .list
            .span(index)
            .ok_or_else(|| damaged(0, "it has no such chunk"))?;
        let offset = self.begin + at;
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => damaged(offset, "a chunk is cut"),
                _ => CheckpointError::io(&self.path)(error),
            })?;
        if !self.head.list.holds(index, &bytes) {
            return Err(damaged(offset, "a chunk's digest does not match"));
        }
        Ok(bytes.into())
    }

    /// The checkpoint, all of it checked.
    pub fn load(&self, view: &View) -> Result<Loaded, CheckpointError> {
        let Head { list, last, roots } = self.head.clone();
        let (summary, state) = Content::open(&self.content()?, last, view).map_err(|source| {
            CheckpointError::Content {
                path: self.path.clone(),
                source,
            }
        })?;
        if summary.height() != list.height {
            let what = "its list is of another height than its content";
            return Err(CheckpointError::Damaged {
                path: self.path.clone(),
                offset: 0,
                what,
            });
        }
        Ok(Loaded {
            summary,
            state,
            list,
            roots,
        })
    }

    fn content(&self) -> Result<Bytes, CheckpointError> {
        let size = self
            .file
            .metadata()
            .map_err(CheckpointError::io(&self.path))?
            .len();
        let length = self.head.list.length;
        if size != self.begin + length {
            return Err(CheckpointError::Damaged {
                path: self.path.clone(),
                offset: size.min(self.begin + length),
                what: "the file is not as long as its head says",
            });
        }
        let mut content = Vec::with_capacity(length as usize);
        for index in 0..self.head.list.chunks.len() as u32 {
            content.extend_from_slice(&self.chunk(index)?);
        }
        Ok(content.into())
    }
}
