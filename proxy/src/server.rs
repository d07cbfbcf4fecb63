//! The listener: accepts clients, counts them, ends them at shutdown.

use crate::admission;
use crate::cancel::Registry;
use crate::config::ProxyConfig;
use crate::database::{Database, SessionSettings};
use crate::limits;
use crate::password::Passwords;
use crate::session::Session;
use crate::startup::{self, Opening, Startup};
use crate::wire::{Closed, Fault, Wire, backend};
use client_shim::{Shim, ShimError};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Why the front cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}; is another server there? Choose another port")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error(
        "the password of the role {role:?} is not a SCRAM-SHA-256 verifier; have one made: steeldb password"
    )]
    Password { role: String },
}

/// A front that listens, and serves clients once it [runs](Proxy::run).
pub struct Proxy<D: Database = Shim> {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared<D>>,
}

struct Shared<D> {
    config: ProxyConfig,
    /// Absent: nobody is asked.
    passwords: Option<Passwords>,
    database: D,
    registry: Arc<Registry>,
    /// One permit for each client that is served.
    places: Semaphore,
    copying: Arc<Semaphore>,
    /// What PostgreSQL reports of a new session, and when it was asked.
    parameters: Mutex<Option<(Instant, SessionSettings)>>,
}

/// Serves clients until `shutdown` resolves.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve<D: Database>(
    config: ProxyConfig,
    database: D,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    Proxy::bind(config, database).await?.run(shutdown).await;
    Ok(())
}

impl<D: Database> Proxy<D> {
    /// Listens; clients wait until [`run`](Proxy::run) is called.
    ///
    /// # Errors
    /// When the address cannot be listened on, or a password is no verifier.
    pub async fn bind(config: ProxyConfig, database: D) -> Result<Proxy<D>, Error> {
        let passwords = config.passwords.as_ref().map(Passwords::new).transpose();
        let passwords = passwords.map_err(|role| Error::Password { role })?;
        let failed = |source| Error::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Shared {
            places: Semaphore::new(config.max_connections),
            copying: Arc::new(Semaphore::new(limits::COPY_TOTAL / limits::COPY_CHUNK)),
            config,
            passwords,
            database,
            registry: Arc::default(),
            parameters: Mutex::default(),
        };
        Ok(Proxy {
            listener,
            address,
            shared: Arc::new(shared),
        })
    }

    /// Where clients connect: the port is the one that was found when the configuration says 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves clients until `shutdown` resolves; those connected then are told (57P01), and what they have open is
    /// rolled back.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopping) = watch::channel(());
        let mut connections = JoinSet::new();
        let most = self.shared.config.max_connections + limits::UNAUTHENTICATED;
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                // A connection reports its own end; a panic in one is the others' no business.
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.listener.accept() => match accepted {
                    // Too many that have not even said who they are.
                    Ok(_) if connections.len() >= most => {}
                    Ok((stream, peer)) => {
                        let (shared, stopping) = (self.shared.clone(), stopping.clone());
                        connections.spawn(connection(shared, stream, peer, stopping));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
        drop(stop);
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(limits::SHUTDOWN, ended).await.is_err() {
            connections.shutdown().await;
        }
    }
}

async fn connection<D: Database>(
    shared: Arc<Shared<D>>,
    stream: TcpStream,
    peer: SocketAddr,
    mut stopping: watch::Receiver<()>,
) {
    // Without it the connection is slower, not wrong.
    stream.set_nodelay(true).ok();
    let mut wire = Wire::new(stream);
    let ended = tokio::select! {
        ended = shared.converse(&mut wire, peer) => ended,
        // The sender is gone.
        _ = stopping.changed() => {
            Err(Fault::fatal("57P01", "terminating connection due to administrator command").into())
        }
    };
    let fault = match ended {
        Ok(()) => None,
        Err(Closed::Gone) => None,
        Err(Closed::Fatal(fault)) => Some(*fault),
    };
    let reason = fault.as_ref().map(|fault| fault.message.clone());
    wire.close(fault).await;
    tracing::debug!(%peer, reason, "connection closed");
}

impl<D: Database> Shared<D> {
    async fn converse(&self, wire: &mut Wire, peer: SocketAddr) -> Result<(), Closed> {
        let patience = Duration::from_secs(self.config.startup_timeout_s);
        let opening = timeout(patience, startup::opening(wire)).await;
        match opening.unwrap_or(Err(Closed::Gone))? {
            Opening::Cancel { number, secret } => {
                self.registry.cancel(number, secret);
                Ok(())
            }
            Opening::Session(startup) => self.session(wire, peer, startup).await,
        }
    }

    async fn session(
        &self,
        wire: &mut Wire,
        peer: SocketAddr,
        startup: Startup,
    ) -> Result<(), Closed> {
        admission::admit(&startup, peer, self.config.allow_remote)?;
        startup::negotiate(wire, &startup);
        if let Some(passwords) = &self.passwords {
            let patience = Duration::from_secs(self.config.startup_timeout_s);
            let proven = admission::authenticate(wire, passwords, &startup.user);
            // As PostgreSQL does: nothing more is said to who is late.
            timeout(patience, proven)
                .await
                .unwrap_or(Err(Closed::Gone))?;
        }
        // Who has not proven anything takes nobody's place.
        let place = self.places.try_acquire();
        let _place = place.map_err(|_| Fault::fatal("53300", "sorry, too many clients already"))?;
        let reported = wire.during(self.parameters()).await?.map_err(Fault::from)?;
        let ledger = wire
            .during(admission::settings(&self.database, &startup, reported))
            .await??;
        let seat = self.registry.enter();
        backend::authentication_ok(&mut wire.out);
        for (name, value) in ledger.told() {
            backend::parameter_status(&mut wire.out, name, value);
        }
        backend::backend_key(&mut wire.out, seat.number, seat.secret());
        Session::new(
            wire,
            self.database.session(),
            seat,
            ledger,
            self.copying.clone(),
        )
        .serve()
        .await
    }

    async fn parameters(&self) -> Result<SessionSettings, ShimError> {
        let mut known = self.parameters.lock().await;
        if let Some((asked, parameters)) = &*known
            && asked.elapsed() < limits::PARAMETERS_AGE
        {
            return Ok(parameters.clone());
        }
        let mut parameters = self.database.parameters().await?;
        // The name of the replica's own session is not the client's.
        let name = parameters
            .iter_mut()
            .find(|(name, _)| name == "application_name");
        if let Some((_, value)) = name {
            value.clear();
        }
        *known = Some((Instant::now(), parameters.clone()));
        Ok(parameters)
    }
}
