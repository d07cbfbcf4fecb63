//! How soon a request is sent again: not before an answer is overdue by what answers take now.

use std::time::Duration;

use super::settings::Settings;

/// Smoothed time to a result and its mean deviation, with the weights of RFC 6298 (2.3). Other than there, what was sent again counts
/// too, from the first time: answers name the request, so none is taken for another's, and if it did not count, a load that makes
/// everything late would never be learnt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    known: Option<(Duration, Duration)>,
}

impl Pace {
    /// A result came after so long.
    pub fn answered(&mut self, took: Duration) {
        self.known = Some(match self.known {
            None => (took, took / 2),
            Some((smoothed, deviation)) => (
                (smoothed * 7 + took) / 8,
                (deviation * 3 + smoothed.abs_diff(took)) / 4,
            ),
        });
    }

    /// How long to wait for an answer before the request is sent again: between the two settings.
    pub fn retransmit(&self, settings: &Settings) -> Duration {
        let overdue = self.known.map_or(Duration::ZERO, |(smoothed, deviation)| {
            smoothed + deviation * 4
        });
        let most = settings.retransmit_max.max(settings.retransmit);
        overdue.clamp(settings.retransmit, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_for_all_is_not_sent_again_early_and_quick_answers_bring_the_old_pace_back() {
        let (mut pace, settings) = (Pace::default(), Settings::default());
        assert_eq!(pace.retransmit(&settings), settings.retransmit);
        (0..20).for_each(|_| pace.answered(Duration::from_millis(2_500)));
        let slow = pace.retransmit(&settings);
        assert!(
            slow > Duration::from_millis(2_500) && slow < Duration::from_secs(3),
            "{slow:?}"
        );
        pace.answered(Duration::from_secs(100));
        assert_eq!(pace.retransmit(&settings), settings.retransmit_max);
        (0..60).for_each(|_| pace.answered(Duration::from_millis(1)));
        assert_eq!(pace.retransmit(&settings), settings.retransmit);
    }
}
