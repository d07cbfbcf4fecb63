//! A checkpoint on its way from a peer, chunk by chunk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use consensus::transfer::ChunkList;
use consensus::{Digest, Height, LastDecided, View};

use super::file::{Head, Opened};
use super::{CheckpointError, Loaded};

/// The file that receives it: laid out as the checkpoint that it becomes.
#[derive(Debug)]
pub struct Incoming {
    opened: Opened,
}

impl Incoming {
    pub(super) fn begin(
        path: PathBuf,
        list: ChunkList,
        last: LastDecided,
        roots: Vec<(Height, Digest)>,
    ) -> Result<(Incoming, Vec<u32>), CheckpointError> {
        let mut before = resume(&path, &list);
        let chunks = 0..list.chunks.len() as u32;
        let sound = |opened: &Opened| {
            let sound = chunks.filter(|index| opened.chunk(*index).is_ok());
            sound.collect::<Vec<_>>()
        };
        let have = before.as_ref().map(sound).unwrap_or_default();
        if let Some(opened) = before.take_if(|opened| opened.head.last == last) {
            return Ok((Incoming { opened }, have));
        }
        // Another source has the same chunks and another proof, which may be longer.
        let incoming = Incoming::create(path, Head { list, last, roots })?;
        for index in &have {
            if let Some(before) = &before {
                incoming.store(*index, &before.chunk(*index)?)?;
            }
        }
        Ok((incoming, have))
    }

    fn create(path: PathBuf, head: Head) -> Result<Incoming, CheckpointError> {
        let bytes = head.encode();
        let begin = bytes.len() as u64;
        let created = || -> io::Result<File> {
            // A file of its own: an earlier one may still be written to, or read.
            let _ = fs::remove_file(&path);
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)?;
            file.write_all(&bytes)?;
            file.set_len(begin + head.list.length)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = created().map_err(CheckpointError::io(&path))?;
        Ok(Incoming {
            opened: Opened {
                path,
                file,
                head,
                begin,
            },
        })
    }

    /// Whose state it is.
    pub fn height(&self) -> Height {
        self.opened.head.list.height
    }

    /// Writes a chunk, which the caller has checked.
    pub fn store(&self, index: u32, bytes: &[u8]) -> Result<(), CheckpointError> {
        let Opened {
            path,
            file,
            head,
            begin,
        } = &self.opened;
        let Some((at, _)) = head.list.span(index) else {
            return Ok(());
        };
        file.write_all_at(bytes, begin + at)
            .map_err(CheckpointError::io(path))
    }

    /// All chunks are stored: makes them durable and reads them back.
    pub(super) fn finish(&self, view: &View) -> Result<Loaded, CheckpointError> {
        let Opened { path, file, .. } = &self.opened;
        file.sync_all().map_err(CheckpointError::io(path))?;
        self.opened.load(view)
    }

    pub(super) fn path(&self) -> &Path {
        &self.opened.path
    }
}

/// The file of an earlier run, if it is of the same checkpoint.
fn resume(path: &Path, list: &ChunkList) -> Option<Opened> {
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    let opened = Opened::read(path, file).ok()?;
    (opened.head.list == *list).then_some(opened)
}
