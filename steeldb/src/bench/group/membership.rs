//! Changes of who is a member.

use std::net::SocketAddr;

use ::consensus::{Change, PublicKey, ReplicaId, Step};
use cluster::Cluster;
use net::Identity;

use super::{Group, PORT};
use crate::bench::layout;
use crate::failure::Failure;

impl Group {
    /// The step that makes a spare replica a member.
    pub fn joining(&self, id: u16) -> Result<Step, Failure> {
        let file = layout::identity_file(self.layout.dir(), id);
        let identity = Identity::load(file)
            .map_err(|error| Failure::new(format!("replica {id} cannot join")).cause(error))?;
        let address = SocketAddr::from((self.members[usize::from(id)].host.address(), PORT));
        Ok(Step::AddReplica {
            id: ReplicaId(id),
            key: PublicKey(identity.public_key()),
            contact: address.to_string(),
        })
    }

    /// A change of the membership, and the membership that it makes.
    pub fn changed(&self, step: Step) -> Result<(Change, Cluster), Failure> {
        let cannot = |cause: String| Failure::new("the membership cannot change").cause(cause);
        let before = self.cluster.membership();
        let change = Change {
            base: before.id,
            steps: vec![step],
        };
        let after = before
            .changed(&change)
            .map_err(|error| cannot(error.to_string()))?;
        let cluster = self.cluster.of_view(&after).map_err(cannot)?;
        Ok((change, cluster))
    }

    /// From now on these are the members. One that was none in the first view is started by this one.
    pub fn adopt(&mut self, cluster: Cluster) -> Result<(), Failure> {
        let dir = self.layout.dir();
        for entry in &cluster.replicas {
            if self.layout.cluster.address(entry.id).is_none() {
                let file = layout::own_cluster_file(dir, entry.id);
                std::fs::write(&file, cluster.to_text()).map_err(|error| {
                    Failure::new(format!("cannot write {}", file.display())).cause(error)
                })?;
            }
        }
        self.cluster = cluster;
        Ok(())
    }
}
