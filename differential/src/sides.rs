//! The two sides: one plain PostgreSQL, and a cluster behind its proxy.

use crate::answer::{Compared, Reading};
use crate::peer::Peer;
use crate::server::Server;
use harness::Cluster;

/// What a replica's server is told too, and what would show in answers.
const SETTINGS: &[(&str, &str)] = &[
    ("timezone", "UTC"),
    ("datestyle", "ISO, MDY"),
    ("intervalstyle", "postgres"),
    ("lc_messages", "C"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("jit", "off"),
    ("default_text_search_config", "pg_catalog.english"),
    ("max_parallel_workers_per_gather", "0"),
];

/// A PostgreSQL as it comes, with the role that clients of SteelDB have.
pub struct Plain(Server);

impl Plain {
    pub async fn start() -> Plain {
        let server = Server::start();
        let mut session = server.session().await;
        let mut statements = vec![
            "CREATE ROLE postgres LOGIN".to_owned(),
            "ALTER DATABASE postgres OWNER TO postgres".to_owned(),
        ];
        let set = |(name, value)| format!("ALTER DATABASE postgres SET {name} = {value}");
        let quoted = SETTINGS.iter().map(|(name, value)| match *name {
            // A list.
            "datestyle" => (*name, (*value).to_owned()),
            name => (name, format!("'{value}'")),
        });
        statements.extend(quoted.map(set));
        for sql in statements {
            let outcome = session.execute(&sql).await.unwrap();
            assert!(outcome.error.is_none(), "{sql}: {:?}", outcome.error);
        }
        Plain(server)
    }

    pub async fn peer(&self) -> Peer {
        Peer::unix(&self.0.target().socket_path()).await
    }
}

/// One connection to each side.
pub struct Sides {
    plain: Peer,
    cluster: Peer,
    plain_reading: Reading,
    cluster_reading: Reading,
}

/// What either side answered.
pub struct Answers {
    pub plain: Vec<String>,
    pub cluster: Vec<String>,
}

impl Sides {
    pub async fn open(plain: &Plain, cluster: &Cluster) -> Sides {
        Sides {
            plain: plain.peer().await,
            cluster: Peer::tcp(cluster.front).await,
            plain_reading: Reading::new(),
            cluster_reading: Reading::new(),
        }
    }

    pub async fn ask(
        &mut self,
        messages: &[u8],
        readies: usize,
        how: Compared,
    ) -> Result<Answers, String> {
        let plain = self.plain.ask(messages, readies);
        let cluster = self.cluster.ask(messages, readies);
        let (plain, cluster) = tokio::join!(plain, cluster);
        Ok(Answers {
            plain: self.plain_reading.lines(&plain?, how),
            cluster: self.cluster_reading.lines(&cluster?, how),
        })
    }

    /// Only through the cluster: what it refuses would leave the other side in another state.
    pub async fn ask_cluster(
        &mut self,
        messages: &[u8],
        readies: usize,
    ) -> Result<Vec<String>, String> {
        let frames = self.cluster.ask(messages, readies).await?;
        Ok(self.cluster_reading.lines(&frames, Compared::default()))
    }
}
