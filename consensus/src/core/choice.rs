//! What the states collected in a SYNC leave open, and why it is safe.
//!
//! This is the read phase of Cachin's Byzantine epoch consensus ("Yet Another Visit to
//! Paxos", 2009; thesis, Appendix B), at one height after another. Write Q for the write quorum (of votes, by weight). Each state tells,
//! for each height that is open at its signer, the `lock = (valts, val)`, the newest value for which it saw Q WRITEs and sent
//! ACCEPT, and the `writeset`, the values that it wrote. A value names the one *after* which it stands, the value of the height
//! below. At each height only values after the one that is decided, or bound, below count; a lock on another is as good as none.
//!
//! * `(ts, v)` **binds** when some state is locked on it, Q states are locked lower or on
//!   exactly it (*quorum-highest*), and f + 1 states wrote v in regency ts or later
//!   (*certified*).
//! * The collection is **unbound** when Q states have no lock. Then nothing is bound above either.
//!
//! **The chain.** A correct replica sends ACCEPT at a height only after it decided the height below or, in the same regency, sent
//! ACCEPT there, and only for a value after that one. So Q replicas that accepted w at height k in regency r have all accepted, in
//! r, or decided every height below, and all the same values: w's ancestors. Call such an ancestor, and w itself, *chosen in r*.
//! What is decided is chosen.
//!
//! **Safety.** Let w be chosen at a height in regency r, by Q acceptors of w or of one that stands on it.
//! At least f + 1 of them are correct, and where they have not decided that height, they are locked on (≥ r, ·) there for good. Claim: in every
//! later regency a correct replica writes there only w. By induction over regencies r' > r, and in each over the heights that its SYNC
//! leaves open: a correct replica writes in r' only what a valid SYNC of r' yields, or what stands on that.
//! The heights below are bound to w's ancestors, so w stands on what is bound or decided below and its lock counts. The
//! SYNC's Q unlocked, or lower locked, signers would meet the Q acceptors in a
//! correct replica. It has not decided the height, or the SYNC would begin above; so it is
//! locked at r or later (its STOPDATA was signed after it
//! entered r', so after its last vote in any lower regency): hence the collection is not
//! unbound, and no (ts, v) with ts < r binds. In r itself only w had Q WRITEs, so (r, v)
//! binds only for v = w (certified needs one correct writer, and a state locked on (r, v) with v ≠ w
//! is a lie that Q − f correct states contradict: the correct one locked on (r, w) is neither lower nor
//! equal). For ts > r, *certified* needs a correct replica that wrote v in a regency between r and r',
//! and by induction that is w. So w it is.
//!
//! **Who may lie.** f states of a SYNC can say anything, but f is less than *certified*
//! and less than what two quorums share. What a value stands on is part of its digest, so one correct writer among the f + 1 tells it
//! truly. A Byzantine leader can choose which n − f or
//! more states it shows, and show different ones to different replicas: each such
//! collection is safe by the argument above, and a correct replica writes once per regency and height, so
//! two different values never both gather Q WRITEs in it.
//!
//! **γ.** A bound value had a correct writer, who judged it behind the very values that are bound below it: it is good there.
//!
//! **No signed WRITEs.** A certificate of Q signed WRITEs would let a single state prove its lock; here
//! f + 1 writesets do. It saves n signatures and Q verifications per instance, on the path of every
//! request, and costs the leader of a new regency a wait, at worst, for the states of all correct
//! replicas: with those the collection is always sound. (Take the highest correct lock (ts, v) that counts: all correct
//! states are lower or equal, and the Q − f ≥ f + 1 correct writers of v keep it in their writesets with
//! ts or later. Lies only add states, which takes nothing from either count.)
//!
//! **Heights.** States may be of different heights. `decided` is believed up to the highest
//! one with a proof, and the open heights begin above it.

use std::collections::BTreeMap;

use crate::crypto::Digest;
use crate::ids::{Height, Regency, ReplicaId};
use crate::settings::{MAX_PIPELINE, Settings, mutated};
use crate::stopdata::{StopState, Written};
use crate::view::View;

/// What a sound collection says about one height: this value, or any.
pub(crate) type Choice = Option<Digest>;

/// A state as it concerns one height.
#[derive(Clone, Copy)]
struct Seen<'a> {
    replica: ReplicaId,
    lock: Option<(Regency, Digest)>,
    writeset: &'a [Written],
    /// The value below.
    parent: Digest,
}

impl Seen<'_> {
    /// The values that count.
    fn writes(&self) -> impl Iterator<Item = &Written> {
        let parent = self.parent;
        let writeset = self.writeset.iter();
        writeset.filter(move |written| written.after == parent)
    }

    fn wrote_since(&self, ts: Regency, value: &Digest) -> bool {
        self.writes()
            .any(|written| written.regency >= ts && written.digest == *value)
    }
}

/// What a collection leaves bound from `open` on, where the value below has the digest `parent`; `None`: not
/// sound yet, more states are needed.
pub(crate) fn choose_all(
    view: &View,
    settings: &Settings,
    states: &[&StopState],
    open: Height,
    parent: Digest,
) -> Option<Vec<Digest>> {
    let mut bound = Vec::new();
    let mut parent = parent;
    for height in open..open.saturating_add(MAX_PIPELINE as Height) {
        let Some(value) = choose(view, settings, states, height, parent)? else {
            break;
        };
        bound.push(value);
        parent = value;
    }
    Some(bound)
}

/// Evaluates a collection at one height; `None`: not sound yet, more states are needed.
pub(crate) fn choose(
    view: &View,
    settings: &Settings,
    states: &[&StopState],
    height: Height,
    parent: Digest,
) -> Option<Choice> {
    let seen = states
        .iter()
        .map(|state| see(settings, state, height, parent));
    let seen: Vec<Seen<'_>> = seen.collect();
    if let Some((_, value)) = highest_binding(view, settings, &seen) {
        return Some(Some(value));
    }
    let unlocked = seen.iter().filter(|state| state.lock.is_none());
    let votes = weigh(view, settings, unlocked);
    if votes + usize::from(mutated!(settings, UnboundByFewer)) < view.sizes().quorum() {
        return None;
    }
    // Any value is safe. One that a correct replica wrote is finished rather than
    // replaced, so that failed regencies do not pile up values.
    Some(newest_certified(view, &seen))
}

/// The votes of those who signed these states.
fn weigh<'a>(
    view: &View,
    settings: &Settings,
    states: impl Iterator<Item = &'a Seen<'a>>,
) -> usize {
    if mutated!(settings, SameSignerTwice) {
        // As often as it is shown.
        return states.map(|state| view.weigh([state.replica])).sum();
    }
    view.weigh(states.map(|state| state.replica))
}

fn see<'a>(settings: &Settings, state: &'a StopState, height: Height, parent: Digest) -> Seen<'a> {
    let votes = state.votes_at(height);
    let writeset = votes.map_or(&[][..], |votes| &votes.writeset);
    // Whoever locked a value wrote it: its own writeset says what it stands on.
    let elsewhere = |value: Digest| {
        let mut writes = writeset.iter();
        writes.any(|written| written.digest == value && written.after != parent)
    };
    let lock = votes.and_then(|votes| votes.lock);
    Seen {
        replica: state.replica,
        lock: lock.filter(|(_, value)| mutated!(settings, AnyParent) || !elsewhere(*value)),
        writeset,
        parent,
    }
}

fn highest_binding(
    view: &View,
    settings: &Settings,
    seen: &[Seen<'_>],
) -> Option<(Regency, Digest)> {
    let certified = view.one_correct() - usize::from(mutated!(settings, CertifiedByF));
    let blur = Regency::from(mutated!(settings, EqualLockIsLower));
    let locks = seen.iter().filter_map(|state| state.lock);
    let binding = locks.filter(|&(ts, value)| {
        let lower_or_equal = seen.iter().filter(|state| {
            state
                .lock
                .is_none_or(|lock| lock.0 < ts + blur || lock == (ts, value))
        });
        let writers = seen.iter().filter(|state| state.wrote_since(ts, &value));
        weigh(view, settings, lower_or_equal) >= view.sizes().quorum()
            && writers.count() >= certified
    });
    binding.max()
}

fn newest_certified(view: &View, seen: &[Seen<'_>]) -> Option<Digest> {
    let mut newest: BTreeMap<Digest, Regency> = BTreeMap::new();
    for written in seen.iter().flat_map(Seen::writes) {
        let known = newest.entry(written.digest).or_insert(written.regency);
        *known = (*known).max(written.regency);
    }
    let certified = newest.into_iter().filter(|(value, _)| {
        seen.iter()
            .filter(|state| state.wrote_since(0, value))
            .count()
            >= view.one_correct()
    });
    certified
        .max_by_key(|(value, at)| (*at, *value))
        .map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PublicKey;
    use crate::stopdata::OpenVotes;

    const V: Digest = Digest([1; 32]);
    const W: Digest = Digest([2; 32]);

    fn view() -> View {
        let key = |i: u16| PublicKey([i as u8; 32]);
        let replicas = (0..4).map(|i| (ReplicaId(i), key(i))).collect();
        View {
            id: 0,
            f: 1,
            replicas,
            clients: BTreeMap::new(),
            ..View::default()
        }
    }

    const BELOW: Digest = Digest([7; 32]);

    fn votes(
        height: Height,
        after: Digest,
        lock: Option<(Regency, Digest)>,
        wrote: &[(Regency, Digest)],
    ) -> OpenVotes {
        let written = |&(regency, digest): &(Regency, Digest)| Written {
            regency,
            digest,
            after,
        };
        OpenVotes {
            height,
            lock,
            writeset: wrote.iter().map(written).collect(),
        }
    }

    fn voted(decided: Height, votes: Vec<OpenVotes>) -> StopState {
        StopState {
            view: 0,
            regency: 9,
            replica: ReplicaId(0),
            decided,
            votes,
        }
    }

    /// With votes in the instance after the decided one.
    fn state(
        decided: Height,
        lock: Option<(Regency, Digest)>,
        wrote: &[(Regency, Digest)],
    ) -> StopState {
        voted(decided, vec![votes(decided + 1, BELOW, lock, wrote)])
    }

    /// Of replicas 0, 1, … in this order.
    fn all_of(states: &[StopState]) -> Option<Vec<Digest>> {
        let mut states = states.to_vec();
        for (id, state) in states.iter_mut().enumerate() {
            state.replica = ReplicaId(id as u16);
        }
        let states: Vec<_> = states.iter().collect();
        choose_all(&view(), &Settings::default(), &states, 5, BELOW)
    }

    fn outcome(states: &[StopState]) -> Option<Choice> {
        all_of(states).map(|bound| bound.first().copied())
    }

    #[test]
    fn heights_bind_one_after_another_and_nothing_above_a_free_one() {
        let wrote = |height, after, value| votes(height, after, None, &[(3, value)]);
        let locked = |height, after, value| votes(height, after, Some((3, value)), &[(3, value)]);
        let both = voted(4, vec![locked(5, BELOW, V), locked(6, V, W)]);
        let first = voted(4, vec![wrote(5, BELOW, V), wrote(6, V, W)]);
        let idle = voted(4, Vec::new());
        assert_eq!(
            all_of(&[both.clone(), first.clone(), idle.clone()]),
            Some(vec![V, W])
        );
        // Nothing is locked at 5, so nothing above was decided, whatever is said.
        let above = voted(4, vec![locked(6, V, W)]);
        assert_eq!(
            all_of(&[above.clone(), above, idle.clone(), idle.clone()]),
            Some(Vec::new())
        );
        // A lone writer certifies nothing.
        let one = voted(4, vec![locked(5, BELOW, V)]);
        assert_eq!(all_of(&[one, first, idle]), Some(vec![V]));
    }

    #[test]
    fn a_lock_on_a_value_that_stands_on_another_is_as_good_as_none() {
        // Regency 3 wrote X after V at the next height; then W was locked below.
        const X: Digest = Digest([4; 32]);
        let stale = |lock| {
            let below = votes(5, BELOW, Some((5, W)), &[(3, V), (5, W)]);
            voted(4, vec![below, votes(6, V, lock, &[(3, X)])])
        };
        let states = [stale(Some((3, X))), stale(None), stale(None)];
        assert_eq!(all_of(&states), Some(vec![W]));
    }

    #[test]
    fn a_value_that_one_collected_replica_locked_and_two_wrote_binds() {
        let locked = state(4, Some((3, V)), &[(3, V)]);
        let wrote = state(4, None, &[(3, V)]);
        let idle = state(4, None, &[]);
        assert_eq!(outcome(&[locked, wrote, idle]), Some(Some(V)));
    }

    #[test]
    fn a_lone_lie_about_a_lock_neither_binds_nor_blocks_for_ever() {
        let lie = state(4, Some((8, W)), &[(8, W)]);
        let idle = state(4, None, &[]);
        assert_eq!(
            outcome(&[lie.clone(), idle.clone(), idle.clone()]),
            None,
            "wait for one more"
        );
        assert_eq!(
            outcome(&[lie, idle.clone(), idle.clone(), idle]),
            Some(None),
            "free"
        );
    }

    #[test]
    fn a_lie_cannot_outbid_a_true_lock() {
        let locked = state(4, Some((3, V)), &[(3, V)]);
        let wrote = state(4, None, &[(3, V)]);
        let lie = state(4, Some((8, W)), &[(8, W)]);
        assert_eq!(outcome(&[locked.clone(), wrote.clone(), lie.clone()]), None);
        let all = [locked.clone(), wrote, lie, locked];
        assert_eq!(outcome(&all), Some(Some(V)));
    }

    #[test]
    fn a_lagging_state_says_nothing_about_the_open_instance() {
        let behind = state(2, Some((8, W)), &[(8, W)]);
        assert!(behind.votes_at(5).is_none());
        let locked = state(4, Some((3, V)), &[(3, V)]);
        let wrote = state(4, None, &[(3, V)]);
        assert_eq!(outcome(&[behind, locked, wrote]), Some(Some(V)));
    }

    #[test]
    fn an_unlocked_value_that_a_correct_replica_wrote_is_finished() {
        let wrote = state(4, None, &[(3, V)]);
        let idle = state(4, None, &[]);
        assert_eq!(
            outcome(&[wrote.clone(), wrote, idle.clone()]),
            Some(Some(V))
        );
        assert_eq!(
            outcome(&[state(4, None, &[(3, V)]), idle.clone(), idle]),
            Some(None)
        );
    }
}
