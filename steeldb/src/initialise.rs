//! Writing a new cluster: keys, the cluster file, each process's configuration.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use cluster::{ClientEntry, Cluster, FIRST_CLIENT, ReplicaEntry};
use consensus::Mode;
use net::Identity;
use replica::Postgres;

use crate::directory::{self, Purpose};
use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::operator::{self, ADMINISTRATOR};
use crate::proxy_file::ProxyFile;
use crate::servers::Servers;

/// The largest f for which replicas are made: 31 replicas on one machine are more than anybody needs.
pub const MAX_F: u16 = 10;

/// What the new cluster looks like.
pub struct Plan {
    pub f: u16,
    pub mode: Mode,
    /// WHEAT: the replicas that weigh more; none: all weigh the same.
    pub fast: BTreeSet<u16>,
    /// Where the replicas listen, in the order of their numbers.
    pub replicas: Vec<SocketAddr>,
    pub front: proxy::ProxyConfig,
    /// Every process gets a copy of the cluster file, so that its directory can be carried to another machine.
    pub spread: bool,
    /// Which PostgreSQL each replica runs.
    pub servers: Servers,
    pub shared: Shared,
}

/// What must be the same in every replica's configuration; nothing said: the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    pub checkpoint_every: Option<u64>,
    pub sequence_window: Option<u64>,
}

impl Shared {
    /// As the replicas of this cluster have it, those of them that are here.
    pub fn of(layout: &Layout, cluster: &Cluster) -> Shared {
        let files = cluster
            .replicas
            .iter()
            .map(|replica| layout.config(Member::Replica(replica.id)));
        let mut here = files.filter_map(|file| crate::replica_file::read(&file).ok());
        here.next().map_or_else(Shared::default, |config| Shared {
            checkpoint_every: config.checkpoint_every,
            sequence_window: config.sequence_window,
        })
    }

    fn text(self) -> String {
        let keys = [
            ("checkpoint_every", self.checkpoint_every),
            ("sequence_window", self.sequence_window),
        ];
        let said = keys
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        said.map(|(key, value)| format!("{key} = {value}\n"))
            .collect()
    }
}

/// Writes the cluster. `cluster.toml` comes last: where it is, the directory is complete.
pub fn create(layout: &Layout, plan: &Plan) -> Result<Cluster, Failure> {
    refuse_foreign(layout)?;
    directory::make(layout.root(), Purpose::LeadsToPostgres)?;
    for dir in [layout.run_dir(), layout.log_dir(), layout.operator_home()] {
        directory::make(&dir, Purpose::Private)?;
    }
    let members = (0..plan.replicas.len() as u16).map(Member::Replica);
    let mut replicas = Vec::new();
    for (member, address) in members.zip(&plan.replicas) {
        let Member::Replica(id) = member else {
            continue;
        };
        replicas.push(ReplicaEntry {
            id,
            address: *address,
            key: replica_home(
                layout,
                member,
                plan.cluster_path(),
                plan.servers.get(&id).unwrap_or(&Postgres::default()),
                plan.shared,
            )?,
        });
    }
    directory::make(&layout.home(Member::Proxy), Purpose::Private)?;
    let mut clients = vec![client("proxy", &layout.identity(Member::Proxy))?];
    for name in operator::names() {
        clients.push(client(&name, &operator::identity(layout, &name))?);
    }
    clients.push(client(ADMINISTRATOR, &operator::administrator(layout))?);
    for (place, client) in clients.iter_mut().enumerate() {
        client.id = FIRST_CLIENT + place as u32;
    }
    let front = ProxyFile::new(plan.cluster_path(), plan.front.clone());
    directory::write(&layout.config(Member::Proxy), &front.to_text())?;
    let cluster = Cluster {
        f: plan.f,
        mode: plan.mode,
        fast: plan.fast.clone(),
        client_authentication: Default::default(),
        administrators: clients
            .iter()
            .filter(|client| client.name == ADMINISTRATOR)
            .map(|client| client.id)
            .collect(),
        leader: None,
        view: 0,
        replicas,
        clients,
    };
    if plan.spread {
        let replicas = cluster.replicas.iter().map(|r| Member::Replica(r.id));
        for member in replicas.chain([Member::Proxy]) {
            directory::write(
                &layout.home(member).join("cluster.toml"),
                &cluster.to_text(),
            )?;
        }
    }
    directory::write(&layout.cluster_file(), &cluster.to_text())?;
    Ok(cluster)
}

impl Plan {
    /// The cluster file as a process's configuration names it.
    fn cluster_path(&self) -> &'static str {
        if self.spread {
            "cluster.toml"
        } else {
            "../cluster.toml"
        }
    }
}

fn replica_text(id: u16, cluster: &str, server: &Postgres, shared: Shared) -> String {
    let mut text = format!(
        "# The configuration of replica {id}. Paths are relative to this file; docs/operations.md lists the keys.\n\
         id = {id}\n\
         cluster = \"{cluster}\"\n\
         identity = \"identity\"\n\
         data = \"data\"\n{}",
        shared.text()
    );
    let server = toml::to_string(server).expect("paths, numbers and names are always valid TOML");
    if !server.is_empty() {
        text += &format!("\n[postgres]\n{server}");
    }
    text
}

fn client(name: &str, identity: &Path) -> Result<ClientEntry, Failure> {
    Ok(ClientEntry {
        id: 0,
        name: name.to_owned(),
        key: key(identity)?,
    })
}

/// Makes a replica's directory; its public key.
pub fn replica_home(
    layout: &Layout,
    member: Member,
    cluster: &str,
    server: &Postgres,
    shared: Shared,
) -> Result<String, Failure> {
    let Member::Replica(id) = member else {
        return Err(Failure::usage(format!("{member} is no replica")));
    };
    directory::make(&layout.home(member), Purpose::LeadsToPostgres)?;
    directory::make(&layout.home(member).join("data"), Purpose::LeadsToPostgres)?;
    // The log holds everything that clients have sent.
    directory::make(&layout.home(member).join("data/log"), Purpose::Private)?;
    directory::make(
        &layout.home(member).join("data/checkpoints"),
        Purpose::Private,
    )?;
    directory::write(
        &layout.config(member),
        &replica_text(id, cluster, server, shared),
    )?;
    key(&layout.identity(member))
}

/// Has a new replica repair itself, and copy, as the first of the others that has a file here.
pub fn repair_as_others(
    layout: &Layout,
    member: Member,
    mut others: impl Iterator<Item = Member>,
) -> Result<(), Failure> {
    let files = others.by_ref().map(|other| layout.config(other));
    let Some(file) = files.into_iter().find(|file| file.exists()) else {
        return Ok(());
    };
    let failed = |cause: String| {
        Failure::new(format!("the configuration of {member} cannot be written")).cause(cause)
    };
    let repair = replica::Config::load(&file).map_err(failed)?.repair;
    let text = toml::to_string(&repair).map_err(|e| failed(e.to_string()))?;
    if text.is_empty() {
        return Ok(());
    }
    let path = layout.config(member);
    let own = fs::read_to_string(&path).map_err(|e| failed(e.to_string()))?;
    directory::write(&path, &format!("{own}\n[repair]\n{text}"))
}

/// The public key of an identity file, which is made unless an interrupted attempt has left it.
pub fn key(path: &Path) -> Result<String, Failure> {
    let identity = if path.exists() {
        Identity::load(path)
    } else {
        let new = Identity::generate();
        new.save(path).map(|()| new)
    };
    let identity = identity.map_err(|error| Failure::new("cannot make a key").cause(error))?;
    Ok(hex::encode(identity.public_key()))
}

/// Nothing is written into a directory that serves another purpose, or whose cluster file was lost.
fn refuse_foreign(layout: &Layout) -> Result<(), Failure> {
    let Ok(entries) = fs::read_dir(layout.root()) else {
        return Ok(());
    };
    let ours = |name: &str| {
        matches!(name, "run" | "logs" | "operator" | "proxy" | "lost+found")
            || name.starts_with("replica-")
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !ours(&name) {
            return Err(Failure::new(format!(
                "{} is not a directory of SteelDB",
                layout.root().display()
            ))
            .cause(format!("it holds {name}"))
            .next("choose an empty or a new directory with --data"));
        }
        let data = entry.path().join("data");
        let used = fs::read_dir(data.join("log")).is_ok_and(|mut log| log.next().is_some());
        if used || data.join("postgres").exists() {
            return Err(
                Failure::new(format!("{} is missing", layout.cluster_file().display()))
                    .cause(format!("{} holds data of a cluster", data.display()))
                    .next("restore cluster.toml, or choose another directory with --data"),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn plan(spread: bool) -> Plan {
        Plan {
            f: 1,
            mode: Mode::Byzantine,
            fast: BTreeSet::new(),
            replicas: (0..4)
                .map(|i| SocketAddr::from(([127, 0, 0, 1], 7400 + i)))
                .collect(),
            front: proxy::ProxyConfig::default(),
            spread,
            servers: Servers::new(),
            shared: Shared::default(),
        }
    }

    #[test]
    fn who_joins_later_is_told_what_all_others_were() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(&dir.path().join("db")).unwrap();
        let shared = Shared {
            checkpoint_every: Some(40),
            sequence_window: Some(9),
        };
        let plan = Plan {
            shared,
            ..plan(false)
        };
        let made = create(&layout, &plan).unwrap();
        assert_eq!(Shared::of(&layout, &made), shared);
        let other = Layout::new(&dir.path().join("other")).unwrap();
        assert_eq!(Shared::of(&other, &made), Shared::default());
    }

    #[test]
    fn a_new_cluster_is_whole_and_its_keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(&dir.path().join("db")).unwrap();
        let made = create(&layout, &plan(false)).unwrap();
        let loaded = Cluster::load(&layout.cluster_file()).unwrap();
        assert_eq!(loaded, made);
        loaded.directory().unwrap();
        assert_eq!(loaded.replicas.len(), 4);
        assert!(loaded.client("proxy").is_some() && loaded.client("operator").is_some());
        for member in [Member::Replica(0), Member::Replica(3), Member::Proxy] {
            let identity = layout.identity(member);
            let mode = fs::metadata(&identity).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", identity.display());
            let key = hex::encode(Identity::load(&identity).unwrap().public_key());
            assert!(made.to_text().contains(&key));
        }
        ProxyFile::load(&layout.config(Member::Proxy)).unwrap();
    }

    #[test]
    fn a_spread_cluster_has_a_cluster_file_beside_every_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        create(&layout, &plan(true)).unwrap();
        for member in [Member::Replica(2), Member::Proxy] {
            assert!(layout.home(member).join("cluster.toml").exists());
        }
    }

    #[test]
    fn an_interrupted_attempt_is_taken_up_with_the_same_keys() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        let first = create(&layout, &plan(false)).unwrap();
        fs::remove_file(layout.cluster_file()).unwrap();
        assert_eq!(create(&layout, &plan(false)).unwrap(), first);
    }

    #[test]
    fn foreign_directories_and_lost_cluster_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let error = create(&layout, &plan(false)).unwrap_err().to_string();
        assert!(error.contains("thesis.tex"), "{error}");
        fs::remove_file(dir.path().join("thesis.tex")).unwrap();
        create(&layout, &plan(false)).unwrap();
        fs::write(layout.home(Member::Replica(1)).join("data/log/0"), "").unwrap();
        fs::remove_file(layout.cluster_file()).unwrap();
        let error = create(&layout, &plan(false)).unwrap_err().to_string();
        assert!(
            error.contains("cluster.toml") && error.contains("restore"),
            "{error}"
        );
    }
}
