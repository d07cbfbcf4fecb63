//! The directory of checkpoints.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use consensus::transfer::{ChunkList, Content};
use consensus::{Digest, Height, LastDecided, Summary, View};

use super::CheckpointError;
use super::file::{Head, Opened};
use super::incoming::Incoming;

/// A replica's checkpoints; clones share what is open.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    dir: Arc<PathBuf>,
    /// Those that are being read for peers: their lists stay in memory.
    open: Arc<Mutex<BTreeMap<Height, Arc<Opened>>>>,
}

/// A checkpoint as a replica begins with it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The order's part.
    pub summary: Summary,
    /// The service's state.
    pub state: Bytes,
    /// Its chunks.
    pub list: ChunkList,
    /// Roots at earlier heights.
    pub roots: Vec<(Height, Digest)>,
}

impl Checkpoints {
    /// Those in `dir`, which is made if there is none. What a crash left half written is deleted, but not what came
    /// from a peer.
    pub fn open(dir: impl AsRef<Path>) -> Result<Checkpoints, CheckpointError> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(CheckpointError::io(dir))?;
        let half = dir.join("new");
        match fs::remove_file(&half) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(CheckpointError::io(&half)(source));
            }
            _ => {}
        }
        Ok(Checkpoints {
            dir: Arc::new(dir.to_owned()),
            open: Arc::default(),
        })
    }

    /// The file of a height's checkpoint.
    pub fn path(&self, height: Height) -> PathBuf {
        self.dir.join(format!("{height:020}.checkpoint"))
    }

    /// The heights of those that there are, ascending, sound or not.
    pub fn heights(&self) -> Result<Vec<Height>, CheckpointError> {
        let io = || CheckpointError::io(&self.dir);
        let mut heights = Vec::new();
        for entry in fs::read_dir(&*self.dir).map_err(io())? {
            let name = entry.map_err(io())?.file_name();
            let height = name
                .to_str()
                .and_then(|name| name.strip_suffix(".checkpoint"));
            heights.extend(height.and_then(|height| height.parse::<Height>().ok()));
        }
        heights.sort_unstable();
        Ok(heights)
    }

    /// Makes a checkpoint durable.
    pub fn write(
        &self,
        content: &Content,
        list: &ChunkList,
        last: LastDecided,
        roots: Vec<(Height, Digest)>,
    ) -> Result<(), CheckpointError> {
        let half = self.dir.join("new");
        let head = Head {
            list: list.clone(),
            last,
            roots,
        };
        let written = || -> io::Result<()> {
            let mut file = File::create(&half)?;
            file.write_all(&head.encode())?;
            let (size, length) = (list.chunk_bytes as usize, content.length() as usize);
            for begin in (0..length).step_by(size) {
                file.write_all(&content.piece(begin, size))?;
            }
            file.sync_all()
        };
        let written = written().map_err(CheckpointError::io(&half));
        if written.is_err() {
            // Room for the log: it needs it more.
            let _ = fs::remove_file(&half);
        }
        written?;
        self.publish(&half, list.height)
    }

    /// Gives a durable file its name.
    fn publish(&self, from: &Path, height: Height) -> Result<(), CheckpointError> {
        let published = || -> io::Result<()> {
            fs::rename(from, self.path(height))?;
            File::open(&*self.dir)?.sync_all()
        };
        published().map_err(CheckpointError::io(from))?;
        self.lock().remove(&height);
        Ok(())
    }

    /// Deletes all others than these but newer ones, which the caller does not know yet.
    pub fn keep_only(&self, kept: &[Height]) -> Result<(), CheckpointError> {
        let newest = kept.iter().max().copied().unwrap_or(0);
        let old = |height: &Height| *height < newest && !kept.contains(height);
        for old in self.heights()?.into_iter().filter(old) {
            let path = self.path(old);
            self.lock().remove(&old);
            fs::remove_file(&path).map_err(CheckpointError::io(&path))?;
        }
        Ok(())
    }

    /// Reads a checkpoint, checking all of it.
    pub fn load(&self, height: Height, view: &View) -> Result<Loaded, CheckpointError> {
        let opened = self.opened(height)?;
        if opened.head.list.height != height {
            let what = "it is of another height than its name";
            return Err(CheckpointError::Damaged {
                path: self.path(height),
                offset: 0,
                what,
            });
        }
        opened.load(view)
    }

    /// The newest sound checkpoint. Newer ones that are not are put aside under another name, and told of.
    pub fn newest(&self, view: &View) -> Result<Option<Loaded>, CheckpointError> {
        for height in self.heights()?.into_iter().rev() {
            match self.load(height, view) {
                Ok(loaded) => return Ok(Some(loaded)),
                Err(error) => {
                    tracing::error!(%error, height, "a checkpoint is of no use: an older one, or a peer's, takes its place");
                    self.lock().remove(&height);
                    let path = self.path(height);
                    let aside = path.with_extension("damaged");
                    fs::rename(&path, &aside).map_err(CheckpointError::io(&path))?;
                }
            }
        }
        Ok(None)
    }

    /// A checkpoint's list and the proof of its last decision.
    pub fn list(&self, height: Height) -> Result<(ChunkList, LastDecided), CheckpointError> {
        let opened = self.opened(height)?;
        Ok((opened.head.list.clone(), opened.head.last.clone()))
    }

    /// A chunk of a checkpoint, checked.
    pub fn chunk(&self, height: Height, index: u32) -> Result<Bytes, CheckpointError> {
        self.opened(height)?.chunk(index)
    }

    /// Makes room for a checkpoint from a peer. Chunks of the same one that were stored before, and are sound, count:
    /// their indices are returned.
    pub fn receive(
        &self,
        list: ChunkList,
        last: LastDecided,
        roots: Vec<(Height, Digest)>,
    ) -> Result<(Incoming, Vec<u32>), CheckpointError> {
        Incoming::begin(self.dir.join("incoming"), list, last, roots)
    }

    /// A checkpoint from a peer is complete: it becomes one of this replica's. It is read back first: what a disk makes
    /// of what was written shows here, not when it is needed.
    pub fn received(&self, incoming: &Incoming, view: &View) -> Result<Loaded, CheckpointError> {
        let loaded = incoming.finish(view)?;
        self.publish(incoming.path(), loaded.list.height)?;
        Ok(loaded)
    }

    fn opened(&self, height: Height) -> Result<Arc<Opened>, CheckpointError> {
        if let Some(opened) = self.lock().get(&height) {
            return Ok(opened.clone());
        }
        let path = self.path(height);
        let file = File::open(&path).map_err(CheckpointError::io(&path))?;
        let opened = Arc::new(Opened::read(&path, file)?);
        self.lock().insert(height, opened.clone());
        Ok(opened)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Height, Arc<Opened>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
