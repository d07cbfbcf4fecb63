//! A cryptographic hash of a multiset: the order of the elements does not count.

/// LtHash: an element is expanded by BLAKE3's XOF to 1024 lanes of 16 bits, and the lanes of all
/// elements are added up (Bellare and Micciancio, 1997; Lewi et al., 2019). Elements can be removed
/// again, and the hashes of two multisets can be merged.
///
/// Most results hold no row or one. Both are hashed without touching a lane; [`finish`](Self::finish)
/// recognises them however the state was reached, so the path taken never shows in the result.
#[derive(Clone, Debug, Default)]
pub struct MultisetHash {
    /// Elements added minus elements removed.
    count: i64,
    /// Sum of the elements' hashes, word by word: with one element it is that element's hash.
    sum: [u64; 4],
    /// Sum of the elements' lanes; `None` while at most one element was ever added.
    lanes: Option<Box<Lanes>>,
}

type Lanes = [u16; LANES];

const LANES: usize = 1024;
const ELEMENT: &[u8; 32] = b"SteelDB multiset hash, element 1";
const EXPAND: &[u8; 32] = b"SteelDB multiset hash, lanes   1";
const EMPTY: &[u8; 32] = b"SteelDB multiset hash, empty   1";
const ONE: &[u8; 32] = b"SteelDB multiset hash, one     1";
const MANY: &[u8; 32] = b"SteelDB multiset hash, many    1";

impl MultisetHash {
    /// The empty multiset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one element.
    pub fn add(&mut self, element: &[u8]) {
        self.add_hash(element_hash(&[element]));
    }

    /// Adds the element that is the parts put together, without a copy.
    pub fn add_parts(&mut self, parts: &[&[u8]]) {
        self.add_hash(element_hash(parts));
    }

    fn add_hash(&mut self, hash: [u64; 4]) {
        if self.count != 0 || self.lanes.is_some() {
            let lanes = self.lanes_mut();
            for (lane, more) in lanes.iter_mut().zip(expand(&hash).iter()) {
                *lane = lane.wrapping_add(*more);
            }
        }
        self.count = self.count.wrapping_add(1);
        for (word, more) in self.sum.iter_mut().zip(hash) {
            *word = word.wrapping_add(more);
        }
    }

    /// Takes one element out. The result means something only when it was in.
    pub fn remove(&mut self, element: &[u8]) {
        let hash = element_hash(&[element]);
        let lanes = self.lanes_mut();
        for (lane, less) in lanes.iter_mut().zip(expand(&hash).iter()) {
            *lane = lane.wrapping_sub(*less);
        }
        self.count = self.count.wrapping_sub(1);
        for (word, less) in self.sum.iter_mut().zip(hash) {
            *word = word.wrapping_sub(less);
        }
    }

    /// Adds all elements of another multiset.
    pub fn merge(&mut self, other: &MultisetHash) {
        if other.is_untouched() {
            return;
        }
        if self.is_untouched() {
            *self = other.clone();
            return;
        }
        let theirs = other.lanes.clone().unwrap_or_else(|| expand(&other.sum));
        for (lane, more) in self.lanes_mut().iter_mut().zip(theirs.iter()) {
            *lane = lane.wrapping_add(*more);
        }
        self.count = self.count.wrapping_add(other.count);
        for (word, more) in self.sum.iter_mut().zip(other.sum) {
            *word = word.wrapping_add(more);
        }
    }

    /// The number of elements.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// The hash of the multiset.
    pub fn finish(&self) -> [u8; 32] {
        match (&self.lanes, self.count) {
            (None, 0) => *blake3::keyed_hash(EMPTY, &[]).as_bytes(),
            (Some(lanes), 0) if lanes.iter().all(|&lane| lane == 0) => {
                *blake3::keyed_hash(EMPTY, &[]).as_bytes()
            }
            (None, _) => self.finish_one(),
            (Some(lanes), 1) if **lanes == *expand(&self.sum) => self.finish_one(),
            (Some(lanes), _) => {
                let mut bytes = [0; 2 * LANES];
                for (pair, lane) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(lanes.iter()) {
                    *pair = lane.to_le_bytes();
                }
                let mut hasher = blake3::Hasher::new_keyed(MANY);
                hasher.update(&self.count.to_le_bytes());
                hasher.update(&bytes);
                *hasher.finalize().as_bytes()
            }
        }
    }

    fn finish_one(&self) -> [u8; 32] {
        *blake3::keyed_hash(ONE, &words_to_bytes(&self.sum)).as_bytes()
    }

    fn is_untouched(&self) -> bool {
        self.count == 0 && self.lanes.is_none()
    }

    fn lanes_mut(&mut self) -> &mut Lanes {
        let (count, sum) = (self.count, &self.sum);
        self.lanes.get_or_insert_with(|| match count {
            0 => Box::new([0; LANES]),
            _ => expand(sum),
        })
    }
}

fn element_hash(parts: &[&[u8]]) -> [u64; 4] {
    let mut hasher = blake3::Hasher::new_keyed(ELEMENT);
    for part in parts {
        hasher.update(part);
    }
    let hash = hasher.finalize();
    let (words, _) = hash.as_bytes().as_chunks::<8>();
    [words[0], words[1], words[2], words[3]].map(u64::from_le_bytes)
}

fn words_to_bytes(words: &[u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *chunk = word.to_le_bytes();
    }
    bytes
}

fn expand(hash: &[u64; 4]) -> Box<Lanes> {
    let mut bytes = [0; 2 * LANES];
    blake3::Hasher::new_keyed(EXPAND)
        .update(&words_to_bytes(hash))
        .finalize_xof()
        .fill(&mut bytes);
    let mut lanes = Box::new([0; LANES]);
    for (lane, pair) in lanes.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *lane = u16::from_le_bytes(*pair);
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(elements: &[Vec<u8>]) -> MultisetHash {
        let mut hash = MultisetHash::new();
        for element in elements {
            hash.add(element);
        }
        hash
    }

    proptest! {
        #[test]
        fn order_does_not_count_but_multiplicity_does(
            mut elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 1..8),
        ) {
            let before = hash(&elements).finish();
            elements.reverse();
            prop_assert_eq!(before, hash(&elements).finish());
            elements.push(elements[0].clone());
            prop_assert_ne!(before, hash(&elements).finish());
        }

        #[test]
        fn the_way_a_state_was_reached_does_not_show(
            kept in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4),
            passing in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4),
        ) {
            let mut state = hash(&passing);
            state.merge(&hash(&kept));
            for element in &passing {
                state.remove(element);
            }
            prop_assert_eq!(state.finish(), hash(&kept).finish());
            prop_assert_eq!(state.count(), kept.len() as i64);
        }
    }

    #[test]
    fn removing_what_was_not_in_does_not_look_like_another_multiset() {
        let mut state = hash(&[b"a".to_vec()]);
        state.remove(b"b");
        assert_ne!(state.finish(), MultisetHash::new().finish());
        let mut state = hash(&[b"a".to_vec(), b"c".to_vec()]);
        state.remove(b"b");
        assert_ne!(state.finish(), hash(&[b"a".to_vec()]).finish());
        assert_ne!(state.finish(), hash(&[b"c".to_vec()]).finish());
    }

    #[test]
    fn parts_make_one_element() {
        let mut parts = MultisetHash::new();
        parts.add_parts(&[b"ab", b"c"]);
        assert_eq!(parts.finish(), hash(&[b"abc".to_vec()]).finish());
    }
}
