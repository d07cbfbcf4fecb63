//! Values from first to last, apart from each other.

use std::collections::BTreeMap;

/// By the first value, the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<i64, i64>);

impl Ranges {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, range: (i64, i64)) {
        add(&mut self.0, range, |last| *last, |last| last);
    }

    pub fn each(&self) -> impl Iterator<Item = (i64, i64)> {
        self.0.iter().map(|(first, last)| (*first, *last))
    }

    /// The first value of a range that is among these.
    pub fn overlap(&self, (first, last): (i64, i64)) -> Option<i64> {
        let (&from, &to) = self.0.range(..=last).next_back()?;
        (to >= first).then(|| first.max(from))
    }

    /// A value that is among both.
    pub fn meets(&self, other: &Ranges) -> Option<i64> {
        let (few, many) = match self.len() <= other.len() {
            true => (self, other),
            false => (other, self),
        };
        few.each().find_map(|range| many.overlap(range))
    }

    /// Whether they lie between each other's ends.
    pub fn is_near(&self, other: &Ranges) -> bool {
        match (self.ends(), other.ends()) {
            (Some((low, high)), Some((from, to))) => low <= to && from <= high,
            _ => false,
        }
    }

    fn ends(&self) -> Option<(i64, i64)> {
        let (first, _) = self.0.first_key_value()?;
        let (_, last) = self.0.last_key_value()?;
        Some((*first, *last))
    }
}

/// Adds a range to those that are there, and joins those that it touches.
pub fn add<T>(
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
