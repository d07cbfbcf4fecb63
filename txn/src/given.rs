//! What sequences gave to committed transactions, so that no value is given twice (DESIGN.md, "Sequences"; decision 33).
//!
//! Equal at all replicas after each height: it follows from the order and the verdicts. A commit whose evidence holds a value that is in
//! here is ABORT, by the order and without a vote.
//!
//! Values that are apart are kept apart only while a transaction that is open may hold one in between. An honest master gives nobody a
//! value that lies before what was committed when the transaction began, so of older commits the lowest and the highest value suffice.

use crate::operation::{Evidence, SequenceUse, Step};
use consensus::Height;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Ranges that are kept apart, of all sequences together; of the sequence that has most they are joined then.
const RANGES: usize = 65_536;
/// Sequences whose values are remembered; the one that was used longest ago is forgotten.
const SEQUENCES: usize = 16_384;
/// Old ranges are joined at every so-manieth height.
const JOINED_EVERY: u64 = 16;

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
}

/// A value that was given before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    pub sequence: String,
    pub value: i64,
    /// Which of the sequence's uses in the evidence gave it.
    pub at: usize,
}

/// What one transaction took from sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    sequences: BTreeMap<String, Uses>,
    /// It changed the schema, and not only by adding: any sequence may be another one since.
    clears: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Uses {
    /// From here on the sequence begins anew: it was set by hand, or went round.
    anew: bool,
    /// Before that.
    before: Ranges,
    /// Since then, or all that it took.
    since: Ranges,
}

/// Values from first to last, apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges(BTreeMap<i64, i64>);

impl Ranges {
    /// The first value of these that is among those already.
    fn overlap(&self, (first, last): (i64, i64)) -> Option<i64> {
        let (&from, &to) = self.0.range(..=last).next_back()?;
        (to >= first).then(|| first.max(from))
    }

    fn add(&mut self, range: (i64, i64)) {
        add(&mut self.0, range, |last| *last, |last| last);
    }

    fn each(&self) -> impl Iterator<Item = (i64, i64)> {
        self.0.iter().map(|(first, last)| (*first, *last))
    }
}

/// Adds a range to those that are there, and joins those that it touches.
fn add<T>(
    ranges: &mut BTreeMap<i64, T>,
    (mut first, mut last): (i64, i64),
    last_of: impl Fn(&T) -> i64,
    of: impl FnOnce(i64) -> T,
) {
    while let Some((&from, value)) = ranges.range(..=last.saturating_add(1)).next_back()
        && last_of(value) >= first.saturating_sub(1)
    {
        first = first.min(from);
        last = last.max(last_of(value));
        ranges.remove(&from);
    }
    ranges.insert(first, of(last));
}

impl Taken {
    /// What a transaction's steps took.
    ///
    /// # Errors
    /// When one value was given twice in it.
    pub fn of(steps: &[Step]) -> Result<Taken, Repeat> {
        let mut taken = Taken::default();
        let mut evidence = steps.iter().map(|step| &step.evidence);
        evidence.try_for_each(|evidence| taken.add(evidence, None))?;
        Ok(taken)
    }

    /// Adds what the next step took. What it took while it changed the schema is passed over: before the change or behind it, nobody can
    /// tell.
    ///
    /// # Errors
    /// When the transaction took one of these values before, or, where they are given, another one did that is committed. A part of the
    /// step is added then.
    pub fn add(&mut self, evidence: &Evidence, given: Option<&Given>) -> Result<(), Repeat> {
        if evidence.schema_change && !evidence.adds_only {
            self.clears = true;
            self.sequences.values_mut().for_each(Uses::begin_anew);
            return Ok(());
        }
        for values in &evidence.sequences {
            let known = given.and_then(|given| given.sequences.get(&values.sequence));
            let uses = self.sequences.entry(values.sequence.clone()).or_default();
            uses.anew |= self.clears;
            for (at, what) in values.uses.iter().enumerate() {
                let range = match *what {
                    SequenceUse::Set { .. } | SequenceUse::Cycled => {
                        uses.begin_anew();
                        continue;
                    }
                    SequenceUse::Given { count: 0, .. } => continue,
                    SequenceUse::Given { first, count } => {
                        (first, first.saturating_add_unsigned(count - 1))
                    }
                };
                let known = known.filter(|_| !uses.anew);
                let again = uses.since.overlap(range);
                let again = again.or_else(|| known.and_then(|known| known.overlap(range)));
                if let Some(value) = again {
                    return Err(Repeat {
                        sequence: values.sequence.clone(),
                        value,
                        at,
                    });
                }
                uses.since.add(range);
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

    /// Whether what another one took that is ordered earlier, if it commits, decides on this one's values of a sequence.
    pub fn depends_on(&self, earlier: &Taken, sequence: &str) -> bool {
        let (Some(own), Some(its)) = (
            self.sequences.get(sequence),
            earlier.sequences.get(sequence),
        ) else {
            return false;
        };
        let mut compared = own.compared();
        compared.any(|range| its.anew || its.since.overlap(range).is_some())
    }

    /// The lowest and the highest value that it took of a sequence.
    fn reach(&self, sequence: &str) -> Option<(i64, i64)> {
        let uses = self.sequences.get(sequence)?;
        let both = uses.before.each().chain(uses.since.each());
        both.reduce(|(low, high), (first, last)| (low.min(first), high.max(last)))
    }
}

impl Uses {
    fn begin_anew(&mut self) {
        let since = std::mem::take(&mut self.since);
        if !self.anew {
            self.before = since;
        }
        self.anew = true;
    }

    /// Ranges that nobody may have been given before.
    fn compared(&self) -> impl Iterator<Item = (i64, i64)> {
        match self.anew {
            true => self.before.each(),
            false => self.since.each(),
        }
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
    /// The first value of a transaction that was given before.
    pub fn repeated(&self, taken: &Taken) -> Option<Repeat> {
        taken.sequences.iter().find_map(|(sequence, uses)| {
            let values = self.sequences.get(sequence)?;
            let value = uses.compared().find_map(|range| values.overlap(range))?;
            Some(Repeat {
                sequence: sequence.clone(),
                value,
                at: 0,
            })
        })
    }

    /// The lowest and the highest value of a sequence that was given, to a transaction that is committed or to this one.
    pub fn reach(&self, taken: &Taken, sequence: &str) -> Option<(i64, i64)> {
        let values = self.sequences.get(sequence);
        let recent = values.into_iter().flat_map(|values| &values.recent);
        let recent = recent.map(|(first, (last, _))| (*first, *last));
        let passed = values.and_then(|values| values.passed);
        let own = taken.reach(sequence);
        let all = recent.chain(passed).chain(own);
        all.reduce(|(low, high), (first, last)| (low.min(first), high.max(last)))
    }

    /// What is known of a transaction's sequences.
    pub fn of_its(&self, taken: &Taken) -> Given {
        let known = taken
            .names()
            .filter_map(|name| self.sequences.get_key_value(name));
        let sequences = known.map(|(name, values)| (name.clone(), values.clone()));
        Given {
            sequences: sequences.collect(),
        }
    }

    /// A transaction is committed at a height.
    pub fn commit(&mut self, height: Height, taken: &Taken) {
        if taken.clears {
            self.sequences.clear();
        }
        for (sequence, uses) in &taken.sequences {
            if uses.anew {
                self.sequences.remove(sequence);
            }
            if uses.since.0.is_empty() {
                continue;
            }
            let values = self.sequences.entry(sequence.clone()).or_default();
            values.used = height;
            for range in uses.since.each() {
                add(
                    &mut values.recent,
                    range,
                    |(last, _)| *last,
                    |last| (last, height),
                );
            }
        }
    }

    /// Whether [`Given::settle`] does anything at this height.
    pub fn is_due(height: Height) -> bool {
        height % JOINED_EVERY == 0
    }

    /// A height is final; `horizon`: no transaction that may commit later began before it.
    pub fn settle(&mut self, height: Height, horizon: Height) {
        if !Given::is_due(height) {
            return;
        }
        self.sequences
            .values_mut()
            .for_each(|values| values.join(horizon));
        while self
            .sequences
            .values()
            .map(|values| values.recent.len())
            .sum::<usize>()
            > RANGES
        {
            let most = self
                .sequences
                .values_mut()
                .max_by_key(|values| values.recent.len());
            most.into_iter().for_each(Values::join_older_half);
        }
        while self.sequences.len() > SEQUENCES {
            let unused = self.sequences.iter().min_by_key(|(_, values)| values.used);
            let unused = unused.map(|(name, _)| name.clone());
            unused
                .into_iter()
                .for_each(|name| _ = self.sequences.remove(&name));
        }
    }
}

#[cfg(test)]
mod tests;
