//! Where the log begins, and how its beginning moves on: whole segments that nobody needs any more are deleted.
//!
//! The file `begin` names the first segment: a magic, the number (u32), a CRC-32C, little endian. It is replaced atomically
//! before segments are deleted, so that a segment that is missing is told from one that was cut; without it the log
//! begins with segment 1.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut};

use super::index::Index;
use super::{LogError, Position, segment};

const MAGIC: &[u8; 8] = b"steelbg1";

/// The segments that there are, each with the position of its first record.
#[derive(Default)]
pub struct Extent {
    segments: Mutex<VecDeque<(u32, u64)>>,
    /// Held by whoever moves the beginning.
    moving: Mutex<()>,
}

impl Extent {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(u32, u64)>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A segment follows; its first record has this position.
    pub fn push(&self, number: u32, first: u64) {
        self.lock().push_back((number, first));
    }

    /// Deletes all segments before the one that holds `keep`; how many.
    pub fn cut(&self, dir: &Path, keep: Position, index: &Index) -> Result<usize, LogError> {
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, begin) = {
            let segments = self.lock();
            let count = segments
                .iter()
                .rposition(|(_, first)| *first <= keep.0)
                .unwrap_or(0);
            (count, segments.get(count).map(|(number, _)| *number))
        };
        let Some(begin) = begin.filter(|_| count > 0) else {
            return Ok(0);
        };
        write(dir, begin)?;
        // Nobody finds the way to what is about to go.
        index.forget_before(begin);
        let gone: Vec<_> = self.lock().drain(..count).collect();
        for (number, _) in gone {
            remove(&segment::path(dir, number))?;
        }
        Ok(count)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("begin")
}

fn encode(number: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.put_u32_le(number);
    bytes.put_u32_le(crc32c::crc32c(&bytes));
    bytes
}

/// The number of the log's first segment.
pub fn read(dir: &Path) -> Result<u32, LogError> {
    let path = path(dir);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(1),
        Err(source) => return Err(LogError::io(&path, source)),
    };
    let number = bytes.strip_prefix(MAGIC).filter(|rest| rest.len() == 8);
    let number = number.map(|mut rest| rest.get_u32_le());
    number
        .filter(|number| encode(*number) == bytes)
        .ok_or(LogError::Corrupt {
            path,
            offset: 0,
            what: "the note of where the log begins does not match its checksum",
        })
}

/// Makes it durable that the log begins with this segment.
fn write(dir: &Path, number: u32) -> Result<(), LogError> {
    let (path, new) = (path(dir), dir.join("begin.new"));
    let written = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(&encode(number))?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()
    };
    written().map_err(|source| LogError::io(&path, source))
}

/// Deletes a segment that was cut; it may be gone already.
pub fn remove(path: &Path) -> Result<(), LogError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LogError::io(path, source)),
        _ => Ok(()),
    }
}
