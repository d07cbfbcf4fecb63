//! Where the labels of events stand above a plot: each on one side of its line, in a row in which it covers no other label
//! and no line of an event passes through it.

/// Rough widths of a letter in percent of the plot's width, from a phone's to a wide screen's: what fits on the phone fits
/// everywhere, and what does not shall fit at least where there is more room.
const LETTER_PERCENT: [f64; 4] = [2.2, 1.6, 1.2, 0.9];

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label {
    /// Its event's line, percent of the plot's width.
    pub at: f64,
    /// To the left of its line.
    pub left: bool,
    /// From the plot upwards.
    pub row: usize,
    width: f64,
}

impl Label {
    fn new(at: f64, width: f64) -> Label {
        let left = at + width > 100.0;
        Label {
            at,
            left,
            row: 0,
            width,
        }
    }

    fn ends(&self) -> (f64, f64) {
        match self.left {
            true => (self.at - self.width, self.at),
            false => (self.at, self.at + self.width),
        }
    }

    fn covers(&self, at: f64) -> bool {
        let (from, to) = self.ends();
        from < at && at < to
    }

    fn overlaps(&self, other: &Label) -> bool {
        let ((from, to), (other_from, other_to)) = (self.ends(), other.ends());
        from < other_to && other_from < to
    }
}

/// Labels for events in ascending order, given as (place in percent, letters).
pub fn place(events: impl Iterator<Item = (f64, usize)>) -> Vec<Label> {
    let events: Vec<(f64, usize)> = events.collect();
    let of = |letter: f64| {
        let labels = events.iter();
        settled(
            labels
                .map(|(at, letters)| Label::new(*at, *letters as f64 * letter))
                .collect(),
        )
    };
    let mut attempts = LETTER_PERCENT.into_iter().map(of);
    attempts
        .find(|labels| are_apart(labels))
        .unwrap_or_else(|| of(LETTER_PERCENT[LETTER_PERCENT.len() - 1]))
}

/// Whether no label covers another or a line that passes at its row.
fn are_apart(labels: &[Label]) -> bool {
    let pairs = labels
        .iter()
        .enumerate()
        .flat_map(|(i, one)| labels[i + 1..].iter().map(move |other| (one, other)));
    let mut trouble = pairs.map(|(one, other)| {
        one.row == other.row && one.overlaps(other)
            || one.covers(other.at) && one.row <= other.row
            || other.covers(one.at) && other.row <= one.row
    });
    !trouble.any(|trouble| trouble)
}

/// Sides and rows for labels of known widths.
fn settled(mut labels: Vec<Label>) -> Vec<Label> {
    // Two labels that reach across each other's lines have no order of rows: the earlier turns away, if it has the room.
    for i in (1..labels.len()).rev() {
        let (later, earlier) = (labels[i], &mut labels[i - 1]);
        let crossed = later.left && earlier.covers(later.at);
        earlier.left |= crossed && earlier.at >= earlier.width;
    }
    // Rows grow until each label is above the lines that it covers; as many steps as labels settle every chain.
    let last = labels.len().saturating_sub(1);
    for _ in 0..labels.len() {
        for i in 0..labels.len() {
            let above = |j: &usize| i != *j && is_above(&labels, i, *j);
            let rows = (0..labels.len()).filter(above).map(|j| labels[j].row + 1);
            labels[i].row = rows.max().unwrap_or(0).min(last);
        }
    }
    labels
}

/// Whether label `i` must be above label `j`.
fn is_above(labels: &[Label], i: usize, j: usize) -> bool {
    let (one, other) = (&labels[i], &labels[j]);
    let free = !one.covers(other.at) && !other.covers(one.at);
    one.covers(other.at) || (free && i < j && one.overlaps(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(events: &[(f64, usize)]) -> Vec<(bool, usize)> {
        let labels = place(events.iter().copied());
        assert!(are_apart(&labels), "{labels:?}");
        labels.iter().map(|label| (label.left, label.row)).collect()
    }

    #[test]
    fn labels_with_room_share_a_row() {
        assert_eq!(rows(&[(5.0, 10), (50.0, 10)]), [(false, 0), (false, 0)]);
        assert_eq!(rows(&[(5.0, 16), (98.0, 16)]), [(false, 0), (true, 0)]);
    }

    #[test]
    fn no_line_passes_through_a_label() {
        assert_eq!(
            rows(&[(20.0, 16), (25.0, 16), (30.0, 16)]),
            [(false, 2), (false, 1), (false, 0)]
        );
        assert_eq!(
            rows(&[(45.0, 16), (51.0, 21), (69.0, 23)]),
            [(true, 0), (true, 1), (true, 2)]
        );
        assert_eq!(rows(&[(50.0, 5), (50.0, 5)]), [(false, 1), (false, 0)]);
        assert_eq!(rows(&[(45.0, 15), (95.0, 20)]), [(false, 1), (true, 0)]);
        // Too long for a phone: they stand apart where there is room.
        rows(&[(33.0, 16), (66.5, 17), (86.5, 32)]);
        rows(&[(33.0, 16), (66.5, 17), (86.5, 19)]);
    }
}
