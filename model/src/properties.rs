//! What must hold in every state, and what must happen in some.

use stateright::Property;

use crate::rule::view;
use crate::{Instance, State, Values};

/// No two values ever have a quorum of ACCEPTs, in whatever regencies.
pub const AGREEMENT: &str = "agreement: no two values are decided";

/// No SYNC of a later regency that can be made leaves open anything but a decided value. (One that is
/// in doubt is no SYNC: its receivers refuse it.)
pub const BINDING: &str = "binding: a decision binds every later SYNC";

/// A leader that waits for the states of all correct replicas can go on, whatever a liar adds.
pub const SOUNDNESS: &str = "soundness: the states of all correct replicas are enough";

/// A correct replica wrote what a SYNC binds, so it judged γ, and it holds the bodies: else the
/// instance could be bound to a digest that nobody can fill.
pub const ORIGIN: &str = "origin: a bound value was written by a correct replica";

pub(crate) fn of<const C: usize, const F: usize>(regencies: u8) -> Vec<Property<Instance<C, F>>> {
    let mut properties = vec![
        Property::always(AGREEMENT, agreement),
        Property::always(BINDING, binding),
        Property::always(SOUNDNESS, soundness),
        Property::always(ORIGIN, origin),
        Property::sometimes("decided in regency 0", decided_in::<0, C, F>),
    ];
    // In a single regency no SYNC is made.
    if regencies > 1 {
        properties.extend([
            Property::sometimes("decided in regency 1", decided_in::<1, C, F>),
            Property::sometimes("a value is bound before it is decided", bound_early),
        ]);
    }
    // With more replicas than 3f + 1 needs, n − f states can be more than Q, and one to spare.
    if regencies > 1 && view(C + F, F).quorum() == C {
        properties.push(Property::sometimes("n − f states can be in doubt", doubt));
    }
    if regencies > 2 {
        properties.push(Property::sometimes(
            "decided in regency 2",
            decided_in::<2, C, F>,
        ));
    }
    if regencies > 3 {
        properties.push(Property::sometimes(
            "decided in regency 3",
            decided_in::<3, C, F>,
        ));
    }
    properties
}

fn agreement<const C: usize, const F: usize>(instance: &Instance<C, F>, state: &State<C>) -> bool {
    let regencies = 0..instance.regencies;
    let decided = regencies.map(|regency| instance.decided(state, regency));
    decided
        .fold(Values::default(), Values::union)
        .iter()
        .count()
        <= 1
}

fn binding<const C: usize, const F: usize>(instance: &Instance<C, F>, state: &State<C>) -> bool {
    (0..instance.regencies).all(|regency| {
        instance.decided(state, regency).iter().all(|value| {
            (regency + 1..instance.regencies).all(|later| {
                let outcomes = instance.outcomes(state, later);
                !outcomes.free && outcomes.bound.iter().all(|bound| bound == value)
            })
        })
    })
}

fn soundness<const C: usize, const F: usize>(instance: &Instance<C, F>, state: &State<C>) -> bool {
    (1..instance.regencies).all(|regency| {
        let signed = instance.signed(state, regency);
        let outcomes = instance.syncs.outcomes_with_all(regency, &signed);
        outcomes.is_none_or(|outcomes| !outcomes.doubt)
    })
}

fn origin<const C: usize, const F: usize>(instance: &Instance<C, F>, state: &State<C>) -> bool {
    (1..instance.regencies).all(|regency| {
        let bound = instance.outcomes(state, regency).bound;
        bound
            .iter()
            .all(|value| (0..regency).any(|lower| state.writers(lower, value) > 0))
    })
}

fn decided_in<const REGENCY: u8, const C: usize, const F: usize>(
    instance: &Instance<C, F>,
    state: &State<C>,
) -> bool {
    !instance.decided(state, REGENCY).is_empty()
}

fn bound_early<const C: usize, const F: usize>(
    instance: &Instance<C, F>,
    state: &State<C>,
) -> bool {
    instance.decided(state, 0).is_empty() && !instance.outcomes(state, 1).bound.is_empty()
}

fn doubt<const C: usize, const F: usize>(instance: &Instance<C, F>, state: &State<C>) -> bool {
    instance.outcomes(state, 1).doubt
}
