//! How long nobody was answered.

use std::time::Duration;

use super::load::{Answer, LaneRecord};

/// All answers in the order in which they came.
pub struct Answers(Vec<Answer>);

impl Answers {
    pub fn of<'a>(records: impl IntoIterator<Item = &'a LaneRecord>) -> Answers {
        let mut all: Vec<Answer> = records
            .into_iter()
            .flat_map(|r| r.answers.iter().copied())
            .collect();
        all.sort_by_key(|answer| answer.at);
        Answers(all)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn first_after(&self, time: Duration) -> usize {
        self.0.partition_point(|answer| answer.at <= time)
    }

    /// The longest time without an answer that touches the interval: it may begin before and end after it.
    pub fn longest_silence(&self, from: Duration, to: Duration) -> Duration {
        let first = self.first_after(from);
        let before = first
            .checked_sub(1)
            .map_or(Duration::ZERO, |at| self.0[at].at);
        let inside = self.0[first..].iter().map(|answer| answer.at);
        let mut longest = Duration::ZERO;
        let mut last = before;
        for at in inside {
            longest = longest.max(at - last.max(from));
            last = at;
            if at >= to {
                return longest;
            }
        }
        // Nothing came any more.
        longest.max(to.saturating_sub(last.max(from)))
    }

    /// Answers that came in this interval.
    pub fn between(&self, from: Duration, to: Duration) -> usize {
        self.first_after(to) - self.first_after(from)
    }

    /// The longest that an entry took that was answered in this interval.
    pub fn slowest(&self, from: Duration, to: Duration) -> Duration {
        let inside = &self.0[self.first_after(from)..self.first_after(to)];
        inside
            .iter()
            .map(|answer| answer.took)
            .max()
            .unwrap_or_default()
    }

    /// From a moment to the next answer.
    pub fn until_next(&self, from: Duration) -> Option<Duration> {
        Some(self.0.get(self.first_after(from))?.at - from)
    }

    /// When the first entry was answered that was sent at this moment or later.
    pub fn to_what_came_after(&self, sent: Duration) -> Option<Duration> {
        let later = &self.0[self.first_after(sent)..];
        let found = later.iter().find(|answer| answer.at - answer.took >= sent);
        found.map(|answer| answer.at)
    }

    /// Answers in each interval of this length.
    pub fn per(&self, interval: Duration) -> Vec<u64> {
        let mut counts = Vec::new();
        for answer in &self.0 {
            let at = (answer.at.as_secs_f64() / interval.as_secs_f64()) as usize;
            if counts.len() <= at {
                counts.resize(at + 1, 0);
            }
            counts[at] += 1;
        }
        counts
    }

    /// Latencies below which these shares lie, of answers that came in the interval.
    pub fn quantiles<const N: usize>(
        &self,
        from: Duration,
        to: Duration,
        shares: [f64; N],
    ) -> [Duration; N] {
        let inside = &self.0[self.first_after(from)..self.first_after(to)];
        let mut took: Vec<Duration> = inside.iter().map(|answer| answer.took).collect();
        took.sort();
        shares.map(|share| {
            let at = (took.len() as f64 * share) as usize;
            took.get(at.min(took.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn answers(at: &[u64]) -> Answers {
        let took = ms(1);
        Answers(at.iter().map(|at| Answer { at: ms(*at), took }).collect())
    }

    #[test]
    fn the_longest_silence_counts_from_the_fault_and_past_its_end() {
        let answers = answers(&[10, 20, 30, 400, 410, 900]);
        // Killed at 35: the next answer comes at 400, after the interval's end even.
        assert_eq!(answers.longest_silence(ms(35), ms(100)), ms(365));
        assert_eq!(answers.longest_silence(ms(35), ms(405)), ms(365));
        assert_eq!(answers.longest_silence(ms(0), ms(25)), ms(10));
        assert_eq!(
            answers.longest_silence(ms(850), ms(2000)),
            ms(1100),
            "to the end"
        );
        assert_eq!(answers.longest_silence(ms(950), ms(1000)), ms(50));
    }

    #[test]
    fn what_was_under_way_at_a_kill_shows_no_new_leader() {
        let of = |took: u64, at: u64| Answer {
            at: ms(at),
            took: ms(took),
        };
        let answers = Answers(vec![of(5, 10), of(30, 240), of(300, 330), of(90, 400)]);
        assert_eq!(answers.to_what_came_after(ms(50)), Some(ms(240)));
        assert_eq!(answers.to_what_came_after(ms(211)), Some(ms(400)));
        assert_eq!(answers.to_what_came_after(ms(310)), Some(ms(400)));
        assert_eq!(answers.to_what_came_after(ms(311)), None);
    }

    #[test]
    fn counts_and_quantiles_are_of_the_interval() {
        let answers = answers(&[10, 20, 30, 400]);
        assert_eq!(answers.between(ms(10), ms(30)), 2);
        assert_eq!(answers.until_next(ms(30)), Some(ms(370)));
        assert_eq!(answers.until_next(ms(400)), None);
        assert_eq!(answers.per(ms(100)), [3, 0, 0, 0, 1]);
        assert_eq!(
            answers.quantiles(ms(0), ms(500), [0.5, 0.99]),
            [ms(1), ms(1)]
        );
        assert_eq!(answers.quantiles(ms(500), ms(600), [0.5]), [ms(0)]);
    }
}
