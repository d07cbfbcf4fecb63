//! What the states collected in a SYNC leave open, and why it is safe.
//!
//! This is the read phase of Cachin's Byzantine epoch consensus ("Yet Another Visit to
//! Paxos", 2009; thesis, Appendix B). Write Q for the write quorum (of votes, by weight). Each state tells the
//! signer's `lock = (valts, val)`, the newest value for which it saw Q WRITEs and sent
//! ACCEPT, and its `writeset`, the values that it wrote.
//!
//! * `(ts, v)` **binds** when some state is locked on it, Q states are locked lower or on
//!   exactly it (*quorum-highest*), and f + 1 states wrote v in regency ts or later
//!   (*certified*).
//! * The collection is **unbound** when Q states have no lock.
//!
//! **Safety.** Let w be decided at this height in regency r: Q replicas sent ACCEPT(w),
//! at least f + 1 of them correct, and those are locked on (≥ r, ·) for good. Claim: in every
//! later regency a correct replica writes only w. By induction over regencies r' > r: a
//! correct replica writes at this height in r' only what a valid SYNC of r' yields. The
//! SYNC's Q unlocked, or lower locked, signers would meet the Q that accepted w in a
//! correct replica, which is locked at r or later (its STOPDATA was signed after it
//! entered r', so after its last vote in any lower regency): hence the collection is not
//! unbound, and no (ts, v) with ts < r binds. In r itself only w had Q WRITEs, so (r, v)
//! binds only for v = w (certified needs one correct writer, and a state locked on (r, v) with v ≠ w
//! is a lie that Q − f correct states contradict: the correct one locked on (r, w) is neither lower nor
//! equal). For ts > r, *certified* needs a correct replica that wrote v in a regency between r and r',
//! and by induction that is w. So w it is.
//!
//! **Who may lie.** f states of a SYNC can say anything, but f is less than *certified*
//! and less than what two quorums share. A Byzantine leader can choose which n − f or
//! more states it shows, and show different ones to different replicas: each such
//! collection is safe by the argument above, and a correct replica writes once per regency, so
//! two different values never both gather Q WRITEs in it.
//!
//! **No signed WRITEs.** A certificate of Q signed WRITEs would let a single state prove its lock; here
//! f + 1 writesets do. It saves n signatures and Q verifications per instance, on the path of every
//! request, and costs the leader of a new regency a wait, at worst, for the states of all correct
//! replicas: with those the collection is always sound. (Take the highest correct lock (ts, v): all correct
//! states are lower or equal, and the Q − f ≥ f + 1 correct writers of v keep it in their writesets with
//! ts or later. Lies only add states, which takes nothing from either count.)
//!
//! **Heights.** States may be of different heights. `decided` is believed up to the highest
//! one with a proof. A state below it knows nothing of the open instance: a correct
//! replica votes at h + 1 only after it decided h. If a value was decided above the open
//! instance, its Q acceptors, who had decided the open one, would have met the SYNC's signers in a
//! correct replica, whose `decided` would have been higher.

use std::collections::BTreeMap;

use crate::crypto::Digest;
use crate::ids::{Height, Regency, ReplicaId};
use crate::settings::{Settings, mutated};
use crate::stopdata::StopState;
use crate::view::View;

/// What a sound collection says about the open instance: this value, or any.
pub(crate) type Choice = Option<Digest>;

/// A state as it concerns the open instance.
#[derive(Clone, Copy)]
struct Seen<'a> {
    replica: ReplicaId,
    lock: Option<(Regency, Digest)>,
    writeset: &'a [(Regency, Digest)],
}

impl Seen<'_> {
    fn wrote_since(&self, ts: Regency, value: &Digest) -> bool {
        self.writeset
            .iter()
            .any(|(at, written)| *at >= ts && written == value)
    }
}

/// Evaluates a collection; `None`: not sound yet, more states are needed.
pub(crate) fn choose(
    view: &View,
    settings: &Settings,
    states: &[&StopState],
    open: Height,
) -> Option<Choice> {
    let seen: Vec<Seen<'_>> = states.iter().map(|state| see(state, open)).collect();
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

fn see(state: &StopState, open: Height) -> Seen<'_> {
    let replica = state.replica;
    if state.decided.checked_add(1) == Some(open) {
        Seen {
            replica,
            lock: state.lock,
            writeset: &state.writeset,
        }
    } else {
        Seen {
            replica,
            lock: None,
            writeset: &[],
        }
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
    for (at, value) in seen.iter().flat_map(|state| state.writeset) {
        let known = newest.entry(*value).or_insert(*at);
        *known = (*known).max(*at);
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

    fn state(
        decided: Height,
        lock: Option<(Regency, Digest)>,
        wrote: &[(Regency, Digest)],
    ) -> StopState {
        let writeset = wrote.to_vec();
        StopState {
            view: 0,
            regency: 9,
            replica: ReplicaId(0),
            decided,
            lock,
            writeset,
        }
    }

    /// Of replicas 0, 1, … in this order.
    fn outcome(states: &[StopState]) -> Option<Choice> {
        let mut states = states.to_vec();
        for (id, state) in states.iter_mut().enumerate() {
            state.replica = ReplicaId(id as u16);
        }
        let states: Vec<_> = states.iter().collect();
        choose(&view(), &Settings::default(), &states, 5)
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
