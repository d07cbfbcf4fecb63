//! A cluster of the command's own processes in which one client's key is the attacker's.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cluster::ClientEntry;
use net::Identity;

use crate::actor::Actor;
use crate::mallory;
use crate::support::Cluster;

/// How long the replicas wait for a client that is gone, twice, and what a slow machine adds.
const ENDED: Duration = Duration::from_secs(80);
/// How long one that comes back may take to be near the others.
const NEAR: Duration = Duration::from_secs(60);

pub struct Place {
    pub cluster: Cluster,
}

impl Place {
    /// One of 3f+1 replicas that serves; every replica's configuration ends with this text.
    pub fn start(f: u16, configuration: &str) -> Place {
        let place = Place::written(f, configuration);
        place.cluster.up();
        place
    }

    /// One that was never started.
    pub fn written(f: u16, configuration: &str) -> Place {
        let cluster = Cluster::absent();
        let (port, f) = (cluster.port.to_string(), f.to_string());
        cluster.succeed(&["init", "--port", &port, "--f", &f]);
        let file = cluster.data().join("cluster.toml");
        let mut members = cluster::Cluster::load(&file).unwrap();
        let identity = Identity::generate();
        identity.save(cluster.data().join(mallory::NAME)).unwrap();
        members.clients.push(ClientEntry {
            id: members
                .clients
                .iter()
                .map(|client| client.id)
                .max()
                .unwrap()
                + 1,
            name: mallory::NAME.into(),
            key: hex::encode(identity.public_key()),
        });
        std::fs::write(&file, members.to_text()).unwrap();
        for replica in &members.replicas {
            let path = cluster
                .data()
                .join(format!("replica-{}/replica.toml", replica.id));
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, text + configuration).unwrap();
        }
        Place { cluster }
    }

    pub fn replicas(&self) -> u16 {
        self.cluster.status()["replicas"].as_array().unwrap().len() as u16
    }

    /// The attacker's process that holds a client's key.
    pub fn mallory(&self) -> Actor {
        let file = self.cluster.data().join("cluster.toml");
        Actor::start(&self.cluster, "client", &file)
    }

    /// The operator moves the master, once the one that is to be it is near the others: others may have gone far ahead of it while it
    /// came back.
    pub fn make_master(&self, replica: u16) {
        let start = Instant::now();
        loop {
            let status = self.cluster.status();
            let lag = status["replicas"][usize::from(replica)]["lag"].as_u64();
            if lag.is_some_and(|lag| lag <= 50) {
                break;
            }
            assert!(start.elapsed() < NEAR, "{status:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let replica = replica.to_string();
        let moved = ["reconfigure", "master", "--replica", &replica];
        self.cluster.succeed(&moved);
    }

    /// A copy of a replica's log as it lies on its disk.
    pub fn copy_of_log(&self, replica: u16) -> PathBuf {
        let log = self
            .cluster
            .data()
            .join(format!("replica-{replica}/data/log"));
        let copy = self.cluster.data().join("copied-log");
        std::fs::create_dir(&copy).unwrap();
        for _ in 0..50 {
            for entry in std::fs::read_dir(&log).unwrap().flatten() {
                std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
            // A copy of a file that is written meanwhile may be older in front than behind.
            let replay = order::log::Replay::beside(&copy);
            if replay.is_ok_and(|mut records| records.all(|record| record.is_ok())) {
                return copy;
            }
        }
        panic!("fifty copies of the log in {} are damaged", log.display());
    }

    /// What is in the table that the attacker writes to, sorted.
    pub async fn loot(&self) -> Vec<i32> {
        let session = self.cluster.connect().await;
        let rows = session.query("SELECT a FROM loot ORDER BY a", &[]);
        rows.await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Waits until no replica holds a transaction open.
    pub async fn nothing_is_open(&self) {
        let start = Instant::now();
        loop {
            let status = self.cluster.status();
            let mut replicas = status["replicas"].as_array().unwrap().iter();
            if replicas.all(|replica| replica["open_transactions"] == 0) {
                return;
            }
            assert!(start.elapsed() < ENDED, "{status:#}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// All replicas hold the same tables at one height.
    pub fn holds_the_same(&self) {
        let said = self.cluster.verify();
        let all = format!("all {} replicas are identical", self.replicas());
        assert!(said.contains(&all), "{said}");
    }
}
