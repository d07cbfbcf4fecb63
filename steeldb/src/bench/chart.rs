//! A throughput over time as one SVG file that needs nothing else: a line, what happened as bands and labels above it.

use std::fmt::Write as _;
use std::time::Duration;

const WIDTH: f64 = 1000.0;
const PLOT_HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const BELOW: f64 = 44.0;
/// The title with the key below it.
const HEAD: f64 = 46.0;
/// A row of labels.
const ROW: f64 = 15.0;
/// A character of a label is about this wide.
const CHARACTER: f64 = 6.1;

/// Something that happened, from one moment to another; of no length where both are one.
pub struct Mark {
    pub from: Duration,
    pub to: Duration,
    pub label: String,
    /// An index into [`Chart::key`].
    pub kind: usize,
}

pub struct Chart {
    pub title: String,
    /// What the values are.
    pub unit: String,
    /// From one value to the next.
    pub step: Duration,
    pub values: Vec<f64>,
    pub marks: Vec<Mark>,
    /// Kinds of marks: what they are called, and their colour.
    pub key: Vec<(&'static str, &'static str)>,
}

impl Chart {
    pub fn svg(&self) -> String {
        let rows = self.rows();
        let above = HEAD + rows.iter().map(|row| row + 1).max().unwrap_or(0) as f64 * ROW + 6.0;
        let height = above + PLOT_HEIGHT + BELOW;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#222\">\n\
             <title>{0}</title>\n<rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"18\" font-size=\"14\" font-weight=\"600\">{0}</text>\n",
            escaped(&self.title)
        );
        self.write_key(&mut svg);
        self.write_grid(&mut svg, above);
        self.write_marks(&mut svg, above, &rows);
        self.write_line(&mut svg, above);
        svg.push_str("</svg>\n");
        svg
    }

    fn length(&self) -> f64 {
        (self.step.as_secs_f64() * self.values.len() as f64).max(1e-3)
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + (seconds / self.length()).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn top(&self) -> f64 {
        let most = self.values.iter().copied().fold(0.0, f64::max).max(1.0);
        let step = tick(most);
        (most / step).ceil() * step
    }

    fn y(&self, value: f64, above: f64) -> f64 {
        above + (1.0 - value / self.top()) * PLOT_HEIGHT
    }

    /// The row of each mark's label: the lowest in which it does not meet the one before.
    fn rows(&self) -> Vec<usize> {
        let mut ends: Vec<f64> = Vec::new();
        let mut rows = vec![0; self.marks.len()];
        let mut order: Vec<usize> = (0..self.marks.len()).collect();
        order.sort_by_key(|at| self.marks[*at].from);
        for at in order {
            let (from, to) = self.label_span(&self.marks[at]);
            let row = ends
                .iter()
                .position(|end| *end < from)
                .unwrap_or(ends.len());
            if row == ends.len() {
                ends.push(to);
            }
            ends[row] = to;
            rows[at] = row;
        }
        rows
    }

    /// A label begins at its mark, and keeps inside the picture.
    fn label_span(&self, mark: &Mark) -> (f64, f64) {
        let wide = mark.label.chars().count() as f64 * CHARACTER + 5.0;
        let from = self.x(mark.from.as_secs_f64()).min(WIDTH - wide);
        (from, from + wide)
    }

    fn write_key(&self, svg: &mut String) {
        let mut x = LEFT;
        for (name, colour) in &self.key {
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.0}\" y=\"28\" width=\"11\" height=\"11\" fill=\"{colour}\" fill-opacity=\".55\"/>\
                 <text x=\"{:.0}\" y=\"38\">{}</text>",
                x + 16.0,
                escaped(name)
            );
            x += 34.0 + name.chars().count() as f64 * 6.6;
        }
    }

    fn write_grid(&self, svg: &mut String, above: f64) {
        let (right, bottom) = (WIDTH - RIGHT, above + PLOT_HEIGHT);
        let step = tick(self.top());
        for i in 0..=(self.top() / step).round() as usize {
            let value = i as f64 * step;
            let y = self.y(value, above);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{:.0}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{value:.0}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let step = tick(self.length());
        for i in 0..=(self.length() / step).floor() as usize {
            let seconds = i as f64 * step;
            let x = self.x(seconds);
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {bottom:.1}v5\" stroke=\"#888\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{seconds}</text>",
                bottom + 18.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}; time in seconds</text>",
            bottom + 36.0,
            escaped(&self.unit)
        );
    }

    fn write_marks(&self, svg: &mut String, above: f64, rows: &[usize]) {
        for (mark, row) in self.marks.iter().zip(rows) {
            let colour = self.key.get(mark.kind).map_or("#888", |key| key.1);
            let (from, to) = (
                self.x(mark.from.as_secs_f64()),
                self.x(mark.to.as_secs_f64()),
            );
            let label = above - 8.0 - *row as f64 * ROW;
            if to > from {
                let _ = writeln!(
                    svg,
                    "<rect x=\"{from:.1}\" y=\"{above:.1}\" width=\"{:.1}\" height=\"{PLOT_HEIGHT}\" \
                     fill=\"{colour}\" fill-opacity=\".22\"/>",
                    to - from
                );
            }
            let _ = writeln!(
                svg,
                "<path d=\"M{from:.1} {:.1}V{:.1}\" stroke=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{label:.1}\" font-size=\"11\">{}</text>",
                label - 9.0,
                above + PLOT_HEIGHT,
                self.label_span(mark).0 + 2.0,
                escaped(&mark.label)
            );
        }
    }

    fn write_line(&self, svg: &mut String, above: f64) {
        let mut path = String::new();
        for (i, value) in self.values.iter().enumerate() {
            let seconds = (i as f64 + 0.5) * self.step.as_secs_f64();
            let (x, y) = (self.x(seconds), self.y(*value, above));
            let _ = write!(path, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"#0b5394\" stroke-width=\"1.3\" stroke-linejoin=\"round\"/>"
        );
    }
}

/// 1, 2 or 5 times a power of ten, four to ten times in `length`.
fn tick(length: f64) -> f64 {
    let rough = length / 8.0;
    let power = 10_f64.powf(rough.log10().floor());
    let digit = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|digit| digit * power >= rough);
    digit.unwrap_or(10.0) * power
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(from: u64, label: &str) -> Mark {
        let from = Duration::from_secs(from);
        Mark {
            from,
            to: from,
            label: label.into(),
            kind: 0,
        }
    }

    fn chart(marks: Vec<Mark>) -> Chart {
        Chart {
            title: "a < b".into(),
            unit: "operations/s".into(),
            step: Duration::from_secs(1),
            values: (0..100).map(f64::from).collect(),
            marks,
            key: vec![("kill", "#c00")],
        }
    }

    #[test]
    fn labels_that_would_meet_stand_in_rows_and_inside() {
        let chart = chart(vec![
            mark(10, "the leader is killed"),
            mark(12, "it is back"),
            mark(60, "x"),
            mark(99, "at the very end"),
        ]);
        assert_eq!(chart.rows(), [0, 1, 0, 0]);
        assert!(chart.label_span(&chart.marks[3]).1 <= WIDTH);
    }

    #[test]
    fn the_picture_is_well_formed_and_escaped() {
        let svg = chart(vec![mark(10, "a & b")]).svg();
        assert!(svg.contains("a &lt; b") && svg.contains("a &amp; b"));
        assert_eq!(svg.matches('<').count(), svg.matches('>').count());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!((tick(100.0), tick(47.0), tick(600.0)), (20.0, 10.0, 100.0));
    }
}
