//! Small replacements in a text, at byte positions, and the way back from the new positions to the old.

use std::ops::Range;

/// Replacements to be made in one text.
#[derive(Debug, Default)]
pub(crate) struct Splices(Vec<(Range<usize>, String)>);

impl Splices {
    pub(crate) fn replace(&mut self, range: Range<usize>, with: impl Into<String>) {
        self.0.push((range, with.into()));
    }

    pub(crate) fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.replace(at..at, text);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies the replacements that lie inside `window` of `source` and returns the window's new text.
    /// Replacements never overlap: each covers its own tokens. `character`: where the window begins in the
    /// client's string, in characters.
    pub(crate) fn apply(
        mut self,
        source: &str,
        window: Range<usize>,
        character: usize,
    ) -> (String, Mapping) {
        self.0.sort_by_key(|(range, _)| (range.start, range.end));
        let mut text = String::with_capacity(window.len() + 32 * self.0.len());
        let mut mapping = Mapping::default();
        let (mut client, mut ours) = (character, 0);
        mapping.0.push(Point {
            ours,
            client,
            fixed: false,
        });
        let mut at = window.start;
        for (range, with) in self.0 {
            debug_assert!(at <= range.start && range.end <= window.end);
            let kept = &source[at..range.start];
            text.push_str(kept);
            client += kept.chars().count();
            ours += kept.chars().count();
            mapping.0.push(Point {
                ours,
                client,
                fixed: true,
            });
            text.push_str(&with);
            client += source[range.clone()].chars().count();
            ours += with.chars().count();
            mapping.0.push(Point {
                ours,
                client,
                fixed: false,
            });
            at = range.end;
        }
        text.push_str(&source[at..window.end]);
        (text, mapping)
    }
}

/// Character positions of the text executed, and where they lie in the text received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mapping(Vec<Point>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Point {
    ours: usize,
    client: usize,
    /// Inside a replacement: all its characters lie where it begins.
    fixed: bool,
}

impl Mapping {
    /// Takes in that `length` characters were inserted before the character `at` (from 0) of the text executed.
    pub(crate) fn insert(&mut self, at: usize, length: usize) {
        let index = self.0.partition_point(|point| point.ours < at);
        let client = self.to_client(at + 1) - 1;
        let fixed = self.0[..index].last().is_some_and(|point| point.fixed);
        for point in &mut self.0[index..] {
            point.ours += length;
        }
        let inserted = Point {
            ours: at,
            client,
            fixed: true,
        };
        let rest = Point {
            ours: at + length,
            client,
            fixed,
        };
        self.0.splice(index..index, [inserted, rest]);
    }

    /// Both positions count from 1.
    pub(crate) fn to_client(&self, position: usize) -> usize {
        let wanted = position.saturating_sub(1);
        let index = self.0.partition_point(|point| point.ours <= wanted);
        match index.checked_sub(1).and_then(|before| self.0.get(before)) {
            Some(point) if point.fixed => point.client + 1,
            Some(point) => point.client + (wanted - point.ours) + 1,
            None => position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_through_replacements() {
        let source = "é; select aa, bb";
        let mut splices = Splices::default();
        splices.replace(11..13, "xxxxx");
        let (text, mapping) = splices.apply(source, 4..source.len(), 3);
        assert_eq!(text, "select xxxxx, bb");
        assert_eq!(mapping.to_client(1), 4);
        assert_eq!(mapping.to_client(8), 11);
        assert_eq!(mapping.to_client(10), 11);
        assert_eq!(mapping.to_client(15), 15);

        let mut longer = mapping.clone();
        longer.insert(15, 4);
        for (position, expected) in [
            (1, 4),
            (10, 11),
            (15, 15),
            (16, 16),
            (19, 16),
            (20, 16),
            (21, 17),
        ] {
            assert_eq!(longer.to_client(position), expected, "{position}");
        }
    }
}
