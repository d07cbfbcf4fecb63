//! Figures for people: three digits that count, thousands apart, a dash where there is no number.

use testbed::comparison::Spread;

/// What stands where there is no figure.
pub const NONE: &str = "–";

/// `12 345`, `123`, `12.3`, `1.23`, `0.012`; a dash for what is no number.
pub fn figure(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => NONE.to_owned(),
        0.0 => "0".to_owned(),
        _ if size >= 99.95 => grouped(value),
        _ if size >= 9.995 => format!("{value:.1}"),
        _ if size >= 0.9995 => format!("{value:.2}"),
        _ if size >= 0.0005 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

/// A figure that was chosen, not measured: `10`, not `10.0`.
pub fn round(value: f64) -> String {
    let figure = figure(value);
    match figure.contains('.') {
        true => figure
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => figure,
    }
}

/// A whole number with its thousands apart.
pub fn count(value: u64) -> String {
    grouped(value as f64)
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::from(if value < 0.0 { "−" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// `45.1 %` of a share from 0 to 1.
pub fn percent(share: f64) -> String {
    match share.is_finite() {
        true => format!("{} %", figure(share * 100.0)),
        false => NONE.to_owned(),
    }
}

/// The median, with the least and the greatest where they differ.
pub fn spread(spread: Option<Spread>, unit: &str) -> String {
    let Some(Spread { median, min, max }) = spread else {
        return NONE.to_owned();
    };
    let (median, min, max) = (figure(median), figure(min), figure(max));
    match min == max {
        true => format!("{median}{unit}"),
        false => format!("{median}{unit} ({min}–{max})"),
    }
}

/// `2026-11-20 14:03 UTC`, or the text as it is where it is no RFC 3339.
pub fn moment(rfc3339: &str) -> String {
    match chrono::DateTime::parse_from_rfc3339(rfc3339) {
        Ok(at) => at.to_utc().format("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => rfc3339.to_owned(),
    }
}

/// Finite values only, so that a chart never meets another.
pub fn finite(values: impl IntoIterator<Item = f64>) -> impl Iterator<Item = f64> {
    values.into_iter().filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        let shown = [0.0, 0.01234, 1.2345, 12.345, 99.97, 1234567.8, f64::NAN].map(figure);
        let expected = [
            "0",
            "0.012",
            "1.23",
            "12.3",
            "100",
            "1\u{202f}234\u{202f}568",
            NONE,
        ];
        assert_eq!(shown, expected);
        assert_eq!(
            [0.5, 60.0, 100.0, 0.0].map(round),
            ["0.5", "60", "100", "0"]
        );
    }

    #[test]
    fn a_spread_of_one_value_shows_no_range() {
        let one = Spread::of([2.0]);
        assert_eq!(spread(one, "×"), "2.00×");
        assert_eq!(
            spread(Spread::of([1.0, 2.0, 4.0]), "×"),
            "2.00× (1.00–4.00)"
        );
        assert_eq!(spread(None, "×"), NONE);
    }
}
