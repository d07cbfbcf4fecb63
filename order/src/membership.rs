//! Who may speak on the links, as a view says.

use std::net::SocketAddr;

use consensus::{ReplicaId, View};
use net::{Directory, Membership, PeerId};

/// The links of replica `me` in this view: of two replicas the one with the greater number dials.
///
/// # Errors
/// When the view's keys cannot be told apart, or a member's contact is no address.
pub fn links(me: ReplicaId, view: &View) -> Result<Membership, String> {
    let replicas = view.replicas.iter();
    let replicas = replicas.map(|(id, key)| (PeerId::Replica(id.0), key.0));
    let clients = view.clients.iter();
    let clients = clients.map(|(id, key)| (PeerId::Client(id.0), key.0));
    let directory = Directory::new(replicas.chain(clients)).map_err(|e| e.to_string())?;
    let lower = view.contacts.range(..me);
    let dial = lower.map(|(id, contact)| {
        let address: SocketAddr = contact
            .parse()
            .map_err(|_| format!("the contact {contact:?} of {id} is no address"))?;
        Ok((PeerId::Replica(id.0), address))
    });
    Ok(Membership {
        directory,
        dial: dial.collect::<Result<_, String>>()?,
    })
}
