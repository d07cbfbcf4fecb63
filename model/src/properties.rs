//! What must hold in every state, and what must happen in some.

use stateright::Property;

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

pub(crate) fn of(regencies: u8) -> Vec<Property<Instance>> {
    let mut properties = vec![
        Property::always(AGREEMENT, agreement),
        Property::always(BINDING, binding),
        Property::always(SOUNDNESS, soundness),
        Property::always(ORIGIN, origin),
        Property::sometimes("decided in regency 0", decided_in::<0>),
    ];
    // In a single regency no SYNC is made.
    if regencies > 1 {
        properties.extend([
            Property::sometimes("decided in regency 1", decided_in::<1>),
            Property::sometimes("a value is bound before it is decided", bound_early),
            Property::sometimes("n − f states can be in doubt", doubt),
        ]);
    }
    if regencies > 2 {
        properties.push(Property::sometimes("decided in regency 2", decided_in::<2>));
    }
    if regencies > 3 {
        properties.push(Property::sometimes("decided in regency 3", decided_in::<3>));
    }
    properties
}

fn agreement(instance: &Instance, state: &State) -> bool {
    let regencies = 0..instance.regencies;
    let decided = regencies.map(|regency| instance.decided(state, regency));
    decided
        .fold(Values::default(), Values::union)
        .iter()
        .count()
        <= 1
}

fn binding(instance: &Instance, state: &State) -> bool {
    (0..instance.regencies).all(|regency| {
        instance.decided(state, regency).iter().all(|value| {
            (regency + 1..instance.regencies).all(|later| {
                let outcomes = instance.outcomes(state, later);
                !outcomes.free && outcomes.bound.iter().all(|bound| bound == value)
            })
        })
    })
}

fn soundness(instance: &Instance, state: &State) -> bool {
    (1..instance.regencies).all(|regency| {
        let signed = instance.signed(state, regency);
        let outcomes = instance.syncs.outcomes_with_all(regency, &signed);
        outcomes.is_none_or(|outcomes| !outcomes.doubt)
    })
}

fn origin(instance: &Instance, state: &State) -> bool {
    (1..instance.regencies).all(|regency| {
        let bound = instance.outcomes(state, regency).bound;
        bound
            .iter()
            .all(|value| (0..regency).any(|lower| state.writers(lower, value) > 0))
    })
}

fn decided_in<const REGENCY: u8>(instance: &Instance, state: &State) -> bool {
    !instance.decided(state, REGENCY).is_empty()
}

fn bound_early(instance: &Instance, state: &State) -> bool {
    instance.decided(state, 0).is_empty() && !instance.outcomes(state, 1).bound.is_empty()
}

fn doubt(instance: &Instance, state: &State) -> bool {
    instance.outcomes(state, 1).doubt
}
