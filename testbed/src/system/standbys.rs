//! A primary whose commits wait for a quorum of synchronous standbys.

use std::time::Duration;

use futures::future::try_join_all;

use super::{DATABASE, Later, Setup, System};
use crate::links::Route;
use crate::postgres::{Postgres, dsn, with_client};
use crate::relay::Relay;
use crate::{Error, Host};

/// Standbys, at the sites after the primary's.
const STANDBYS: usize = 3;

/// Standbys that must have a commit on their disks. With the primary they are 3 of 4 servers: as many as SteelDB's quorum.
const QUORUM: usize = 2;

/// How long the standbys may take to stream.
const STREAM: Duration = Duration::from_secs(60);

/// A primary at the first site and three streaming standbys.
#[derive(Debug)]
pub struct Standbys {
    setup: Setup,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    client: Route,
    // Ended before the way to their primary and the primary are.
    standbys: Vec<Postgres>,
    replication: Vec<Route>,
    primary: Postgres,
}

impl Standbys {
    pub fn new(setup: Setup) -> Standbys {
        Standbys {
            setup,
            running: None,
        }
    }

    /// The primary, once started.
    pub fn primary(&self) -> Option<&Postgres> {
        self.running.as_ref().map(|running| &running.primary)
    }

    /// The standbys, once started.
    pub fn standbys(&self) -> &[Postgres] {
        self.running
            .as_ref()
            .map_or(&[], |running| &running.standbys)
    }

    async fn run(&self) -> Result<Running, Error> {
        let (ground, settings) = (&self.setup.ground, &self.setup.settings);
        let host = Host::new("primary", "postgresql", ground)?;
        // A copy over far links takes its time, and needs all of the log meanwhile.
        let keep = [("wal_keep_size", "256MB".to_owned())];
        let mut primary = Postgres::make(host, settings, &keep).await?;
        primary.start().await?;
        primary
            .execute(&format!("CREATE DATABASE {DATABASE}"))
            .await?;
        let sites = 1..=STANDBYS;
        let routes = sites
            .clone()
            .map(|site| self.setup.route(site, 0, primary.address()));
        let replication = routes.collect::<Result<Vec<Route>, Error>>()?;
        let standbys = sites.zip(&replication).map(|(site, route)| async move {
            let host = Host::new(&format!("standby{site}"), "standby", ground)?;
            let mut standby =
                Postgres::copy(host, settings, route.address, &format!("s{site}")).await?;
            standby.start().await?;
            Ok::<_, Error>(standby)
        });
        let standbys = try_join_all(standbys).await?;
        let names: Vec<String> = (1..=STANDBYS).map(|site| format!("s{site}")).collect();
        let names = format!("ANY {QUORUM} ({})", names.join(", "));
        // Apart, because ALTER SYSTEM runs in no transaction block.
        let quorum = format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
        primary.execute(&quorum).await?;
        primary.execute("SELECT pg_reload_conf()").await?;
        let client = self.setup.from_client(0, primary.address())?;
        let running = Running {
            client,
            standbys,
            replication,
            primary,
        };
        running.quorum().await?;
        Ok(running)
    }
}

impl Running {
    /// Waits until all standbys count for the quorum.
    async fn quorum(&self) -> Result<(), Error> {
        let count = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'quorum'";
        let primary = dsn(self.primary.address(), "postgres");
        let all = async {
            loop {
                let row = with_client(&primary, async |client| client.query_one(count, &[]).await)
                    .await?;
                if row.get::<_, i64>(0) == STANDBYS as i64 {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(STREAM, all).await.unwrap_or_else(|_| {
            Err(
                Error::new(format!("the standbys do not stream after {STREAM:?}"))
                    .next("read postgresql.log in their directories before they are removed"),
            )
        })
    }
}

impl System for Standbys {
    fn name(&self) -> &str {
        "standbys"
    }

    fn description(&self) -> String {
        format!(
            "{}, a primary with {STANDBYS} streaming standbys; a commit is on the disks of the primary and of any \
             {QUORUM} standbys, 3 of 4 servers as with SteelDB's quorum",
            self.setup.version()
        )
    }

    fn start(&mut self) -> Later<'_, Result<(), Error>> {
        Box::pin(async {
            self.running = Some(self.run().await?);
            Ok(())
        })
    }

    fn dsn(&self) -> String {
        let running = self.running.as_ref();
        running.map_or_else(String::new, |running| dsn(running.client.address, DATABASE))
    }

    fn hosts(&self) -> Vec<&Host> {
        self.primary()
            .into_iter()
            .chain(self.standbys())
            .map(Postgres::host)
            .collect()
    }

    fn relays(&self) -> Vec<&Relay> {
        let routes = self
            .running
            .iter()
            .flat_map(|running| running.replication.iter().chain([&running.client]));
        routes.filter_map(|route| route.relay.as_ref()).collect()
    }

    fn settle(&self) -> Later<'_, Result<(), Error>> {
        // A restartpoint at the standbys follows the primary's checkpoint.
        Box::pin(async {
            for server in self.primary().into_iter().chain(self.standbys()) {
                server.execute("CHECKPOINT").await?;
            }
            Ok(())
        })
    }

    fn stop(&mut self) -> Later<'_, Result<(), Error>> {
        Box::pin(async {
            let Some(running) = self.running.take() else {
                return Ok(());
            };
            for server in running.standbys.into_iter().chain([running.primary]) {
                server.stop().await?;
            }
            Ok(())
        })
    }
}
