//! The segment being written, and the room made in it ahead.
//!
//! To make a record durable that lengthens its file, the file system writes its journal too. So the file is lengthened by
//! [`ROOM`] at a time, with zeros that take no writing, and records are written over them: their fsync is the disk's alone. The zeros that
//! are left are cut off when a successor begins, when the log closes, and when it is opened again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::LogError;
use super::segment::{self, SEGMENT_HEAD, SegmentId};

/// Bytes by which a file grows.
const ROOM: u64 = 1 << 20;

/// A segment being written.
pub struct OpenSegment {
    pub id: SegmentId,
    pub path: PathBuf,
    file: File,
    /// Bytes in it, with those that have their place and are not written yet; when it is opened or created, all are durable.
    pub length: u32,
    /// Bytes written.
    written: u64,
    /// Bytes that the file may have, with the room at its end.
    end: u64,
    /// From where on more room is to be made; `None` where the file system makes none.
    room_ends: Option<u64>,
}

impl OpenSegment {
    fn new(id: SegmentId, path: PathBuf, file: File, length: u32) -> OpenSegment {
        OpenSegment {
            id,
            path,
            file,
            length,
            written: length.into(),
            end: length.into(),
            room_ends: Some(length.into()),
        }
    }

    /// Cuts what is not good, and makes durable what is: it may never have been. `doubtful` is what may not be, the end of what is good; it is
    /// written again, since after an fsync that failed the system takes for written what is not.
    pub fn reopen(
        id: SegmentId,
        good: u32,
        doubtful: &[u8],
        path: PathBuf,
    ) -> Result<OpenSegment, LogError> {
        let reopened = || {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(good.into())?;
            file.write_all_at(doubtful, u64::from(good) - doubtful.len() as u64)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = reopened().map_err(|source| LogError::io(&path, source))?;
        Ok(OpenSegment::new(id, path, file, good))
    }

    /// Makes a segment, with its head and its name durable.
    pub fn create(dir: &Path, number: u32) -> Result<OpenSegment, LogError> {
        let id = SegmentId {
            number,
            salt: rand::random(),
        };
        let path = segment::path(dir, number);
        let created = || -> io::Result<File> {
            // One whose creation was cut short may be there.
            let _ = fs::remove_file(&path);
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)?;
            file.write_all_at(&id.encode(), 0)?;
            file.sync_all()?;
            File::open(dir)?.sync_all()?;
            Ok(file)
        };
        let file = created().map_err(|source| LogError::io(&path, source))?;
        Ok(OpenSegment::new(id, path, file, SEGMENT_HEAD as u32))
    }

    /// Makes room for what has its place and is to be written, within `most` bytes of a file where that is enough. Without room the
    /// file grows as it is written, so this never fails: a full disk shows there.
    pub fn make_room(&mut self, most: u32) {
        let needed = u64::from(self.length);
        if self.room_ends.is_none_or(|end| end >= needed) {
            return;
        }
        let wanted = (needed + ROOM).min(most.into()).max(needed);
        let (from, length) = (self.written as i64, (wanted - self.written) as i64);
        // One that is refused may have lengthened the file all the same.
        self.end = self.end.max(wanted);
        self.room_ends = match fallocate(&self.file, FallocateFlags::empty(), from, length) {
            Ok(()) => Some(wanted),
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => None,
            // Not now: perhaps there is space later.
            Err(_) => Some(needed + ROOM),
        };
    }

    /// Writes after what was written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let written = self.file.write_all_at(bytes, self.written);
        self.written += bytes.len() as u64;
        written.map_err(|source| LogError::io(&self.path, source))
    }

    /// Makes durable what was written.
    pub fn sync(&self) -> Result<(), LogError> {
        let synced = self.file.sync_data();
        synced.map_err(|source| LogError::io(&self.path, source))
    }

    /// Makes durable what was written and where it ends.
    pub fn sync_all(&self) -> Result<(), LogError> {
        let synced = self.file.sync_all();
        synced.map_err(|source| LogError::io(&self.path, source))
    }

    /// Gives back the room that was not used: nothing is written here any more.
    pub fn trim(&mut self) -> Result<(), LogError> {
        self.room_ends = None;
        if self.end <= self.written {
            return Ok(());
        }
        let trimmed = self.file.set_len(self.written);
        trimmed.map_err(|source| LogError::io(&self.path, source))
    }
}
