//! Runs of the checker.

use std::collections::BTreeMap;

use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::{Instance, State, Step};

/// Explores every state, up to the numbering of the correct replicas. Depth first: the
/// breadth-first checker knows no symmetry, and holds more in memory.
pub fn explore<const C: usize, const F: usize>(
    instance: Instance<C, F>,
    threads: usize,
) -> impl Checker<Instance<C, F>> {
    let checker = instance.checker().threads(threads).symmetry();
    checker.spawn_dfs().join()
}

/// The properties that a run found violated, with the paths on which it saw it.
pub fn violations<const C: usize, const F: usize>(
    checker: &impl Checker<Instance<C, F>>,
) -> BTreeMap<&'static str, Path<State<C>, Step>> {
    let properties = checker.model().properties();
    let always = properties
        .iter()
        .filter(|property| property.expectation.discovery_is_failure());
    let mut discoveries = checker.discoveries();
    always
        .filter_map(|property| Some((property.name, discoveries.remove(property.name)?)))
        .collect()
}

/// A shortest way to violate a property. The checker keeps the last path that it found within
/// a block of states, so the depth is raised step by step.
pub fn shortest<const C: usize, const F: usize>(
    instance: impl Fn() -> Instance<C, F>,
    property: &'static str,
) -> Option<Path<State<C>, Step>> {
    for depth in 2.. {
        let checker = instance().checker().target_max_depth(depth);
        let checker = checker.finish_when(HasDiscoveries::AllOf([property].into()));
        let checker = checker.spawn_bfs().join();
        let found = violations(&checker).remove(property);
        if found.is_some() || checker.max_depth() < depth {
            return found;
        }
    }
    None
}
