//! An axis: where a value stands, and which values are written beside it.

/// The plot is a square of this many units, stretched to the space that the page gives it.
pub const SIDE: f64 = 1000.0;

#[derive(Debug, Clone, Copy)]
pub struct Axis {
    from: f64,
    to: f64,
    /// From tick to tick; `None` is logarithmic.
    step: Option<f64>,
}

impl Axis {
    /// From zero to a round number not below `max`.
    pub fn from_zero(max: f64) -> Axis {
        let max = if max > 0.0 && max.is_finite() {
            max
        } else {
            1.0
        };
        let step = step(max);
        Axis {
            from: 0.0,
            to: (max / step).ceil() * step,
            step: Some(step),
        }
    }

    pub fn linear(from: f64, to: f64) -> Axis {
        let step = Some(step(to - from));
        Axis { from, to, step }
    }

    /// Around the positive values among these.
    pub fn log(values: impl IntoIterator<Item = f64>) -> Axis {
        let positive = values
            .into_iter()
            .filter(|value| *value > 0.0 && value.is_finite());
        let (from, to) = positive.fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        // A decade at least, so that one value alone has an axis with ticks too.
        let room = if to > 0.0 {
            (10.0 * from / to).sqrt().max(1.25)
        } else {
            1.0
        };
        let (from, to) = if to > 0.0 {
            (from / room, to * room)
        } else {
            (0.1, 10.0)
        };
        Axis {
            from,
            to,
            step: None,
        }
    }

    /// Rows from the top, each of height 1.
    pub fn rows(rows: usize) -> Axis {
        Axis::linear(0.0, rows.max(1) as f64).turned()
    }

    /// Greatest value first.
    pub fn turned(self) -> Axis {
        Axis {
            from: self.to,
            to: self.from,
            ..self
        }
    }

    /// 0 to 1 along the axis; what lies outside stands at its end.
    pub fn share(&self, value: f64) -> f64 {
        let scale = |v: f64| {
            if self.step.is_none() {
                v.max(1e-9).log10()
            } else {
                v
            }
        };
        let (from, to) = (scale(self.from), scale(self.to));
        let share = (scale(value) - from) / (to - from);
        if share.is_nan() {
            0.0
        } else {
            share.clamp(0.0, 1.0)
        }
    }

    /// Round values, four to eight where they fit.
    pub fn ticks(&self) -> Vec<f64> {
        if let Some(step) = self.step {
            let first = (self.from / step).ceil() as i64;
            let last = (self.to / step + 1e-9).floor() as i64;
            return (first..=last).map(|i| i as f64 * step).collect();
        }
        let (low, high) = (self.from.log10(), self.to.log10());
        let parts: &[f64] = if high - low > 2.3 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let decades = low.floor() as i32..=high.ceil() as i32;
        decades
            .flat_map(|decade| parts.iter().map(move |part| part * 10_f64.powi(decade)))
            .filter(|tick| (self.from..=self.to).contains(tick))
            .collect()
    }
}

/// 1, 2 or 5 times a power of ten, four to eight times in `length`.
fn step(length: f64) -> f64 {
    let rough = length / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let digit = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|digit| digit * power * 1.5 >= rough);
    digit.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(
            Axis::from_zero(47.0).ticks(),
            [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
        );
        for max in [0.003, 1.0, 7.3, 99.0, 123_456.0, f64::NAN, 0.0] {
            let ticks = Axis::from_zero(max).ticks();
            assert!((4..=9).contains(&ticks.len()), "{max}: {ticks:?}");
        }
        assert_eq!(Axis::log([1.0, 9.0]).ticks(), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(Axis::log([3.0]).ticks(), [1.0, 2.0, 5.0]);
        assert_eq!(
            Axis::log([1.0, 9000.0]).ticks(),
            [1.0, 10.0, 100.0, 1000.0, 10_000.0]
        );
    }

    #[test]
    fn every_value_has_a_place() {
        let axis = Axis::log([]);
        for value in [f64::NAN, -1.0, 0.0, 1.0, f64::INFINITY] {
            assert!((0.0..=1.0).contains(&axis.share(value)));
        }
        assert_eq!(Axis::rows(2).share(0.0), 1.0);
    }
}
