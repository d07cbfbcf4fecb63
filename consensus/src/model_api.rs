//! What the model checker calls, so that it judges the code that runs and no copy of it.

use crate::crypto::Digest;
use crate::ids::Height;
use crate::stopdata::StopState;
use crate::view::View;

/// What the states collected in a SYNC leave open at one height, where the value below has the digest `parent`: nothing yet
/// (`None`: in doubt, more states are needed), any value (`Some(None)`), or one value only.
pub fn choose(
    view: &View,
    states: &[&StopState],
    height: Height,
    parent: Digest,
) -> Option<Option<Digest>> {
    crate::core::choose(view, &crate::Settings::default(), states, height, parent)
}
