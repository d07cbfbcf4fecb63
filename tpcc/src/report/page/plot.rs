//! A chart that keeps its words at one size on every screen: an SVG is stretched over the room there is, with strokes that
//! do not stretch, and the words stand above it as HTML, placed in percent.

use std::fmt::Write as _;

use super::axis::{Axis, SIDE};
use super::figures::round;
use super::html::{Html, tag, tag_with};
use super::labels;

pub struct Plot {
    x: Axis,
    y: Axis,
    shapes: Html,
    words: Html,
    /// Rows of labels above the plot.
    event_rows: usize,
    height_px: usize,
    class: &'static str,
}

impl Plot {
    /// Axes with ticks and a grid on both sides.
    pub fn new(x: Axis, y: Axis, x_unit: &str) -> Plot {
        let mut plot = Plot::rows(x, y, x_unit, 220);
        plot.class = "plot";
        for tick in plot.y.ticks() {
            let at = plot.y(tick);
            plot.path("grid", format!("M0 {at:.1}H{SIDE}"), "");
            plot.word("y", None, Some(tick), &round(tick));
        }
        plot
    }

    /// An x axis only: what stands in rows names itself.
    pub fn rows(x: Axis, y: Axis, x_unit: &str, height_px: usize) -> Plot {
        let mut plot = Plot::empty(x, y, height_px);
        let ticks = x.ticks();
        for (i, &tick) in ticks.iter().enumerate() {
            let at = plot.x(tick);
            plot.path("grid", format!("M{at:.1} 0V{SIDE}"), "");
            let unit = if i + 1 == ticks.len() { x_unit } else { "" };
            plot.word("x", Some(tick), None, &format!("{}{unit}", round(tick)));
        }
        plot
    }

    fn empty(x: Axis, y: Axis, height_px: usize) -> Plot {
        Plot {
            x,
            y,
            shapes: Html::default(),
            words: Html::default(),
            event_rows: 0,
            height_px,
            class: "plot rows",
        }
    }

    fn x(&self, value: f64) -> f64 {
        self.x.share(value) * SIDE
    }

    fn y(&self, value: f64) -> f64 {
        (1.0 - self.y.share(value)) * SIDE
    }

    fn path(&mut self, class: &str, d: String, title: &str) {
        let title = match title {
            "" => Html::default(),
            title => tag("title", title),
        };
        let attributes = [("class", class.to_owned()), ("d", d)];
        self.shapes.extend([tag_with("path", &attributes, title)]);
    }

    /// A line through the points; it breaks where there is no value.
    pub fn line(&mut self, class: &str, points: &[(f64, Option<f64>)]) {
        let mut d = String::new();
        let mut pen_down = false;
        for &(x, y) in points {
            if let Some(y) = y {
                let step = if pen_down { 'L' } else { 'M' };
                // A value alone between gaps is a point: `h0` shows with round ends.
                let _ = write!(d, "{step}{:.1} {:.1}h0", self.x(x), self.y(y));
            }
            pen_down = y.is_some();
        }
        self.path(&format!("line {class}"), d, "");
    }

    /// The area between the points and zero.
    pub fn area(&mut self, class: &str, points: &[(f64, f64)]) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return;
        };
        let zero = self.y(0.0);
        let mut d = format!("M{:.1} {zero:.1}", self.x(first.0));
        for &(x, y) in points {
            let _ = write!(d, "L{:.1} {:.1}", self.x(x), self.y(y));
        }
        let _ = write!(d, "L{:.1} {zero:.1}Z", self.x(last.0));
        self.path(&format!("area {class}"), d, "");
    }

    /// A rectangle between two corners.
    pub fn bar(&mut self, class: &str, from: (f64, f64), to: (f64, f64), title: &str) {
        let (x0, y0, x1, y1) = (self.x(from.0), self.y(from.1), self.x(to.0), self.y(to.1));
        let d = format!("M{x0:.1} {y0:.1}H{x1:.1}V{y1:.1}H{x0:.1}Z");
        self.path(class, d, title);
    }

    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), title: &str) {
        let d = format!("M{:.1} {:.1}h0", self.x(x), self.y(y));
        self.path(&format!("dot {class}"), d, title);
    }

    /// An upright line from one height to another.
    pub fn mark(&mut self, class: &str, x: f64, (from, to): (f64, f64), title: &str) {
        let d = format!("M{:.1} {:.1}V{:.1}", self.x(x), self.y(from), self.y(to));
        self.path(&format!("mark {class}"), d, title);
    }

    /// Words at a place; without one, the class places them.
    pub fn word(&mut self, class: &str, x: Option<f64>, y: Option<f64>, words: &str) {
        let mut style = String::new();
        if let Some(x) = x {
            let _ = write!(style, "left:{:.2}%;", self.x.share(x) * 100.0);
        }
        if let Some(y) = y {
            let _ = write!(style, "top:{:.2}%", (1.0 - self.y.share(y)) * 100.0);
        }
        let attributes = [("class", class.to_owned()), ("style", style)];
        self.words.extend([tag_with("span", &attributes, words)]);
    }

    /// A band over the whole height, with a word at its top.
    pub fn band(&mut self, from: f64, to: f64, words: &str) {
        let (x0, x1) = (self.x(from), self.x(to));
        self.path("band", format!("M{x0:.1} 0H{x1:.1}V{SIDE}H{x0:.1}Z"), "");
        self.word("band", Some(from), None, words);
    }

    /// Upright lines through the plot, each with its label above it.
    pub fn events(&mut self, mut events: Vec<(f64, &str)>) {
        events.sort_by(|a, b| a.0.total_cmp(&b.0));
        let percent = |at: f64| self.x.share(at) * 100.0;
        let places = events
            .iter()
            .map(|(at, what)| (percent(*at), what.chars().count()));
        let labels = labels::place(places);
        for (label, (_, what)) in labels.iter().zip(&events) {
            let x = label.at * SIDE / 100.0;
            self.path("event", format!("M{x:.1} 0V{SIDE}"), what);
            // The label hangs on the side of the line on which it does not leave the plot.
            let (side, offset) = match label.left {
                true => ("right", 100.0 - label.at),
                false => ("left", label.at),
            };
            let style = format!("{side}:{offset:.2}%;--row:{}", label.row);
            let attributes = [("class", format!("event {side}")), ("style", style)];
            self.words.extend([tag_with("span", &attributes, *what)]);
        }
        let rows = labels.iter().map(|label| label.row + 1);
        self.event_rows = rows.max().unwrap_or(0);
    }

    /// The chart under its title. `says` is what a screen reader reads; `key` names the colours.
    pub fn figure(self, title: &str, says: &str, key: &[(&str, &str)]) -> Html {
        let key = key.iter().map(|(class, name)| {
            let class = [("class", format!("key {class}"))];
            tag(
                "span class=\"entry\"",
                [tag_with("i", &class, ""), (*name).into()],
            )
        });
        let caption = [
            tag("b", title),
            tag("span class=\"keys\"", key.collect::<Html>()),
        ];
        let label = [("aria-label", format!("{title}. {says}"))];
        let open = "svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\"";
        let (height, rows) = (self.height_px, self.event_rows);
        let attributes = [
            ("class", self.class.to_owned()),
            ("style", format!("height:{height}px;--rows:{rows}")),
        ];
        let words = tag("div class=\"words\" aria-hidden=\"true\"", self.words);
        let plot = [tag_with(open, &label, self.shapes), words];
        tag(
            "figure",
            [
                tag("figcaption", Html::from(caption)),
                tag_with("div", &attributes, plot),
            ],
        )
    }
}

/// A line the size of a word, of values from zero up.
pub fn sparkline(values: &[f64], says: &str) -> Html {
    let x = Axis::linear(0.0, values.len() as f64);
    let y = Axis::from_zero(values.iter().copied().fold(0.0, f64::max));
    let mut plot = Plot::empty(x, y, 0);
    let points: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(i, v)| (i as f64 + 0.5, *v))
        .collect();
    plot.area("hue", &points);
    let open =
        "svg class=\"spark\" viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\"";
    tag_with(open, &[("aria-label", says.to_owned())], plot.shapes)
}
