//! The cluster file: who is a member, where it listens, which key it has.
//!
//! Every replica and every client of a cluster holds the same file. It names public keys only; private keys lie in
//! identity files of their own (see `net::Identity`).

use consensus::{ClientAuthentication, ClientId, Mode, PublicKey, ReplicaId, Sizes, View};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The channels of the links, so that what is short passes what is long.
pub mod channel {
    /// The consensus core's messages, between replicas.
    pub const CONSENSUS: u8 = 0;
    /// Votes and pings, between replicas.
    pub const PEER: u8 = 1;
    /// Write sets, between replicas.
    pub const BULK: u8 = 2;
    /// Between clients and replicas.
    pub const CLIENT: u8 = 3;
    /// State transfer, between replicas.
    pub const STATE: u8 = 4;
}

/// Client ids below this belong to the replicas themselves.
pub const FIRST_CLIENT: u32 = 1 << 16;
/// Members and clients that one file may name.
pub const MAX_ENTRIES: usize = 100_000;

/// A replica's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaEntry {
    pub id: u16,
    pub address: SocketAddr,
    /// Ed25519, 64 hex digits.
    pub key: String,
}

/// A client's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientEntry {
    pub id: u32,
    /// For people: `proxy`, `operator`, …
    pub name: String,
    pub key: String,
}

/// The cluster file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Replicas that may be faulty at once; there are at least 3f+1, with `mode = "crash-only"` 2f+1.
    pub f: u16,
    /// `byzantine`, or `crash-only` where no replica ever lies.
    #[serde(default)]
    pub mode: Mode,
    /// WHEAT: replicas that weigh more than the others, 2f of them (crash-only: f); empty: all weigh the same.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fast: BTreeSet<u16>,
    /// `signatures`, or `macs`: clients authenticate requests by one MAC per replica, and sign only where they must.
    #[serde(default, skip_serializing_if = "is_default")]
    pub client_authentication: ClientAuthentication,
    /// The clients whose requests change the membership.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub administrators: BTreeSet<u32>,
    /// The replica that leads the view's first regency; by default the one with the least number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<u16>,
    /// Number of the membership; grows with each reconfiguration.
    pub view: u64,
    pub replicas: Vec<ReplicaEntry>,
    pub clients: Vec<ClientEntry>,
}

/// What is wrong with a cluster file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the cluster file {path}: {source}; write one with `steeldb init`")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the cluster file {path} is not valid: {message}")]
    Invalid { path: PathBuf, message: String },
}

impl Cluster {
    /// Reads and checks a cluster file.
    ///
    /// # Errors
    /// When it cannot be read, has unknown keys, or breaks a rule; the message names the rule.
    pub fn load(path: &Path) -> Result<Cluster, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let invalid = |message: String| Error::Invalid {
            path: path.to_owned(),
            message,
        };
        let cluster: Cluster = toml::from_str(&text).map_err(|e| invalid(e.to_string()))?;
        cluster.check().map_err(invalid)?;
        Ok(cluster)
    }

    /// The file in which the cluster began: `genesis.toml` beside this one, if the membership has changed since.
    ///
    /// # Errors
    /// As [`Cluster::load`].
    pub fn load_genesis(path: &Path) -> Result<Cluster, Error> {
        let genesis = path.with_file_name("genesis.toml");
        match genesis.exists() {
            true => Cluster::load(&genesis),
            false => Cluster::load(path),
        }
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        toml::to_string_pretty(self).expect("strings, numbers and tables are always valid TOML")
    }

    fn check(&self) -> Result<(), String> {
        let needed = self.mode.least_replicas(usize::from(self.f));
        if self.replicas.len() < needed {
            return Err(format!(
                "f = {} needs at least {needed} replicas, {} are listed",
                self.f,
                self.replicas.len()
            ));
        }
        let sizes = Sizes {
            mode: self.mode,
            n: self.replicas.len(),
            f: usize::from(self.f),
            weighted: true,
        };
        let members = self.fast.iter().filter(|id| self.address(**id).is_some());
        if !self.fast.is_empty()
            && (self.fast.len() != sizes.fast() || members.count() != sizes.fast())
        {
            return Err(format!(
                "`fast` must name {} of the replicas with f = {}, or none",
                sizes.fast(),
                self.f
            ));
        }
        if self.replicas.len() + self.clients.len() > MAX_ENTRIES {
            return Err(format!("more than {MAX_ENTRIES} entries"));
        }
        let mut keys = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for (id, key) in self
            .replicas
            .iter()
            .map(|r| (u32::from(r.id), &r.key))
            .chain(self.clients.iter().map(|c| (c.id, &c.key)))
        {
            if !keys.insert(parse_key(key)?) {
                return Err(format!("two entries share the key {key}"));
            }
            if !ids.insert(id) {
                return Err(format!("two entries share the id {id}"));
            }
        }
        // Removed ones leave gaps.
        if let Some(pair) = self
            .replicas
            .windows(2)
            .find(|pair| pair[0].id >= pair[1].id)
        {
            return Err(format!(
                "replicas are listed by ascending number; {} follows {}",
                pair[1].id, pair[0].id
            ));
        }
        let clients: BTreeSet<u32> = self.clients.iter().map(|c| c.id).collect();
        if let Some(stranger) = self.administrators.difference(&clients).next() {
            return Err(format!("administrator {stranger} is not among the clients"));
        }
        if let Some(client) = self.clients.iter().find(|c| c.id < FIRST_CLIENT) {
            return Err(format!(
                "client id {} of {:?} belongs to the replicas; clients start at {FIRST_CLIENT}",
                client.id, client.name
            ));
        }
        Ok(())
    }

    /// The membership as the protocol sees it.
    pub fn membership(&self) -> View {
        let key = |text: &str| PublicKey(parse_key(text).unwrap_or([0; 32]));
        View {
            id: self.view,
            f: self.f,
            mode: self.mode,
            fast: self.fast.iter().copied().map(ReplicaId).collect(),
            replicas: self
                .replicas
                .iter()
                .map(|r| (ReplicaId(r.id), key(&r.key)))
                .collect::<BTreeMap<_, _>>(),
            clients: self
                .clients
                .iter()
                .map(|c| (ClientId(c.id), key(&c.key)))
                .collect::<BTreeMap<_, _>>(),
            client_authentication: self.client_authentication,
            administrators: self.administrators.iter().copied().map(ClientId).collect(),
            first_leader: self.leader.map(ReplicaId),
            contacts: self
                .replicas
                .iter()
                .map(|r| (ReplicaId(r.id), r.address.to_string()))
                .collect(),
        }
    }

    /// The file of a later view. Names of clients are kept; a new one is named by its number.
    ///
    /// # Errors
    /// When a member's contact is no address.
    pub fn of_view(&self, view: &View) -> Result<Cluster, String> {
        let replica = |(id, key): (&ReplicaId, &PublicKey)| {
            let contact = view.contacts.get(id).map_or("", String::as_str);
            let address = contact.parse();
            Ok(ReplicaEntry {
                id: id.0,
                address: address
                    .map_err(|_| format!("the contact {contact:?} of {id} is no address"))?,
                key: hex::encode(key.0),
            })
        };
        let name = |id: u32| {
            let known = self.clients.iter().find(|client| client.id == id);
            known.map_or_else(|| format!("client-{id}"), |client| client.name.clone())
        };
        let clients = view.clients.iter().map(|(id, key)| ClientEntry {
            id: id.0,
            name: name(id.0),
            key: hex::encode(key.0),
        });
        Ok(Cluster {
            f: view.f,
            mode: view.mode,
            fast: view.fast.iter().map(|id| id.0).collect(),
            client_authentication: view.client_authentication,
            administrators: view.administrators.iter().map(|id| id.0).collect(),
            leader: view.first_leader.map(|id| id.0),
            view: view.id,
            replicas: view
                .replicas
                .iter()
                .map(replica)
                .collect::<Result<_, String>>()?,
            clients: clients.collect(),
        })
    }

    /// Who may speak on the links.
    ///
    /// # Errors
    /// When a key cannot be used, or is used twice.
    pub fn directory(&self) -> Result<net::Directory, net::DirectoryError> {
        let replicas = self
            .replicas
            .iter()
            .map(|r| (net::PeerId::Replica(r.id), &r.key));
        let clients = self
            .clients
            .iter()
            .map(|c| (net::PeerId::Client(c.id), &c.key));
        net::Directory::new(
            replicas
                .chain(clients)
                .map(|(peer, key)| (peer, parse_key(key).unwrap_or([0; 32]))),
        )
    }

    /// Where a replica listens.
    pub fn address(&self, replica: u16) -> Option<SocketAddr> {
        self.replicas
            .iter()
            .find(|r| r.id == replica)
            .map(|r| r.address)
    }

    /// The id of the client with this name.
    pub fn client(&self, name: &str) -> Option<ClientId> {
        self.clients
            .iter()
            .find(|c| c.name == name)
            .map(|c| ClientId(c.id))
    }
}

fn is_default(authentication: &ClientAuthentication) -> bool {
    *authentication == ClientAuthentication::default()
}

fn parse_key(text: &str) -> Result<[u8; 32], String> {
    let bytes = hex::decode(text).map_err(|e| format!("key {text:?} is not hexadecimal: {e}"))?;
    bytes
        .try_into()
        .map_err(|_| format!("key {text:?} does not have 64 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster {
            f: 1,
            mode: Mode::Byzantine,
            fast: BTreeSet::new(),
            client_authentication: ClientAuthentication::Signatures,
            administrators: BTreeSet::new(),
            leader: None,
            view: 0,
            replicas: (0..4u16)
                .map(|id| ReplicaEntry {
                    id,
                    address: SocketAddr::from(([127, 0, 0, 1], 1000 + id)),
                    key: hex::encode([id as u8 + 1; 32]),
                })
                .collect(),
            clients: vec![ClientEntry {
                id: FIRST_CLIENT,
                name: "proxy".into(),
                key: hex::encode([99; 32]),
            }],
        }
    }

    fn load(text: &str) -> Result<Cluster, Error> {
        let file = std::env::temp_dir().join(format!(
            "cluster-{}-{}.toml",
            std::process::id(),
            text.len()
        ));
        std::fs::write(&file, text).unwrap();
        let loaded = Cluster::load(&file);
        std::fs::remove_file(&file).unwrap();
        loaded
    }

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        assert_eq!(load(&cluster().to_text()).unwrap(), cluster());
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = load(&format!("colour = 1\n{}", cluster().to_text())).unwrap_err();
        assert!(error.to_string().contains("colour"), "{error}");
    }

    #[test]
    fn clients_sign_unless_the_file_says_macs_and_anything_else_is_refused() {
        let signed = cluster().to_text();
        assert!(!signed.contains("client_authentication"));
        let macs = load(&format!("client_authentication = \"macs\"\n{signed}")).unwrap();
        assert_eq!(
            macs.membership().client_authentication,
            ClientAuthentication::Macs
        );
        assert_eq!(load(&macs.to_text()).unwrap(), macs);
        let error = load(&format!("client_authentication = \"none\"\n{signed}")).unwrap_err();
        assert!(error.to_string().contains("signatures"), "{error}");
    }

    #[test]
    fn three_replicas_cannot_bear_a_fault() {
        let mut three = cluster();
        three.replicas.pop();
        let error = load(&three.to_text()).unwrap_err();
        assert!(error.to_string().contains("at least 4"), "{error}");
    }

    #[test]
    fn three_replicas_bear_a_crash_where_nobody_lies() {
        let mut three = cluster();
        three.replicas.pop();
        three.mode = Mode::CrashOnly;
        let read = load(&three.to_text()).unwrap();
        assert_eq!(
            (read.mode, read.membership().quorum()),
            (Mode::CrashOnly, 2)
        );
    }

    #[test]
    fn weights_name_as_many_members_as_they_need() {
        let mut five = cluster();
        five.replicas.push(ReplicaEntry {
            id: 4,
            address: SocketAddr::from(([127, 0, 0, 1], 1004)),
            key: hex::encode([5; 32]),
        });
        for (fast, valid) in [(vec![0, 3], true), (vec![0], false), (vec![0, 5], false)] {
            five.fast = fast.iter().copied().collect();
            assert_eq!(load(&five.to_text()).is_ok(), valid, "{fast:?}");
        }
        five.fast = [0, 3].into();
        assert!(
            load(&five.to_text())
                .unwrap()
                .membership()
                .is_quorum([0, 3, 4].map(ReplicaId))
        );
    }

    #[test]
    fn the_file_of_a_later_view_names_its_members_and_reads_back() {
        let first = cluster();
        let mut view = first.membership();
        view.id = 3;
        view.replicas.remove(&ReplicaId(1));
        view.contacts.remove(&ReplicaId(1));
        view.replicas.insert(ReplicaId(7), PublicKey([77; 32]));
        view.contacts.insert(ReplicaId(7), "127.0.0.1:1007".into());
        view.first_leader = Some(ReplicaId(2));
        let later = first.of_view(&view).unwrap();
        let read = load(&later.to_text()).unwrap();
        assert_eq!(read.membership(), view);
        assert_eq!(read.client("proxy"), Some(ClientId(FIRST_CLIENT)));
        view.contacts.insert(ReplicaId(7), "nowhere".into());
        assert!(first.of_view(&view).unwrap_err().contains("nowhere"));
    }

    #[test]
    fn a_key_belongs_to_one_entry() {
        let mut twice = cluster();
        twice.clients[0].key = twice.replicas[2].key.clone();
        assert!(
            load(&twice.to_text())
                .unwrap_err()
                .to_string()
                .contains("share the key")
        );
    }
}
