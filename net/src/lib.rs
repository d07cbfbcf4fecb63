//! Identities and mutually authenticated links.
//!
//! An [`Endpoint`] speaks with the peers of its [`Directory`], each over one TLS 1.3 connection on which both sides have
//! proven their Ed25519 key. Messages travel on numbered channels, in order within a channel; nothing is promised across
//! a reconnect: what was under way is lost, and the protocols above repeat what they need. The peers, their keys and their
//! addresses may change while all others keep their connections: [`Endpoint::change`].

mod accept;
mod budget;
mod dial;
mod directory;
mod endpoint;
mod events;
mod frame;
mod identity;
mod keeper;
mod limits;
mod link;
mod membership;
mod outbox;
mod ports;
mod slot;
mod tls;
mod view;

pub use budget::{Budget, Share};
pub use directory::{Directory, DirectoryError, PeerId};
pub use endpoint::{Endpoint, EndpointConfig, SendError, StartError};
pub use events::{Event, Events};
pub use identity::{Identity, IdentityError};
pub use limits::Limits;
pub use membership::{ChangeError, Membership};
pub use ports::{PORTS, free_ports};
