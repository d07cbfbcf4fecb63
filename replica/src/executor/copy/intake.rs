//! The bounds of what a source sends of one part (no I/O): whoever lies has neither memory, nor disk, nor time of the one that copies
//! without end.

use super::{WINDOW, hash_of};
use consensus::Digest;
use std::time::Duration;

/// How long a source may be silent.
const SILENCE: Duration = Duration::from_secs(8);
/// A source begins with what takes it long: pg_dump, or the first rows of a table that somebody has locked. So much may be lost on the
/// way too, beyond the pace.
const FIRST: Duration = Duration::from_secs(130);
/// Bytes in a second of waiting that a source sends at least: a quarter of the lowest `copy_rate_mib_s`.
const PACE: u64 = 256 << 10;
/// Bytes of a part that is held in memory: as many as pg_dump's text may have where it is made.
const HELD: u64 = 128 << 20;

/// Why a part did not come from a source.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The state is not kept there any more, the source is silent or slow, or a chunk was lost: another one is asked.
    Lost(String),
    /// What came is not what the truth says.
    Wrong(String),
}

/// A piece of a part, as it came.
pub struct Chunk {
    pub number: u32,
    pub last: bool,
    pub payload: Vec<u8>,
    pub hash: Digest,
}

/// A part as far as it came from one source.
pub struct Intake {
    next: u32,
    /// Texts, and bytes of them in memory, that may still come.
    texts: u64,
    held: u64,
    bytes: u64,
    waited: Duration,
}

impl Intake {
    /// A part that is held in memory as a whole.
    pub fn held() -> Intake {
        Intake::new(u64::MAX, HELD)
    }

    /// A table of so many rows, which are put away as they come.
    pub fn table(rows: u64) -> Intake {
        Intake::new(rows, u64::MAX)
    }

    fn new(texts: u64, held: u64) -> Intake {
        Intake {
            next: 0,
            texts,
            held,
            bytes: 0,
            waited: Duration::ZERO,
        }
    }

    /// Chunks up to here may be sent; this one is not included.
    pub fn until(&self) -> u32 {
        self.next.saturating_add(WINDOW)
    }

    /// How long the next chunk may take: all together the source has to keep the pace, so that small ones that come in time do not go on
    /// for ever.
    pub fn patience(&self) -> Duration {
        let usual = if self.next == 0 { FIRST } else { SILENCE };
        let all = FIRST + Duration::from_secs(self.bytes / PACE);
        usual.min(all.saturating_sub(self.waited))
    }

    /// The texts of the next chunk, for which the source was waited for so long.
    ///
    /// # Errors
    /// When it is not the next one, or passes a bound that no honest source does.
    pub fn take(&mut self, chunk: &Chunk, waited: Duration) -> Result<Vec<String>, Failure> {
        let number = chunk.number;
        if number != self.next {
            // The net drops what there is no room for: a gap is nobody's lie.
            let why = format!("chunk {number} came for {}", self.next);
            return Err(Failure::Lost(why));
        }
        let wrong = |why: &str| Err(Failure::Wrong(format!("chunk {number} {why}")));
        if hash_of(&chunk.payload) != chunk.hash {
            return wrong("is broken");
        }
        let texts: Vec<String> = match consensus::decode(&chunk.payload) {
            Ok(texts) => texts,
            Err(error) => return wrong(&error.to_string()),
        };
        if texts.is_empty() && !chunk.last {
            return wrong("is empty");
        }
        let held = |text: &String| (text.len() + size_of::<String>()) as u64;
        let (count, held): (_, u64) = (texts.len() as u64, texts.iter().map(held).sum());
        let left = (self.texts.checked_sub(count), self.held.checked_sub(held));
        let (Some(texts_left), Some(held_left)) = left else {
            return wrong("has more than there is");
        };
        (self.texts, self.held) = (texts_left, held_left);
        self.bytes += chunk.payload.len() as u64;
        self.waited += waited;
        self.next += 1;
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u32, texts: &[&str]) -> Chunk {
        let payload = postcard::to_stdvec(texts).unwrap();
        Chunk {
            number,
            last: false,
            hash: hash_of(&payload),
            payload,
        }
    }

    fn take(intake: &mut Intake, chunk: &Chunk) -> Result<usize, Failure> {
        let taken = intake.take(chunk, Duration::ZERO);
        taken.map(|texts| texts.len())
    }

    fn is_wrong<T>(taken: Result<T, Failure>) -> bool {
        matches!(taken, Err(Failure::Wrong(_)))
    }

    #[test]
    fn a_table_that_is_copied_gets_no_more_rows_than_were_agreed_on() {
        let mut table = Intake::table(3);
        assert_eq!(take(&mut table, &chunk(0, &["a", "b"])), Ok(2));
        assert!(is_wrong(take(&mut table, &chunk(1, &["c", "d"]))));
        assert_eq!(take(&mut table, &chunk(1, &["c"])), Ok(1));
        assert!(is_wrong(take(&mut table, &chunk(2, &["d"]))));
        let mut end = chunk(2, &[]);
        assert!(is_wrong(take(&mut table, &end)), "it could go on for ever");
        end.last = true;
        assert_eq!(take(&mut table, &end), Ok(0));
    }

    #[test]
    fn a_part_of_a_copy_that_is_held_in_memory_has_an_end() {
        let mut held = Intake::held();
        let text = "x".repeat(32 << 20);
        for number in 0..3 {
            assert_eq!(take(&mut held, &chunk(number, &[&text])), Ok(1));
        }
        assert!(is_wrong(take(&mut held, &chunk(3, &[&text]))));
        let nothing = vec![""; 1 << 20];
        let mut held = Intake::held();
        let mut all = (0..8).map(|number| take(&mut held, &chunk(number, &nothing)));
        assert!(all.any(is_wrong), "lines of no length");
    }

    #[test]
    fn a_lost_chunk_of_a_copy_is_no_lie_and_a_broken_one_is() {
        let mut table = Intake::table(9);
        assert_eq!(take(&mut table, &chunk(0, &["a"])), Ok(1));
        for other in [0, 2] {
            let taken = take(&mut table, &chunk(other, &["a"]));
            assert!(matches!(taken, Err(Failure::Lost(_))), "{taken:?}");
        }
        let mut broken = chunk(1, &["b"]);
        broken.payload[1] ^= 1;
        assert!(is_wrong(take(&mut table, &broken)));
    }

    #[test]
    fn a_source_of_a_copy_that_trickles_is_left() {
        let mut table = Intake::table(u64::MAX);
        assert_eq!(table.patience(), FIRST);
        let mut waited = Duration::ZERO;
        let late = SILENCE - Duration::from_millis(100);
        for number in 0.. {
            if table.patience() < late {
                break;
            }
            assert!(waited < 2 * FIRST, "it goes on");
            table.take(&chunk(number, &["a"]), late).unwrap();
            waited += late;
        }
        // One that sends as much as it may, and is late as often, goes on.
        let mut table = Intake::table(u64::MAX);
        let text = "x".repeat(2 << 20);
        for number in 0..20 {
            assert!(table.patience() >= late);
            table.take(&chunk(number, &[&text]), late).unwrap();
        }
    }
}
