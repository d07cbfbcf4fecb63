//! After a restart: what PostgreSQL has already, and what the log says of the rest (DESIGN.md, 9).

use super::pool::Pool;
use super::record;
use consensus::Height;
use order::log::{Log, LogError};
use pgsession::{Statement, Target};
use std::collections::{BTreeMap, BTreeSet};
use txn::engine::Recorded;
use txn::tally::Verdict;
use txn::{VotePart, WriteSet};

/// What a restarted replica knows of heights that it decided before.
#[derive(Default)]
pub struct History {
    /// Last height in the log, or in PostgreSQL where that is ahead: what it decides up to there cannot be judged any more.
    last: Height,
    logged: Height,
    /// Last height of which the log has votes or verdicts.
    told: Height,
    /// Items whose effects PostgreSQL has, read back as a set: commits issued in parallel survive a kill with holes.
    applied: BTreeSet<(Height, u32)>,
    /// Up to here PostgreSQL's contents were copied from others: they have everything, and name no places.
    floor: Height,
    /// The place of the copy in that height: what follows in the same batch came after the snapshot.
    copied_to: Option<u32>,
    verdicts: BTreeMap<Height, Vec<(u32, Verdict)>>,
    /// Own votes of heights that were not final.
    votes: BTreeMap<Height, Vec<VotePart>>,
}

/// Heights that PostgreSQL may be ahead of the log after a kill: execution waits for no fsync of the log.
const AHEAD_OF_LOG: Height = 4_096;

/// Bytes of records read at a time.
const PIECE: usize = 16 << 20;

impl History {
    /// Reads the log's votes and verdicts, and PostgreSQL's `steel.applied`.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn read(log: &Log, superuser: &Target, last: Height) -> Result<History, String> {
        let mut history = History {
            last,
            logged: last,
            ..History::default()
        };
        let log = log.clone();
        let read =
            tokio::task::spawn_blocking(move || read_log(&log, &mut history).map(|()| history));
        let mut history = read
            .await
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())?;
        let pool = Pool::new(superuser.clone());
        // Votes and verdicts of heights whose decisions are missing stand too: what they speak of is not judged again.
        let told = history.verdicts.keys().chain(history.votes.keys());
        history.told = told.copied().max().unwrap_or(0);
        history.last = history.last.max(history.told);
        let mut session = pool.get().await.map_err(|e| e.to_string())?;
        let queries = [
            "SELECT height, index FROM steel.applied",
            "SELECT height, 0 FROM steel.floor",
        ];
        let outcomes = session.run(queries.map(Statement::new).to_vec()).await;
        let outcomes = outcomes.map_err(|e| e.to_string())?;
        if let Some(error) = outcomes.iter().find_map(|outcome| outcome.error.as_ref()) {
            return Err(error.to_string());
        }
        let [applied, floor] = [0, 1].map(|at| outcomes.get(at).map(places).unwrap_or_default());
        history.applied = applied.into_iter().collect();
        history.floor = floor.first().map_or(0, |(height, _)| *height);
        history.last = history.last.max(history.newest());
        Ok(history)
    }

    /// Last height of which PostgreSQL has anything.
    fn newest(&self) -> Height {
        let applied = self.applied.last().map_or(0, |(height, _)| *height);
        applied.max(self.floor)
    }

    /// This replica had asked for a copy at this place. Told of the log's heights in their order, before what is in them.
    pub fn copy_asked(&mut self, height: Height, index: u32) {
        if height == self.floor {
            self.copied_to.get_or_insert(index);
        }
    }

    /// PostgreSQL's contents were copied at this place or a later one: they have whatever was committed here.
    pub fn is_copied(&self, height: Height, index: u32) -> bool {
        height < self.floor
            || height == self.floor && self.copied_to.is_none_or(|place| index <= place)
    }

    /// The height was in the log at the restart.
    pub fn is_logged(&self, height: Height) -> bool {
        height <= self.logged
    }

    /// PostgreSQL says that it has everything up to this height.
    pub fn is_covered(&self, height: Height) -> bool {
        self.floor >= height
    }

    /// Why PostgreSQL's data cannot be those that this log made.
    pub fn impossible(&self) -> Option<String> {
        let newest = self.newest();
        // A copy goes as far as the others were, and the log may still be on its way.
        let logged = self.logged.max(self.told).max(self.floor);
        let ahead = newest > logged + AHEAD_OF_LOG || (logged == 0 && newest > 0);
        ahead.then(|| {
            format!(
                "PostgreSQL has effects of height {newest}, and the log ends at height {logged}"
            )
        })
    }

    /// PostgreSQL lacks this item and has effects of later heights: heights are finished one after another, so no crash
    /// leaves that.
    pub fn has_later(&self, height: Height) -> bool {
        self.newest() > height
    }

    /// PostgreSQL has effects of this place or a later one: its state is not the one before this place any more.
    pub fn is_past(&self, height: Height, index: u32) -> bool {
        self.is_copied(height, index) || self.applied.range((height, index)..).next().is_some()
    }

    /// There is nothing to replay.
    pub fn is_empty(&self) -> bool {
        self.last == 0
    }

    /// The height was decided before the restart.
    pub fn is_replayed(&self, height: Height) -> bool {
        height <= self.last
    }

    /// Everything of the height was applied before the restart, if PostgreSQL still has it.
    pub fn was_final(&self, height: Height) -> bool {
        self.verdicts.contains_key(&height)
    }

    /// PostgreSQL has the effects of this item.
    pub fn has(&self, height: Height, index: u32) -> bool {
        self.applied.contains(&(height, index))
    }

    /// What the engine is told of a replayed height.
    pub fn recorded(&self, height: Height) -> Recorded {
        let verdicts = self
            .verdicts
            .get(&height)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        let ballots = self
            .votes
            .get(&height)
            .into_iter()
            .flatten()
            .flat_map(VotePart::items)
            .collect();
        Recorded { ballots, verdicts }
    }

    /// Own votes of a replayed height that was not final: they were durable, so they stand.
    pub fn votes(&self, height: Height) -> Vec<VotePart> {
        self.votes.get(&height).cloned().unwrap_or_default()
    }
}

/// Places in a query's answer.
fn places(outcome: &pgsession::Outcome) -> Vec<(Height, u32)> {
    let number = |value: &Option<bytes::Bytes>| {
        let text = value.as_ref().and_then(|v| std::str::from_utf8(v).ok());
        text.and_then(|text| text.parse::<u64>().ok())
    };
    let place =
        |row: Vec<Option<bytes::Bytes>>| Some((number(row.first()?)?, number(row.get(1)?)? as u32));
    outcome.values().filter_map(place).collect()
}

fn read_log(log: &Log, history: &mut History) -> Result<(), LogError> {
    pieces(log, record::VERDICTS, |height, payload| {
        if let Ok(verdicts) = postcard::from_bytes(payload) {
            history.verdicts.insert(height, verdicts);
        }
    })?;
    let (verdicts, votes) = (&history.verdicts, &mut history.votes);
    pieces(log, record::VOTES, |height, payload| {
        if verdicts.contains_key(&height) {
            return;
        }
        if let Ok((part, _)) =
            postcard::from_bytes::<(VotePart, Vec<(u32, Vec<WriteSet>)>)>(payload)
        {
            votes.entry(height).or_default().push(part);
        }
    })
}

fn pieces(log: &Log, kind: u8, mut each: impl FnMut(Height, &[u8])) -> Result<(), LogError> {
    let mut from = 1;
    let last = log.last_key(kind).unwrap_or(0);
    while from <= last {
        let records = log.read(kind, from..=last, PIECE)?;
        let Some(end) = records.last().map(|r| r.key) else {
            return Ok(());
        };
        // The records of the last key may be cut off by the size of a piece: that key is read once more, whole.
        for record in records.iter().filter(|r| r.key < end) {
            each(record.key, &record.payload);
        }
        for record in log.read(kind, end..=end, usize::MAX)? {
            each(record.key, &record.payload);
        }
        from = end + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(logged: Height, applied: &[(Height, u32)]) -> History {
        History {
            last: logged,
            logged,
            applied: applied.iter().copied().collect(),
            ..History::default()
        }
    }

    #[test]
    fn postgres_is_a_little_ahead_of_the_log_at_most() {
        assert_eq!(history(9, &[]).impossible(), None, "made anew");
        assert_eq!(history(9, &[(7, 0), (9, 1)]).impossible(), None);
        assert_eq!(history(9, &[(9 + AHEAD_OF_LOG, 0)]).impossible(), None);
        let ahead = history(9, &[(10 + AHEAD_OF_LOG, 0)]).impossible().unwrap();
        assert!(ahead.contains("the log ends at height 9"), "{ahead}");
        assert!(history(0, &[(1, 0)]).impossible().is_some(), "no log");
    }

    #[test]
    fn a_hole_between_heights_is_no_crash_and_what_is_past_is_not_judged() {
        let history = history(9, &[(7, 0), (7, 2)]);
        assert!(history.has_later(6), "6 is missing");
        assert!(!history.has_later(7), "7,1 was lost with the tail");
        assert!(history.is_past(7, 1) && history.is_past(7, 2));
        assert!(!history.is_past(7, 3) && !history.is_past(8, 0));
    }

    #[test]
    fn what_was_copied_has_everything_up_to_its_height_and_the_log_may_follow() {
        let mut history = history(9, &[(50_001, 1)]);
        assert!(history.impossible().is_some(), "so far ahead by itself");
        history.floor = 50_000;
        assert_eq!(history.impossible(), None);
        assert!(history.is_copied(1, 0) && history.is_past(50_000, 9));
        assert!(!history.has(50_000, 0), "no place is named below it");
        assert!(!history.is_copied(50_001, 0) && history.has(50_001, 1));
        history.floor = 4;
        history.copy_asked(3, 1);
        history.copy_asked(4, 2);
        history.copy_asked(4, 5);
        assert!(history.is_copied(3, 9) && history.is_copied(4, 2));
        assert!(!history.is_copied(4, 3), "it came after the snapshot");
        assert!(
            history.impossible().is_some(),
            "a floor explains no later heights"
        );
    }
}
