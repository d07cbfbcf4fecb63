//! Reconfiguration: a change of the view by a signed, ordered request (thesis, 4.3.4).
//!
//! A request of one of the view's administrators is a [`Change`] and nothing else. It is the last of its batch, and the
//! view that it makes holds from the next height on. A change names the view that it was made for, so of two that are
//! ordered one after the other only the first is carried out. Whoever replays the decisions knows every view: each is
//! certified by the proof of the decision that made it, and that proof by the view before.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::crypto::PublicKey;
use crate::ids::{ClientId, Height, ReplicaId};
use crate::proof::Decided;
use crate::view::{View, ViewError};

/// The longest encoding of a change (bytes).
pub const MAX_CHANGE_BYTES: usize = 64 << 10;
/// Members of a view.
pub const MAX_REPLICAS: usize = 256;
/// Bytes of a contact.
const MAX_CONTACT: usize = 256;

/// Steps that are taken together or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// [`View::id`] of the view that it changes.
    pub base: u64,
    /// In this order; only the view at their end has to hold.
    pub steps: Vec<Step>,
}

/// One step of a [`Change`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// A new member.
    AddReplica {
        /// Its number.
        id: ReplicaId,
        /// Its key.
        key: PublicKey,
        /// Where it listens; opaque here.
        contact: String,
    },
    /// A member goes; the heavy ones are named again if it was one of them.
    RemoveReplica {
        /// Its number.
        id: ReplicaId,
    },
    /// A member signs with another key from now on.
    RotateReplicaKey {
        /// Its number.
        id: ReplicaId,
        /// The new key.
        key: PublicKey,
    },
    /// A member listens elsewhere.
    MoveReplica {
        /// Its number.
        id: ReplicaId,
        /// Where.
        contact: String,
    },
    /// Another fault bound.
    SetFaults {
        /// Replicas that may be faulty at once.
        f: u16,
    },
    /// WHEAT: who weighs Vmax; nobody: all weigh the same.
    SetFast {
        /// 2f members (crash-only f), or none.
        replicas: BTreeSet<ReplicaId>,
    },
    /// Who leads the view's first regency; the others follow in turn.
    SetLeader {
        /// A member.
        replica: ReplicaId,
    },
    /// Who runs open transactions from now on (Byzantium's master). It changes nothing of the order: what is replicated
    /// reads it from the decided change.
    MoveMaster {
        /// A member.
        replica: ReplicaId,
        /// How long transactions that are open may take to end (milliseconds).
        drain_ms: u32,
    },
    /// A new client.
    AddClient {
        /// Its number.
        id: ClientId,
        /// Its key.
        key: PublicKey,
    },
    /// A client goes; what it had waiting is forgotten.
    RemoveClient {
        /// Its number.
        id: ClientId,
    },
    /// A client signs with another key from now on.
    RotateClientKey {
        /// Its number.
        id: ClientId,
        /// The new key.
        key: PublicKey,
    },
}

/// Why a change was not carried out. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// Not the encoding of a change.
    #[error("the request is no change of the view: {0}")]
    Malformed(String),
    /// Another change came first.
    #[error(
        "the change was made for view {base}, and this is view {view}: look at the view and ask again"
    )]
    Overtaken {
        /// Its base.
        base: u64,
        /// The view.
        view: u64,
    },
    /// A member or client that is not there, or there already.
    #[error("{0}")]
    Names(String),
    /// The view that would follow cannot be used.
    #[error("the view that would follow cannot be used: {0}")]
    View(#[from] ViewError),
}

impl Change {
    /// The operation of an administrator's request.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("writing plain data to memory cannot fail")
    }

    /// Reads an operation.
    ///
    /// # Errors
    /// When it is too long or no change.
    pub fn decode(op: &[u8]) -> Result<Self, ChangeError> {
        if op.len() > MAX_CHANGE_BYTES {
            return Err(ChangeError::Malformed(format!("{} bytes", op.len())));
        }
        match postcard::take_from_bytes(op) {
            Ok((change, [])) => Ok(change),
            Ok((_, rest)) => Err(ChangeError::Malformed(format!(
                "{} bytes follow",
                rest.len()
            ))),
            Err(error) => Err(ChangeError::Malformed(error.to_string())),
        }
    }
}

impl View {
    /// The view after a change.
    ///
    /// # Errors
    /// When it was made for another view, names what is not there, or leads to a view that cannot be used.
    pub fn changed(&self, change: &Change) -> Result<View, ChangeError> {
        if change.base != self.id {
            return Err(ChangeError::Overtaken {
                base: change.base,
                view: self.id,
            });
        }
        let mut next = self.clone();
        next.id += 1;
        for step in &change.steps {
            next.take(step).map_err(ChangeError::Names)?;
        }
        if next.replicas.len() > MAX_REPLICAS {
            let n = next.replicas.len();
            return Err(ChangeError::Names(format!(
                "{n} replicas, {MAX_REPLICAS} are possible"
            )));
        }
        next.check()?;
        Ok(next)
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::AddReplica { id, key, contact } => {
                if self.replicas.insert(*id, *key).is_some() {
                    return Err(format!("{id} is a member already"));
                }
                self.set_contact(*id, contact)
            }
            Step::RemoveReplica { id } => {
                self.fast.remove(id);
                self.contacts.remove(id);
                self.first_leader = self.first_leader.filter(|leader| leader != id);
                let gone = self.replicas.remove(id);
                gone.map(drop).ok_or_else(|| no_member(*id))
            }
            Step::RotateReplicaKey { id, key } => {
                let known = self.replicas.get_mut(id).ok_or_else(|| no_member(*id))?;
                *known = *key;
                Ok(())
            }
            Step::MoveReplica { id, contact } => {
                self.replicas.get(id).ok_or_else(|| no_member(*id))?;
                self.set_contact(*id, contact)
            }
            Step::SetFaults { f } => {
                self.f = *f;
                Ok(())
            }
            Step::SetFast { replicas } => {
                self.fast.clone_from(replicas);
                Ok(())
            }
            Step::SetLeader { replica } => {
                self.replicas
                    .get(replica)
                    .ok_or_else(|| no_member(*replica))?;
                self.first_leader = Some(*replica);
                Ok(())
            }
            Step::MoveMaster { replica, .. } => {
                let known = self.replicas.get(replica);
                known.map(drop).ok_or_else(|| no_member(*replica))
            }
            Step::AddClient { id, key } => match self.clients.insert(*id, *key) {
                Some(_) => Err(format!("{id} is a client already")),
                None => Ok(()),
            },
            Step::RemoveClient { id } => {
                if self.administrators == BTreeSet::from([*id]) {
                    return Err(format!("{id} is the only administrator"));
                }
                self.administrators.remove(id);
                let gone = self.clients.remove(id);
                gone.map(drop).ok_or_else(|| format!("{id} is no client"))
            }
            Step::RotateClientKey { id, key } => {
                let known = self.clients.get_mut(id);
                *known.ok_or_else(|| format!("{id} is no client"))? = *key;
                Ok(())
            }
        }
    }

    fn set_contact(&mut self, id: ReplicaId, contact: &str) -> Result<(), String> {
        if contact.len() > MAX_CONTACT {
            return Err(format!("the contact of {id} has {} bytes", contact.len()));
        }
        self.contacts.insert(id, contact.to_owned());
        Ok(())
    }

    /// What a decision made for this view changes: nothing, the view from the next height on, or why not.
    pub fn after(&self, decided: &Decided) -> Option<Result<View, ChangeError>> {
        let last = decided.requests.last()?;
        let changes = self.administrators.contains(&last.client);
        changes.then(|| self.changed(&Change::decode(&last.op)?))
    }
}

fn no_member(id: ReplicaId) -> String {
    format!("{id} is no member")
}

/// The view that holds, and the one before, in whose time the last height may have been decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Views {
    /// Holds now.
    pub now: View,
    /// The first height that belongs to it.
    pub since: Height,
    /// Held before.
    pub before: Option<View>,
}

impl Views {
    /// The first view.
    pub fn genesis(view: View) -> Self {
        Self {
            now: view,
            since: 1,
            before: None,
        }
    }

    /// The view of a height, as far as it is known still.
    pub fn of(&self, height: Height) -> Option<&View> {
        if height >= self.since {
            Some(&self.now)
        } else {
            self.before.as_ref()
        }
    }

    /// Moves past a decision. Whether the view changed.
    pub fn decided(&mut self, decided: &Decided) -> bool {
        let Some(Ok(next)) = self.now.after(decided) else {
            return false;
        };
        self.before = Some(std::mem::replace(&mut self.now, next));
        self.since = decided.height + 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    fn key(seed: u8) -> PublicKey {
        PublicKey::of(&SigningKey::from_bytes(&[seed; 32]))
    }

    fn view() -> View {
        let admin = ClientId(70_000);
        View {
            id: 3,
            f: 1,
            replicas: (0..4).map(|i| (ReplicaId(i), key(i as u8 + 1))).collect(),
            clients: [(admin, key(100)), (ClientId(70_001), key(101))].into(),
            administrators: [admin].into(),
            ..View::default()
        }
    }

    fn change(steps: &[Step]) -> Change {
        Change {
            base: 3,
            steps: steps.to_vec(),
        }
    }

    fn add(id: u16, seed: u8) -> Step {
        Step::AddReplica {
            id: ReplicaId(id),
            key: key(seed),
            contact: format!("host{id}:1"),
        }
    }

    fn remove(id: u16) -> Step {
        Step::RemoveReplica { id: ReplicaId(id) }
    }

    #[test]
    fn a_change_makes_the_next_view_or_nothing() {
        let next = view().changed(&change(&[add(4, 5), remove(0)])).unwrap();
        assert_eq!((next.id, next.n()), (4, 4));
        assert_eq!(next.contacts[&ReplicaId(4)], "host4:1");
        let replaced = view().changed(&change(&[remove(0), add(0, 9)])).unwrap();
        assert_eq!(replaced.replicas[&ReplicaId(0)], key(9));
    }

    #[test]
    fn a_change_made_for_another_view_is_overtaken() {
        let late = Change {
            base: 2,
            steps: vec![add(4, 5)],
        };
        let overtaken = ChangeError::Overtaken { base: 2, view: 3 };
        assert_eq!(view().changed(&late), Err(overtaken));
    }

    #[test]
    fn a_view_that_cannot_be_used_is_refused_with_the_reason() {
        let cases = [
            (vec![remove(3)], "3 replicas cannot carry f = 1"),
            (vec![add(3, 9)], "r3 is a member already"),
            (vec![remove(7)], "r7 is no member"),
            (vec![add(4, 1)], "has the key of another"),
            (
                vec![Step::SetFaults { f: 2 }],
                "4 replicas cannot carry f = 2",
            ),
            (
                vec![Step::RemoveClient {
                    id: ClientId(70_000),
                }],
                "only administrator",
            ),
            (
                vec![Step::RotateClientKey {
                    id: ClientId(9),
                    key: key(9),
                }],
                "c-r9 is no client",
            ),
            (
                vec![Step::SetFast {
                    replicas: [ReplicaId(1)].into(),
                }],
                "2 must be",
            ),
        ];
        for (steps, why) in cases {
            let error = view().changed(&change(&steps)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn an_encoding_reads_back_and_nothing_else_does() {
        let good = change(&[
            add(4, 5),
            Step::SetLeader {
                replica: ReplicaId(4),
            },
        ]);
        assert_eq!(Change::decode(&good.encode()), Ok(good.clone()));
        let mut longer = good.encode();
        longer.push(0);
        for bad in [&b"no change"[..], &longer, &vec![0; MAX_CHANGE_BYTES + 1]] {
            assert!(matches!(
                Change::decode(bad),
                Err(ChangeError::Malformed(_))
            ));
        }
    }

    #[test]
    fn the_first_leader_is_the_one_named_and_the_others_follow() {
        let next = view()
            .changed(&change(&[Step::SetLeader {
                replica: ReplicaId(2),
            }]))
            .unwrap();
        let leaders: Vec<u16> = (0..5).map(|regency| next.leader(regency).0).collect();
        assert_eq!(leaders, [2, 3, 0, 1, 2]);
    }
}
