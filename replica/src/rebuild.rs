//! Making PostgreSQL's data anew: why, when last, and where the old ones are put.
//!
//! Below the replica's directory: `rebuild` says that the data are to be made anew and where the old directory goes;
//! `rebuilt` says when and why that was done last. Both survive a crash at any point: a directory that was set aside for
//! this wish is not set aside twice. `copying` says that the data directory holds an unfinished copy, and `laid` that it holds the
//! agreed definitions and rows of tables: a later start goes on with it. Without `laid` it is of no use.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::executor::now_ms;
use crate::postgres::{Error, kill_postgres};

/// A rebuild that nobody asked for does not follow another one sooner: whoever damages the data is still there then.
const PAUSE: Duration = Duration::from_secs(600);

/// A set-aside directory is called like the data directory, then this, then the second.
const DAMAGED: &str = ".damaged-";

/// The files about rebuilds of one replica.
#[derive(Clone, Debug)]
pub struct Rebuilds {
    dir: PathBuf,
    data_dir: PathBuf,
}

/// When and why PostgreSQL's data were begun anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Milliseconds of this replica's clock.
    pub at_ms: u64,
    pub why: String,
}

/// Whether a rebuild that nobody asked for may follow the last one now.
pub fn is_due(last_ms: Option<u64>) -> bool {
    let since = |at: u64| now_ms().saturating_sub(at);
    last_ms.is_none_or(|at| u128::from(since(at)) >= PAUSE.as_millis())
}

/// A rebuild that is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Where the old directory goes.
    aside: PathBuf,
    pub why: String,
}

impl Rebuilds {
    /// `dir` is the replica's own directory, `data_dir` its PostgreSQL's.
    pub fn new(dir: &Path, data_dir: &Path) -> Rebuilds {
        Rebuilds {
            dir: dir.to_owned(),
            data_dir: data_dir.to_owned(),
        }
    }

    /// From now on, also after a crash, a rebuild is due.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn wish(&self, why: &str) -> Result<(), Error> {
        let aside = format!("{}{DAMAGED}{}", self.data_dir.display(), now_ms() / 1_000);
        self.write("rebuild", &aside, why)
    }

    /// The rebuild that is due.
    pub fn wished(&self) -> Option<Wish> {
        let (aside, why) = self.read("rebuild")?;
        Some(Wish {
            aside: aside.into(),
            why,
        })
    }

    /// The last rebuild.
    pub fn last(&self) -> Option<Noted> {
        let (at, why) = self.read("rebuilt")?;
        let at_ms = at.parse().ok()?;
        Some(Noted { at_ms, why })
    }

    /// Whether one that nobody asked for may be done now.
    pub fn may(&self) -> bool {
        is_due(self.last().map(|noted| noted.at_ms))
    }

    /// The data directory is fresh: nothing is due any more. Of the old ones the last is kept.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn done(&self, why: &str) -> Result<(), Error> {
        self.write("rebuilt", &now_ms().to_string(), why)?;
        self.forget()?;
        let mut old = self.set_aside();
        old.pop();
        for dir in old {
            tracing::warn!(dir = %dir.display(), "an older damaged data directory is deleted; the newest one is kept");
            if let Err(error) = std::fs::remove_dir_all(&dir) {
                tracing::warn!(dir = %dir.display(), %error, "it cannot be deleted; delete it by hand");
            }
        }
        Ok(())
    }

    /// Nothing is due any more.
    ///
    /// # Errors
    /// When the note of it cannot be removed.
    pub fn forget(&self) -> Result<(), Error> {
        self.remove("rebuild")
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// From now on the data directory holds an unfinished copy without anything in it, or is to be made anew without one. Survives
    /// a crash.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin_copy(&self, copies: bool, why: &str) -> Result<(), Error> {
        self.unlay()?;
        self.write("copying", if copies { "copy" } else { "history" }, why)
    }

    /// Whether a copy was begun and not finished: whether another one is to be tried, and why the data are made anew.
    pub fn copying(&self) -> Option<(bool, String)> {
        let (what, why) = self.read("copying")?;
        Some((what == "copy", why))
    }

    /// The copy is whole, or its remains are gone.
    ///
    /// # Errors
    /// When the note of it cannot be removed.
    pub fn end_copy(&self) -> Result<(), Error> {
        // In this order: without `copying` the other means nothing.
        self.remove("copying")?;
        self.unlay()
    }

    /// The copy holds the agreed definitions, durably: a later start goes on with it. `unforced`: tables whose row security does not hold
    /// for their owner until the copy ends.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn lay(&self, unforced: &[String]) -> Result<(), Error> {
        let text = serde_json::to_string(unforced).expect("names are text");
        self.write("laid", &text, "")
    }

    /// What [`lay`](Self::lay) was told of the unfinished copy.
    pub fn laid(&self) -> Option<Vec<String>> {
        let (text, _) = self.read("laid")?;
        serde_json::from_str(&text).ok()
    }

    /// Nobody goes on with the unfinished copy.
    ///
    /// # Errors
    /// When the note of it cannot be removed.
    pub fn unlay(&self) -> Result<(), Error> {
        self.remove("laid")
    }

    /// Removes an unfinished copy, its server killed. Blocks.
    ///
    /// # Errors
    /// When its processes do not end, or it cannot be removed.
    pub fn drop_copy(&self) -> Result<(), Error> {
        self.unlay()?;
        kill_postgres(&self.data_dir)?;
        match std::fs::remove_dir_all(&self.data_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.data_dir)(error))
            }
            _ => Ok(()),
        }
    }

    /// Puts the old directory out of the way, its server killed. Blocks.
    ///
    /// # Errors
    /// When its processes do not end, or it cannot be renamed.
    pub fn put_aside(&self, wish: &Wish) -> Result<(), Error> {
        if wish.aside.exists() || !self.data_dir.exists() {
            return Ok(());
        }
        kill_postgres(&self.data_dir)?;
        std::fs::rename(&self.data_dir, &wish.aside)
            .map_err(Error::io("set aside", &self.data_dir))?;
        tracing::error!(why = wish.why, aside = %wish.aside.display(), "PostgreSQL's data are made anew; the old ones are kept");
        Ok(())
    }

    /// A fresh directory could not be made: the old one is better than none. Blocks.
    ///
    /// # Errors
    /// When it cannot be put back.
    pub fn put_back(&self, wish: &Wish) -> Result<(), Error> {
        self.forget()?;
        if !wish.aside.exists() {
            return Ok(());
        }
        kill_postgres(&self.data_dir)?;
        if self.data_dir.exists() {
            std::fs::remove_dir_all(&self.data_dir).map_err(Error::io("remove", &self.data_dir))?;
        }
        std::fs::rename(&wish.aside, &self.data_dir).map_err(Error::io("put back", &self.data_dir))
    }

    /// Directories that were set aside, the oldest first.
    fn set_aside(&self) -> Vec<PathBuf> {
        let (Some(parent), Some(name)) = (self.data_dir.parent(), self.data_dir.file_name()) else {
            return Vec::new();
        };
        let prefix = format!("{}{DAMAGED}", name.to_string_lossy());
        let mut found: Vec<(u64, PathBuf)> = std::fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let second = name.to_str()?.strip_prefix(&prefix)?.parse().ok()?;
                Some((second, entry.path()))
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// Two lines, in place at once and durable.
    fn write(&self, name: &str, first: &str, why: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        let new = self.dir.join(format!("{name}.new"));
        let written = || -> std::io::Result<()> {
            let mut file = File::create(&new)?;
            writeln!(file, "{first}\n{}", why.replace('\n', " "))?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        written().map_err(Error::io("write", &path))
    }

    fn read(&self, name: &str) -> Option<(String, String)> {
        let text = std::fs::read_to_string(self.dir.join(name)).ok()?;
        let (first, why) = text.split_once('\n')?;
        Some((first.to_owned(), why.trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> (tempfile::TempDir, Rebuilds, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("postgres");
        let rebuilds = Rebuilds::new(dir.path(), &data);
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("old"), "").unwrap();
        (dir, rebuilds, data)
    }

    #[test]
    fn a_crash_in_the_middle_never_sets_the_fresh_directory_aside() {
        let (_dir, rebuilds, data) = room();
        rebuilds.wish("flipped\nbits").unwrap();
        let wish = rebuilds.wished().unwrap();
        assert_eq!(wish.why, "flipped bits");
        rebuilds.put_aside(&wish).unwrap();
        assert!(!data.exists() && wish.aside.join("old").exists());
        // The crash came after the fresh one was made.
        std::fs::create_dir(&data).unwrap();
        rebuilds.put_aside(&rebuilds.wished().unwrap()).unwrap();
        assert!(data.exists() && wish.aside.join("old").exists());
        rebuilds.done(&wish.why).unwrap();
        assert_eq!(rebuilds.wished(), None);
        assert_eq!(rebuilds.last().unwrap().why, "flipped bits");
        assert!(!rebuilds.may(), "the next one waits");
    }

    #[test]
    fn an_unfinished_copy_is_removed_and_what_was_set_aside_stays() {
        let (_dir, rebuilds, data) = room();
        rebuilds.wish("why").unwrap();
        let wish = rebuilds.wished().unwrap();
        rebuilds.put_aside(&wish).unwrap();
        std::fs::create_dir(&data).unwrap();
        rebuilds.begin_copy(true, &wish.why).unwrap();
        assert_eq!(rebuilds.copying(), Some((true, "why".into())));
        rebuilds.drop_copy().unwrap();
        assert!(!data.exists() && wish.aside.join("old").exists());
        rebuilds.drop_copy().unwrap();
        rebuilds.begin_copy(false, "why").unwrap();
        assert_eq!(rebuilds.copying(), Some((false, "why".into())));
        rebuilds.end_copy().unwrap();
        assert_eq!(rebuilds.copying(), None);
    }

    #[test]
    fn a_copy_is_gone_on_with_only_while_it_is_the_one_that_was_laid() {
        let (dir, rebuilds, _) = room();
        let names = vec!["public.\"a\n\"\"b\"".to_owned()];
        rebuilds.begin_copy(true, "why").unwrap();
        assert_eq!(rebuilds.laid(), None);
        rebuilds.lay(&names).unwrap();
        assert_eq!(rebuilds.laid(), Some(names));
        rebuilds.begin_copy(true, "another one").unwrap();
        assert_eq!(rebuilds.laid(), None, "of the one before");
        rebuilds.lay(&[]).unwrap();
        rebuilds.drop_copy().unwrap();
        assert_eq!(rebuilds.laid(), None, "of what is not there any more");
        rebuilds.lay(&[]).unwrap();
        rebuilds.end_copy().unwrap();
        assert_eq!((rebuilds.copying(), rebuilds.laid()), (None, None));
        std::fs::write(dir.path().join("laid"), "torn").unwrap();
        assert_eq!(rebuilds.laid(), None);
    }

    #[test]
    fn what_cannot_be_made_anew_is_put_back() {
        let (_dir, rebuilds, data) = room();
        rebuilds.wish("why").unwrap();
        let wish = rebuilds.wished().unwrap();
        rebuilds.put_aside(&wish).unwrap();
        std::fs::create_dir(&data).unwrap();
        rebuilds.put_back(&wish).unwrap();
        assert!(data.join("old").exists() && !wish.aside.exists());
        assert_eq!((rebuilds.wished(), rebuilds.last()), (None, None));
        assert!(rebuilds.may());
    }

    #[test]
    fn one_damaged_directory_is_kept_and_it_is_the_newest() {
        let (dir, rebuilds, _) = room();
        for second in ["9", "10"] {
            std::fs::create_dir(dir.path().join(format!("postgres.damaged-{second}"))).unwrap();
        }
        rebuilds.done("again").unwrap();
        let kept = rebuilds.set_aside();
        assert_eq!(kept, [dir.path().join("postgres.damaged-10")]);
    }
}
