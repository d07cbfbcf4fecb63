//! The specification's random numbers and strings.

use std::ops::RangeInclusive;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The constants C of Clause 2.1.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Constants {
    /// For C_LAST, 0 to 255.
    pub last: u32,
    /// For C_ID, 0 to 1023.
    pub customer: u32,
    /// For OL_I_ID, 0 to 8191.
    pub item: u32,
}

/// A generator of its own for each place, so that work can be done in any order: what depends on the seed depends on
/// nothing else.
pub(crate) fn rng(seed: u64, purpose: &[u8; 8], place: [u32; 4]) -> StdRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(purpose);
    for (slot, number) in bytes[16..].chunks_exact_mut(4).zip(place) {
        slot.copy_from_slice(&number.to_le_bytes());
    }
    StdRng::from_seed(bytes)
}

/// Clause 2.1.6: NURand(A, x, y).
pub fn nurand(rng: &mut StdRng, a: u32, c: u32, range: RangeInclusive<u32>) -> u32 {
    let (x, y) = (*range.start(), *range.end());
    (((rng.random_range(0..=a) | rng.random_range(range)) + c) % (y - x + 1)) + x
}

impl Constants {
    /// Those of a run on a database loaded with this C for C_LAST (Clause 2.1.6.1).
    pub fn for_run(seed: u64, loaded_last: u32) -> Constants {
        let mut rng = rng(seed, b"constant", [1, 0, 0, 0]);
        let allowed: Vec<u32> = (0..=255u32)
            .filter(|last| {
                let delta = last.abs_diff(loaded_last);
                (65..=119).contains(&delta) && delta != 96 && delta != 112
            })
            .collect();
        Constants {
            // From any of 0 to 255 a step of 65 stays inside, up or down.
            last: allowed[rng.random_range(0..allowed.len())],
            customer: rng.random_range(0..=1023),
            item: rng.random_range(0..=8191),
        }
    }

    /// C for C_LAST with which a database is loaded.
    pub(crate) fn last_for_load(seed: u64) -> u32 {
        rng(seed, b"constant", [0; 4]).random_range(0..=255)
    }
}

/// Clause 4.3.2.2: letters and digits.
pub(crate) fn a_string(rng: &mut StdRng, length: RangeInclusive<usize>) -> String {
    const SIGNS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    pick(rng, SIGNS, length)
}

/// Clause 4.3.2.2: digits.
pub(crate) fn n_string(rng: &mut StdRng, length: usize) -> String {
    pick(rng, b"0123456789", length..=length)
}

fn pick(rng: &mut StdRng, signs: &[u8], length: RangeInclusive<usize>) -> String {
    (0..rng.random_range(length))
        .map(|_| char::from(signs[rng.random_range(0..signs.len())]))
        .collect()
}

/// Clause 4.3.2.7.
pub(crate) fn zip(rng: &mut StdRng) -> String {
    n_string(rng, 4) + "11111"
}

/// A state: two capital letters.
pub(crate) fn state(rng: &mut StdRng) -> String {
    pick(rng, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 2..=2)
}

/// I_DATA and S_DATA (Clause 4.3.3.1): one in ten holds "ORIGINAL" somewhere.
pub(crate) fn data(rng: &mut StdRng) -> String {
    const ORIGINAL: &str = "ORIGINAL";
    let mut text = a_string(rng, 26..=50);
    if rng.random_ratio(1, 10) {
        let at = rng.random_range(0..=text.len() - ORIGINAL.len());
        text.replace_range(at..at + ORIGINAL.len(), ORIGINAL);
    }
    text
}

/// Clause 4.3.2.3: a name of three syllables for a number from 0 to 999.
pub(crate) fn last_name(number: u32) -> String {
    const SYLLABLES: [&str; 10] = [
        "BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING",
    ];
    [number / 100, number / 10 % 10, number % 10]
        .map(|digit| SYLLABLES[digit as usize])
        .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_specification() {
        assert_eq!(last_name(371), "PRICALLYOUGHT");
        assert_eq!(last_name(40), "BARPRESBAR");
    }

    #[test]
    fn the_constant_for_names_differs_from_the_loads_as_it_must() {
        for seed in 0..2_000 {
            let load = Constants::last_for_load(seed);
            let run = Constants::for_run(seed, load);
            let delta = run.last.abs_diff(load);
            assert!(run.last <= 255 && (65..=119).contains(&delta));
            assert!(![96, 112].contains(&delta));
        }
    }

    #[test]
    fn nurand_with_a_zero_constant_favours_numbers_with_many_bits() {
        let mut rng = rng(7, b"nurand..", [0; 4]);
        let mut seen = vec![0u32; 1000];
        for _ in 0..200_000 {
            seen[nurand(&mut rng, 255, 0, 0..=999) as usize] += 1;
        }
        // A bit of the lower eight is set with probability 3/4: 255 comes (3/4)^8 * 4, 256 (1/4)^8 * 4 of the time that
        // uniform numbers would, roughly; 2000 hits fewer than 100 times as rare must not be confused.
        assert!(seen[255] > 2_500, "{}", seen[255]);
        assert!(seen[256] < 20, "{}", seen[256]);
    }
}
