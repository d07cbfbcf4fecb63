//! One instance of the total order on four replicas (or a few more), f of them Byzantine, explored
//! exhaustively: every order of WRITE, ACCEPT, STOPDATA and SYNC within a bound of regencies,
//! every lie that the Byzantine replicas' keys allow. The rule under test is the one that runs,
//! [`consensus::model_api::choose`]. `docs/model.md` tells what is abstracted, and why.

mod check;
mod fault;
mod instance;
mod properties;
mod rule;
mod state;
mod story;
mod sync;

pub use check::{explore, shortest, violations};
pub use fault::Fault;
pub use instance::{Instance, Step};
pub use properties::{AGREEMENT, BINDING, ORIGIN, SOUNDNESS};
pub use rule::{OPEN, Outcome, Rule, Written, digest, view, votes};
pub use state::{Ballot, Replica, Snapshot, State, Value, Values};
pub use story::tell;
pub use sync::{Claim, Collection, Outcomes, Syncs, claims};

/// Room for regencies 0..=3.
pub const MAX_REGENCIES: usize = 4;

/// Room for values.
pub const MAX_VALUES: usize = 3;
