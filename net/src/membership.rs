//! Whom an endpoint speaks with from a change on.

use std::net::SocketAddr;

use crate::{Directory, PeerId, StartError};

/// The peers of a view, for [`Endpoint::change`](crate::Endpoint::change). Both lists are whole: who is not in them is out.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    /// Everybody who may speak with us, and we ourselves.
    pub directory: Directory,
    /// Peers to connect to, as in [`EndpointConfig::dial`](crate::EndpointConfig::dial).
    pub dial: Vec<(PeerId, SocketAddr)>,
}

/// What a change of the membership came to, if not to a view with us in it.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The membership cannot work; nothing has changed.
    #[error(transparent)]
    Refused(#[from] StartError),
    /// The change is in force, and we are not of the view: all connections end and nobody is admitted.
    ///
    /// An error and not an event, since whoever makes the change has to act on it (a removed replica stops), and no
    /// full queue of events can delay it, nor a reader miss it.
    #[error("the view no longer lists {0}: it has no peers any more")]
    Removed(PeerId),
}
