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

/// The later of two views with the replicas that it does not name any more; none when there are none, or they cannot be told apart.
pub(crate) fn with_leavers(old: &View, new: &View) -> Option<View> {
    let mut both = new.clone();
    let leavers = old.replicas.iter();
    for (id, key) in leavers.filter(|(id, _)| !new.replicas.contains_key(id)) {
        both.replicas.insert(*id, *key);
        let contact = old.contacts.get(id)?.clone();
        both.contacts.insert(*id, contact);
    }
    (both.replicas.len() > new.replicas.len() && both.check().is_ok()).then_some(both)
}

#[cfg(test)]
mod tests {
    use consensus::{PublicKey, SigningKey};

    use super::*;

    fn view(members: &[(u16, u8)]) -> View {
        let key = |seed| PublicKey::of(&SigningKey::from_bytes(&[seed; 32]));
        let members = members
            .iter()
            .map(|(id, seed)| (ReplicaId(*id), key(*seed)));
        let replicas: std::collections::BTreeMap<_, _> = members.collect();
        let contact = |id: &ReplicaId| (*id, format!("127.0.0.1:{}", 1_000 + id.0));
        View {
            f: 1,
            contacts: replicas.keys().map(contact).collect(),
            replicas,
            ..View::default()
        }
    }

    #[test]
    fn who_leaves_is_among_those_that_stay_unless_its_key_is() {
        let old = view(&[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]);
        let left = view(&[(1, 2), (2, 3), (3, 4), (4, 5)]);
        let both = with_leavers(&old, &left).unwrap();
        assert_eq!(both.replicas, old.replicas);
        assert!(links(ReplicaId(1), &both).is_ok());
        assert!(with_leavers(&left, &old).is_none(), "nobody has left");
        // Its key is another's now, or its own number has another key: nobody is spoken with under an old key.
        let handed_on = view(&[(1, 2), (2, 3), (3, 4), (4, 1)]);
        assert!(with_leavers(&old, &handed_on).is_none());
        let replaced = view(&[(0, 9), (1, 2), (2, 3), (3, 4), (4, 5)]);
        assert!(with_leavers(&old, &replaced).is_none());
    }
}
