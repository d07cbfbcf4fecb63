//! How a session enters a transaction, how operations run in it, and what is read of them: what whoever runs the decided log again
//! needs to do as a replica does. How a replica judges is not part of it.

pub use super::adopt::{AGREED, replay as sequence_values};
pub use super::audit::contents;
pub use super::capture::{Captured, of as captured, used_alike};
pub use super::claiming::executed;
pub use super::closing::{CLOSE_CURSORS, clean};
pub use super::contents::Contents;
pub use super::journal::{Journal, ask as ask_journal};
pub use super::opening::{Opening, act_as, quiet, statement};
pub use super::pool::Pool;
pub use super::roles::refused_request;
