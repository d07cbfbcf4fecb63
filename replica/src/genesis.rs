//! What replicas tell each other of the cluster file that everything began with.

use consensus::View;
use std::collections::BTreeMap;

/// The first view as lines of a fingerprint, but for the addresses. Where a file says something else at one replica, that one counts votes or
/// checks requests otherwise, and without this it would look like a fault of the others.
pub fn told(first: &View) -> [(String, String); 4] {
    let bare = View {
        contacts: BTreeMap::new(),
        ..first.clone()
    };
    let all = serde_json::to_vec(&bare).expect("maps of numbers and bytes are always valid JSON");
    let named = |name: &str, value: String| (format!("first cluster file's {name}"), value);
    let authentication = format!("{:?}", first.client_authentication);
    [
        named("f", first.f.to_string()),
        named("mode", format!("{:?}", first.mode).to_lowercase()),
        named("client_authentication", authentication.to_lowercase()),
        named(
            "members, weights, keys, administrators and leader (BLAKE3)",
            blake3::hash(&all).to_hex()[..16].to_owned(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::{ClientAuthentication, ClientId, PublicKey, ReplicaId};

    fn view() -> View {
        View {
            id: 0,
            f: 1,
            mode: Default::default(),
            fast: Default::default(),
            replicas: (0..4)
                .map(|id| (ReplicaId(id), PublicKey([id as u8; 32])))
                .collect(),
            clients: BTreeMap::from([(ClientId(1 << 16), PublicKey([9; 32]))]),
            client_authentication: ClientAuthentication::Signatures,
            administrators: Default::default(),
            contacts: BTreeMap::new(),
            first_leader: None,
        }
    }

    fn differing(changed: impl FnOnce(&mut View)) -> Vec<String> {
        let mut other = view();
        changed(&mut other);
        let there: BTreeMap<String, String> = told(&other).into();
        let differs = |(name, value): (String, String)| (there[&name] != value).then_some(name);
        told(&view()).into_iter().filter_map(differs).collect()
    }

    #[test]
    fn whatever_a_file_says_otherwise_shows_but_where_members_listen() {
        let named = differing(|view| view.client_authentication = ClientAuthentication::Macs);
        assert!(named[0].ends_with("client_authentication"), "{named:?}");
        assert!(differing(|view| view.f = 2)[0].ends_with(" f"));
        let changes: [fn(&mut View); 5] = [
            |view| _ = view.replicas.insert(ReplicaId(3), PublicKey([7; 32])),
            |view| _ = view.clients.insert(ClientId(1 << 16), PublicKey([7; 32])),
            |view| _ = view.fast.insert(ReplicaId(1)),
            |view| _ = view.administrators.insert(ClientId(1 << 16)),
            |view| view.first_leader = Some(ReplicaId(2)),
        ];
        for change in changes {
            assert_eq!(differing(change).len(), 1);
        }
        let moved = |view: &mut View| _ = view.contacts.insert(ReplicaId(0), "there:1".to_owned());
        assert!(differing(moved).is_empty());
    }
}
