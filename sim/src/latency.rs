//! How long a message takes: one room, a loaded network, or five regions of the world.

use consensus::ReplicaId;

use crate::rng::Rng;

/// Table 5.7 of Sousa's thesis: mean and standard deviation of the round trip between Amazon
/// EC2 regions, in ms: Ireland, São Paulo, Oregon, Sydney, Virginia.
const ROUND_TRIPS: [[(u64, u64); 5]; 5] = [
    [(0, 0), (211, 10), (171, 11), (340, 11), (88, 10)],
    [(208, 14), (0, 0), (217, 19), (359, 4), (123, 3)],
    [(171, 14), (217, 11), (0, 0), (205, 7), (70, 12)],
    [(336, 26), (359, 4), (205, 10), (0, 0), (255, 12)],
    [(88, 10), (123, 4), (71, 13), (256, 5), (0, 0)],
];

/// A distribution of one-way delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// The same between any two, from and to so many milliseconds.
    Even(u64, u64),
    /// Replica `i` sits in region `i` modulo five; half of Table 5.7's round trip each way.
    FiveRegions,
}

impl Latency {
    /// Mostly a LAN.
    pub fn draw(rng: &mut Rng) -> Self {
        match rng.between(0, 99) {
            0..=69 => Self::Even(1, 8),
            70..=84 => Self::Even(5, 60),
            _ => Self::FiveRegions,
        }
    }

    /// One message's delay.
    pub fn sample(self, rng: &mut Rng, from: ReplicaId, to: ReplicaId) -> u64 {
        match self {
            Self::Even(low, high) => rng.between(low, high),
            Self::FiveRegions => {
                let (row, column) = (usize::from(from.0 % 5), usize::from(to.0 % 5));
                let (mean, deviation) = ROUND_TRIPS[row][column];
                // Twelve even draws make a normal one, near enough; two ways of deviation s/√2
                // make a round trip of deviation s.
                let sum: u64 = (0..12).map(|_| rng.between(0, 1_000)).sum();
                let spread = (sum as i64 - 6_000) * deviation as i64 * 707 / 1_000_000;
                (mean as i64 / 2 + spread).max(1) as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_regions_are_as_far_apart_as_the_table_says() {
        let rng = &mut Rng::new(1);
        let mean = |from: u16, to: u16, rng: &mut Rng| {
            let sample = |_| Latency::FiveRegions.sample(rng, ReplicaId(from), ReplicaId(to));
            (0..2_000).map(sample).sum::<u64>() / 2_000
        };
        let (out, back) = (mean(0, 3, rng), mean(3, 0, rng));
        assert!((168..=171).contains(&out) && (166..=169).contains(&back));
        assert_eq!(
            mean(5, 0, rng),
            1,
            "the sixth replica is at home with the first"
        );
    }
}
