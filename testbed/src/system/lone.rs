//! One PostgreSQL.

use super::{DATABASE, Later, Setup, System};
use crate::links::Route;
use crate::postgres::{Postgres, dsn};
use crate::relay::Relay;
use crate::{Error, Host};

/// One server at the first site, as most applications have it: a commit is on its disk when it is answered.
#[derive(Debug)]
pub struct Lone {
    setup: Setup,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    server: Postgres,
    client: Route,
}

impl Lone {
    pub fn new(setup: Setup) -> Lone {
        Lone {
            setup,
            running: None,
        }
    }

    /// The server, once started.
    pub fn server(&self) -> Option<&Postgres> {
        self.running.as_ref().map(|running| &running.server)
    }
}

impl System for Lone {
    fn name(&self) -> &str {
        "postgresql"
    }

    fn description(&self) -> String {
        format!(
            "{}, one server; a commit is on its disk",
            self.setup.version()
        )
    }

    fn start(&mut self) -> Later<'_, Result<(), Error>> {
        Box::pin(async {
            let host = Host::new("lone", "postgresql", &self.setup.ground)?;
            let mut server = Postgres::make(host, &self.setup.settings, &[]).await?;
            server.start().await?;
            server
                .execute(&format!("CREATE DATABASE {DATABASE}"))
                .await?;
            let client = self.setup.from_client(0, server.address())?;
            self.running = Some(Running { server, client });
            Ok(())
        })
    }

    fn dsn(&self) -> String {
        let running = self.running.as_ref();
        running.map_or_else(String::new, |running| dsn(running.client.address, DATABASE))
    }

    fn hosts(&self) -> Vec<&Host> {
        self.server().into_iter().map(Postgres::host).collect()
    }

    fn relays(&self) -> Vec<&Relay> {
        self.running
            .iter()
            .filter_map(|running| running.client.relay.as_ref())
            .collect()
    }

    fn settle(&self) -> Later<'_, Result<(), Error>> {
        Box::pin(async {
            match self.server() {
                Some(server) => server.execute("CHECKPOINT").await,
                None => Ok(()),
            }
        })
    }

    fn stop(&mut self) -> Later<'_, Result<(), Error>> {
        Box::pin(async {
            match self.running.take() {
                Some(running) => running.server.stop().await,
                None => Ok(()),
            }
        })
    }
}
