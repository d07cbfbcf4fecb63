//! What sequences gave to committed transactions, so that no value is given twice (DESIGN.md, "Sequences"; decision 33).
//!
//! Equal at all replicas after each height: it follows from the order and the verdicts. A commit whose evidence holds a value that is in
//! here is ABORT, by the order and without a vote.
//!
//! Values that are apart are kept apart only while a transaction that is open may hold one in between. An honest master gives nobody a
//! value that lies before what was committed when the transaction began, so of older commits the lowest and the highest value suffice.

mod ranges;

use crate::operation::{Evidence, SequenceUse, SequenceValues, Step};
use consensus::Height;
use ranges::{Ranges, add};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BinaryHeap};

/// Ranges that are kept apart, of all sequences together; of those that have most they are joined then.
const RANGES: usize = 65_536;
/// Sequences whose values are remembered; those that were used longest ago are forgotten.
const SEQUENCES: usize = 16_384;
/// Old ranges are joined at every so-manieth height.
const JOINED_EVERY: u64 = 16;
/// Sequences that may give values to one statement (`steel.replay` has no more places), and bytes of a name: three parts with quotes.
const NAMES: usize = 32;
const NAME: usize = 512;
/// With more ranges than that only the lowest and the highest value tell whether one transaction waits for the verdict on another.
const COMPARED: usize = 64;

/// Values that were given, by sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    sequences: BTreeMap<String, Values>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Values {
    /// Everything from the lowest to the highest that older transactions took.
    passed: Option<(i64, i64)>,
    /// What later ones took, by the first value: the last value, and the last height that added to it.
    recent: BTreeMap<i64, (i64, Height)>,
    /// The last height that added anything.
    used: Height,
    /// The height at which the sequence last began anew; 0: none that is known.
    since: Height,
}

/// Why an item is ABORT for what it says of sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    Repeat(Repeat),
    /// No master says such a thing.
    Malformed,
}

/// A value that was given before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    pub sequence: String,
    pub value: i64,
    /// A height from which on this was so, and no client had set the sequence back: of who began later its master knew. None that is known.
    pub since: Option<Height>,
}

/// What one transaction took from sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    sequences: BTreeMap<String, Uses>,
    /// It changed the schema, so a sequence may be its own, or begin again within it: nothing is compared from there on.
    loose: bool,
    /// Not only by adding: any sequence may be another one since.
    clears: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Uses {
    /// From somewhere on the sequence begins anew: it was set by hand, or goes round.
    anew: bool,
    /// What nobody may have been given before.
    compared: Ranges,
    /// What nobody may be given from then on.
    kept: Ranges,
}

impl Taken {
    /// What a transaction's steps took.
    ///
    /// # Errors
    /// When one value was given twice in it, or the evidence has no sense.
    pub fn of(steps: &[Step]) -> Result<Taken, Refused> {
        let mut taken = Taken::default();
        for step in steps {
            if !is_well_formed(&step.evidence.sequences) {
                return Err(Refused::Malformed);
            }
            taken.add(&step.evidence, None).map_err(Refused::Repeat)?;
        }
        Ok(taken)
    }

    /// Adds what the next step took. What it took while it changed the schema is not compared: before the change or behind it, nobody can
    /// tell. What failed was given to nobody; a sequence that it set stays set.
    ///
    /// # Errors
    /// When the transaction took one of these values before, or, where they are given, another one did that is committed. A part of the
    /// step is added then.
    pub fn add(&mut self, evidence: &Evidence, given: Option<&Given>) -> Result<(), Repeat> {
        if evidence.schema_change {
            self.loose = true;
            if !evidence.adds_only {
                self.clears = true;
                self.sequences.values_mut().for_each(Uses::begin_anew);
                return Ok(());
            }
        }
        for values in &evidence.sequences {
            let known = given.and_then(|given| given.sequences.get(&values.sequence));
            let uses = self.sequences.entry(values.sequence.clone()).or_default();
            let mut unknown = false;
            for what in &values.uses {
                let range = match *what {
                    // With all of its changes of the schema.
                    SequenceUse::Anew if evidence.failed => continue,
                    SequenceUse::Set { .. } => {
                        uses.begin_anew();
                        continue;
                    }
                    SequenceUse::Anew | SequenceUse::Cycled => {
                        uses.begin_anew();
                        unknown = true;
                        continue;
                    }
                    SequenceUse::Given { .. } if unknown || evidence.failed => continue,
                    SequenceUse::Given { count: 0, .. } => continue,
                    SequenceUse::Given { first, count } => {
                        (first, first.saturating_add_unsigned(count - 1))
                    }
                };
                if !self.loose {
                    let known = known.filter(|_| !uses.anew);
                    let again = uses.kept.overlap(range);
                    let again = again.or_else(|| known.and_then(|known| known.overlap(range)));
                    if let Some(value) = again {
                        return Err(Repeat {
                            sequence: values.sequence.clone(),
                            value,
                            // Its own, or what the master asks for itself.
                            since: Some(0),
                        });
                    }
                    if !uses.anew {
                        uses.compared.add(range);
                    }
                }
                uses.kept.add(range);
            }
        }
        Ok(())
    }

    /// Nothing that [`Given`] would have to know.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty() && !self.clears
    }

    /// It made all sequences begin anew.
    pub fn clears(&self) -> bool {
        self.clears
    }

    /// The sequences that it used.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.sequences.keys()
    }

    /// Whether it makes a sequence begin anew.
    pub fn sets(&self, sequence: &str) -> bool {
        let uses = self.sequences.get(sequence);
        self.clears || uses.is_some_and(|uses| uses.anew)
    }

    /// Whether what another one took that is ordered earlier, if it commits, may decide on this one's values of a sequence.
    pub fn depends_on(&self, earlier: &Taken, sequence: &str) -> bool {
        let (Some(own), Some(its)) = (
            self.sequences.get(sequence),
            earlier.sequences.get(sequence),
        ) else {
            return false;
        };
        if own.compared.len() > COMPARED {
            return its.anew || own.compared.is_near(&its.kept);
        }
        !own.compared.is_empty() && (its.anew || own.compared.meets(&its.kept).is_some())
    }

    /// What of a sequence's values an earlier transaction has taken, which is committed.
    pub fn repeats(&self, earlier: &Taken, sequence: &str) -> Option<i64> {
        let (own, its) = (
            self.sequences.get(sequence)?,
            earlier.sequences.get(sequence)?,
        );
        own.compared.meets(&its.kept)
    }
}

/// What an honest master may say of one step.
fn is_well_formed(sequences: &[SequenceValues]) -> bool {
    let of = |what: &SequenceUse| match *what {
        SequenceUse::Given { first, count } => {
            count > 0 && first.checked_add_unsigned(count - 1).is_some()
        }
        SequenceUse::Set { .. } | SequenceUse::Anew | SequenceUse::Cycled => true,
    };
    let one = |values: &SequenceValues| {
        values.sequence.len() <= NAME && !values.uses.is_empty() && values.uses.iter().all(of)
    };
    let gave = sequences.iter().filter(|s| s.given().next().is_some());
    let mut names: Vec<&str> = sequences.iter().map(|s| s.sequence.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).any(|pair| pair[0] == pair[1]);
    gave.count() <= NAMES && !twice && sequences.iter().all(one)
}

impl Uses {
    fn begin_anew(&mut self) {
        self.kept = Ranges::default();
        self.anew = true;
    }
}

impl Values {
    fn overlap(&self, (first, last): (i64, i64)) -> Option<i64> {
        let passed = self
            .passed
            .filter(|(low, high)| *low <= last && *high >= first);
        let passed = passed.map(|(low, _)| first.max(low));
        let recent = self.recent.range(..=last).next_back();
        let recent = recent.filter(|(_, (to, _))| *to >= first);
        passed.or_else(|| recent.map(|(from, _)| first.max(*from)))
    }

    /// Joins what no transaction that is still open can lie between.
    fn join(&mut self, horizon: Height) {
        for (&first, &(last, height)) in &self.recent {
            if height <= horizon {
                let (low, high) = self.passed.unwrap_or((first, last));
                self.passed = Some((low.min(first), high.max(last)));
            }
        }
        if let Some((low, high)) = self.passed {
            let inside = |first: i64, last: i64| low <= first && last <= high;
            self.recent
                .retain(|first, (last, _)| !inside(*first, *last));
        }
    }

    /// There are too many: a transaction that is open for long may be refused a value that was given to nobody.
    fn join_older_half(&mut self) {
        let heights = self.recent.values().map(|(_, height)| *height);
        let mut heights: Vec<Height> = heights.collect();
        let middle = heights.len() / 2;
        if middle < heights.len() {
            let (_, height, _) = heights.select_nth_unstable(middle);
            self.join(*height);
        }
    }
}

impl Given {
    /// The first value of a sequence that a transaction took and that was given before.
    pub fn repeated(&self, taken: &Taken, sequence: &str) -> Option<i64> {
        let (uses, values) = (
            taken.sequences.get(sequence)?,
            self.sequences.get(sequence)?,
        );
        let mut compared = uses.compared.each();
        compared.find_map(|range| values.overlap(range))
    }

    /// The height from which on a value of a sequence counts as given.
    pub fn since(&self, sequence: &str, value: i64) -> Option<Height> {
        let values = self.sequences.get(sequence)?;
        let recent = values.recent.range(..=value).next_back();
        let recent = recent.filter(|(_, (last, _))| *last >= value);
        let given = recent.map_or(0, |(_, (_, height))| *height);
        Some(given.max(values.since))
    }

    /// The lowest and the highest value of a sequence that was given.
    pub fn reach(&self, sequence: &str) -> Option<(i64, i64)> {
        let values = self.sequences.get(sequence)?;
        let recent = values.recent.iter();
        let recent = recent.map(|(first, (last, _))| (*first, *last));
        let all = recent.chain(values.passed);
        all.reduce(|(low, high), (first, last)| (low.min(first), high.max(last)))
    }

    /// A transaction is committed at a height, that began at another. What it drew before a sequence began anew is of the old one.
    pub fn commit(&mut self, height: Height, begun: Height, taken: &Taken) {
        if taken.clears {
            self.sequences.clear();
        }
        for (sequence, uses) in &taken.sequences {
            if !uses.anew && uses.kept.is_empty() {
                continue;
            }
            let values = self.sequences.entry(sequence.clone()).or_default();
            if uses.anew || taken.clears {
                *values = Values {
                    since: height,
                    ..Values::default()
                };
            }
            values.used = height;
            if values.since > begun && values.since < height {
                continue;
            }
            for range in uses.kept.each() {
                let of = |last| (last, height);
                add(&mut values.recent, range, |(last, _)| *last, of);
            }
        }
    }

    /// Whether [`Given::settle`] does anything at this height.
    pub fn is_due(height: Height) -> bool {
        height.is_multiple_of(JOINED_EVERY)
    }

    /// A height is final; `horizon`: no transaction that may commit later began before it.
    pub fn settle(&mut self, height: Height, horizon: Height) {
        if !Given::is_due(height) {
            return;
        }
        let too_many = self.sequences.len().saturating_sub(SEQUENCES);
        if too_many > 0 {
            let used = self.sequences.iter();
            let mut used: Vec<(Height, String)> = used.map(|(n, v)| (v.used, n.clone())).collect();
            used.sort_unstable();
            for (_, name) in used.into_iter().take(too_many) {
                self.sequences.remove(&name);
            }
        }
        let mut all = 0;
        for values in self.sequences.values_mut() {
            values.join(horizon);
            all += values.recent.len();
        }
        let many = self.sequences.iter();
        let many = many.map(|(name, values)| (values.recent.len(), name.clone()));
        let mut many: BinaryHeap<(usize, String)> = match all > RANGES {
            true => many.collect(),
            false => return,
        };
        while all > RANGES
            && let Some((before, name)) = many.pop()
            && let Some(values) = self.sequences.get_mut(&name)
        {
            values.join_older_half();
            all -= before - values.recent.len();
            many.push((values.recent.len(), name));
        }
    }
}

#[cfg(test)]
mod tests;
