//! A replica that somebody took over: its key, its data and its place, and another program.

use std::path::{Path, PathBuf};

use net::Identity;
use nix::sys::signal::Signal;
use replica::executor::lies::{self, Lie};

use crate::actor::{Actor, answer, orders};
use crate::support::Cluster;

/// The process: a replica as `steeldb replica` runs it, which tells the lies that it is ordered to tell, until the
/// orders end.
pub async fn run(file: &Path) {
    let mut config = replica::Config::load(file).unwrap();
    let home = file.parent().unwrap();
    for path in [&mut config.cluster, &mut config.identity, &mut config.data] {
        *path = home.join(&*path);
    }
    let identity = Identity::load(&config.identity).unwrap();
    let lies = lies::of(identity.signing_key());
    let obey = async {
        let mut orders = orders();
        while let Some(order) = orders.next_line().await.unwrap() {
            let named = |name| Lie::named(name).unwrap_or_else(|| panic!("no lie {name}"));
            let told: Vec<Lie> = order.split_whitespace().map(named).collect();
            lies.tell(&told);
            answer(&order);
        }
    };
    replica::run(config, obey).await.unwrap();
}

/// A replica in the attacker's hands.
pub struct Liar {
    pub replica: u16,
    config: PathBuf,
    process: Option<Actor>,
}

impl Liar {
    /// Takes a running replica over: it is killed, and the attacker's program starts in its place.
    pub async fn take_over(cluster: &Cluster, replica: u16) -> Liar {
        let config = cluster
            .data()
            .join(format!("replica-{replica}/replica.toml"));
        let mut liar = Liar {
            replica,
            config,
            process: None,
        };
        liar.crash(cluster).await;
        liar
    }

    /// From now on it tells these lies and no others.
    pub async fn tell(&mut self, lies: &[Lie]) {
        let names: Vec<String> = lies.iter().map(|lie| format!("{lie:?}")).collect();
        let process = self.process.as_mut().expect("it runs");
        process.order(&names.join(" ")).await;
    }

    /// SIGKILL of the process and its PostgreSQL; then it is started again, and honest.
    pub async fn crash(&mut self, cluster: &Cluster) {
        self.kill(cluster).await;
        self.process = Some(Actor::start(cluster, "replica", &self.config));
        self.tell(&[]).await;
    }

    async fn kill(&mut self, cluster: &Cluster) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
        // The supervisor leaves it alone from now on.
        cluster.succeed(&["kill", "--replica", &self.replica.to_string()]);
    }

    /// Silence: SIGSTOP, or SIGCONT.
    pub fn silent(&self, silent: bool) {
        let signal = if silent {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// The operator has the machine back: the command's own replica runs on what the attacker left, and catches up.
    pub async fn give_back(mut self, cluster: &Cluster) {
        self.kill(cluster).await;
        cluster.succeed(&["start", "--replica", &self.replica.to_string()]);
    }
}
