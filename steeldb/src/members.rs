//! The cluster of a directory, as one command sees it.

use std::fs;

use cluster::Cluster;

use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::process::Process;

/// The cluster file of a directory.
pub fn load(layout: &Layout) -> Result<Cluster, Failure> {
    if !layout.cluster_file().exists() {
        return Err(Failure::new(format!(
            "there is no cluster in {}",
            layout.root().display()
        ))
        .cause(format!(
            "{} does not exist",
            layout.cluster_file().display()
        ))
        .next(format!("steeldb up --data {}", layout.root().display())));
    }
    Cluster::load(&layout.cluster_file()).map_err(|error| Failure::usage(error.to_string()))
}

/// The replica with this number; another number is a usage error.
pub fn replica(cluster: &Cluster, id: u16) -> Result<Member, Failure> {
    if cluster.address(id).is_none() {
        return Err(
            Failure::usage(format!("there is no replica {id}")).cause(format!(
                "the replicas are {}",
                cluster
                    .replicas
                    .iter()
                    .map(|replica| replica.id.to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        );
    }
    Ok(Member::Replica(id))
}

/// The replicas, then the proxy.
pub fn all(cluster: &Cluster) -> Vec<Member> {
    let replicas = cluster.replicas.iter().map(|r| Member::Replica(r.id));
    replicas.chain([Member::Proxy]).collect()
}

/// The member's process, if it runs.
pub fn process(layout: &Layout, member: Member) -> Option<Process> {
    Process::named_by(&layout.pid_file(member))
}

/// Whether a member was started and has ended since. It has no pid file before its first start, and none after it was
/// stopped.
pub fn has_ended(layout: &Layout, member: Member) -> bool {
    layout.pid_file(member).exists() && process(layout, member).is_none()
}

/// Removes the pid file of a member that does not run: see [`has_ended`].
pub fn forget(layout: &Layout, member: Member) {
    // One that stays names a process that is gone.
    let _ = fs::remove_file(layout.pid_file(member));
}

/// Tells the supervisor to leave a member alone, or to care for it again.
pub fn mark_stopped(layout: &Layout, member: Member, stopped: bool) -> Result<(), Failure> {
    let mark = layout.stopped_mark(member);
    let done = match stopped {
        true => fs::write(&mark, ""),
        false => match fs::remove_file(&mark) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done,
        },
    };
    done.map_err(|error| Failure::new(format!("cannot change {}", mark.display())).cause(error))
}

/// Whether the member was killed on purpose.
pub fn is_stopped(layout: &Layout, member: Member) -> bool {
    layout.stopped_mark(member).exists()
}
