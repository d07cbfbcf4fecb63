//! The replica's PostgreSQL as it starts: found whole, made anew where it is lost or damaged, or somebody else's.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use consensus::{Height, ReplicaId, View};
use pgsession::{Alarm, Target};

use crate::config::Config;
use crate::executor::CopyWish;
use crate::postgres::{self, Address, PostgresServer, StopMode};
use crate::rebuild::{Noted, Rebuilds, Wish};
use crate::run::Error;

const DATABASE: &str = "postgres";

/// The replica's PostgreSQL, as sessions find it.
pub(crate) struct Server {
    pub own: Option<PostgresServer>,
    pub clients: Target,
    pub superuser: Target,
    pub token: Arc<str>,
    pub fingerprint: postgres::Fingerprint,
    /// Raised by whatever session meets damaged data.
    pub alarm: Alarm,
    /// Why the data begin anew, when they do.
    pub rebuilding: Option<String>,
    /// They are to be copied from others.
    pub copy: Option<CopyWish>,
}

/// What the replica's own files say of the history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// The last height in its log.
    pub logged: Height,
    /// The height of the checkpoint that its log begins with: what lies before cannot be applied.
    pub begins_at: Option<Height>,
    /// It takes a place in a cluster that began without it.
    pub joins: bool,
    /// The view after the last height in the log names it.
    pub member: bool,
}

/// The care for one replica's server over all its starts.
pub(crate) struct Care<'a> {
    config: &'a Config,
    /// Absent where the server is somebody else's.
    rebuilds: Option<Rebuilds>,
    copies: Mutex<Copies>,
}

/// What is remembered of copies while the process lives.
#[derive(Default)]
struct Copies {
    /// Begun one after another without one that was finished.
    tried: u32,
    suspects: BTreeSet<ReplicaId>,
    /// The others have cut from their logs what is lacking here, above this height.
    must: Option<Height>,
    /// There is no other way: the history is not whole.
    only: bool,
    /// Why the data were made anew, of which the copy is whole and the log is still to be applied.
    whole: Option<String>,
}

/// Copies that are tried before the history is applied instead.
const COPIES: u32 = 5;
/// Between two of them after that.
const COPY_PAUSE: Duration = Duration::from_secs(300);

impl<'a> Care<'a> {
    pub fn new(config: &'a Config) -> Care<'a> {
        let own = config.postgres.dsn.is_none();
        let rebuilds = || Rebuilds::new(&config.data, &config.server().data_dir);
        Care {
            config,
            rebuilds: own.then(rebuilds),
            copies: Mutex::default(),
        }
    }

    /// The last rebuild.
    pub fn last_rebuild(&self) -> Option<Noted> {
        self.rebuilds.as_ref()?.last()
    }

    /// Whether a rebuild may be done now that nobody asked for.
    pub fn may_rebuild(&self) -> bool {
        self.config.repairs_itself() && self.rebuilds.as_ref().is_some_and(Rebuilds::may)
    }

    /// The next start makes the data anew. `asked`: an administrator wants it, whatever was done before.
    ///
    /// # Errors
    /// Says why that is not done.
    pub fn rebuild(&self, why: &str, asked: bool) -> Result<(), Error> {
        let refused = |cause: &str| Error::Damaged {
            why: why.to_owned(),
            cause: cause.to_owned(),
        };
        let Some(rebuilds) = &self.rebuilds else {
            return Err(refused(
                "the server is not this replica's own (`dsn`): restore it by hand",
            ));
        };
        if !asked && !self.config.repairs_itself() {
            return Err(refused(
                "`automatic = false` in [repair]: run `steeldb verify --repair`, or set it",
            ));
        }
        if !asked && !rebuilds.may() {
            return Err(refused(
                "it was made anew less than ten minutes ago: look at this machine's disk and memory",
            ));
        }
        rebuilds.wish(why)?;
        Ok(())
    }

    /// What is lacking here cannot be had from the others' logs: the next start copies.
    ///
    /// # Errors
    /// Says why that is not done.
    pub fn behind(&self, above: Height, why: &str) -> Result<(), Error> {
        self.copies().must = Some(above);
        self.rebuild(why, true)
    }

    fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The server holds a copy: it is used from now on.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn copied(&self) -> Result<(), Error> {
        let why = self.rebuilds.as_ref().and_then(Rebuilds::copying);
        *self.copies() = Copies {
            whole: why.map(|(_, why)| why),
            ..Copies::default()
        };
        self.rebuilds.iter().try_for_each(Rebuilds::end_copy)?;
        Ok(())
    }

    /// The next start copies again, without these; with what is copied so far, if that is to be kept. How long it waits: where nothing but a
    /// copy is left, all are asked again after several in vain, but not at once.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn copy_again(
        &self,
        suspects: BTreeSet<ReplicaId>,
        why: &str,
        keep: bool,
    ) -> Result<Duration, Error> {
        let mut copies = self.copies();
        if !keep && let Some(rebuilds) = &self.rebuilds {
            rebuilds.unlay()?;
        }
        if copies.tried < COPIES || !copies.only {
            copies.suspects = suspects;
            return Ok(Duration::ZERO);
        }
        tracing::error!(
            why,
            tried = copies.tried,
            "the database cannot be copied; where the history is not whole it is tried again later (docs/operations.md)"
        );
        copies.suspects.clear();
        Ok(COPY_PAUSE)
    }

    /// The next start applies the history.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn copy_not(&self) -> Result<(), Error> {
        let Some(rebuilds) = &self.rebuilds else {
            return Ok(());
        };
        let why = rebuilds.copying().map_or(String::new(), |(_, why)| why);
        rebuilds.begin_copy(false, &why)?;
        Ok(())
    }

    /// Starts the server; with data made anew where that is due, or where those that the log speaks of are gone.
    ///
    /// # Errors
    /// When no server can be had. [`postgres::Error::is_damage`] tells whether its data are the reason.
    pub async fn start(&self, first: &View, known: Known) -> Result<Server, Error> {
        let logged = known.logged;
        let alarm = Alarm::default();
        if let Some(dsn) = &self.config.postgres.dsn {
            let address = postgres::external::check(dsn).await?;
            let tokens = postgres::provision(&address).await?;
            let token = tokens.get(DATABASE).cloned();
            let fingerprint = postgres::Fingerprint::of(&address, DATABASE).await?;
            return reached(&address, token, fingerprint, alarm);
        }
        let wish = self.rebuilds.as_ref().and_then(Rebuilds::wished);
        let unfinished = self.rebuilds.as_ref().and_then(Rebuilds::copying);
        let (mut again, mut left) = (None, None);
        if let (Some(rebuilds), None, Some((copies, why))) = (&self.rebuilds, &wish, unfinished) {
            if copies {
                left = self.left(rebuilds, first).await?;
            }
            if left.is_none() {
                let files = rebuilds.clone();
                blocking(move || files.drop_copy()).await?;
            }
            again = Some((copies, why));
        }
        let (own, rebuilding) = match (left, &self.rebuilds, wish) {
            (Some(own), ..) => {
                if has_floor(&own).await? {
                    // It was whole, and that was not noted any more.
                    self.copied()?;
                    again = None;
                }
                (own, None)
            }
            (None, Some(rebuilds), Some(wish)) => {
                let own = self.anew(rebuilds, &wish, first).await?;
                (own, Some(wish.why))
            }
            // Without a log nothing is lost with an unfinished copy.
            _ if again.is_some() => self.as_it_is(first, 0).await?,
            _ => self.as_it_is(first, logged).await?,
        };
        let (rebuilding, copy) = self.how(&own, rebuilding, again, known)?;
        let token = own.tokens().get(DATABASE).cloned();
        let fingerprint = own.fingerprint().await?;
        let mut server = reached(&own.address(), token, fingerprint, alarm)?;
        server.own = Some(own);
        server.rebuilding = rebuilding;
        server.copy = copy;
        Ok(server)
    }

    /// The server with what an unfinished copy has left, if the next one can go on with it.
    async fn left(
        &self,
        rebuilds: &Rebuilds,
        first: &View,
    ) -> Result<Option<PostgresServer>, Error> {
        if rebuilds.laid().is_none() || self.copies().tried >= COPIES {
            return Ok(None);
        }
        match self.as_it_is(first, 0).await {
            Ok((own, _)) => Ok(Some(own).filter(|own| !own.is_fresh())),
            Err(Error::Postgres(error)) if error.is_damage() => {
                tracing::warn!(%error, "what an unfinished copy has left cannot be used");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Why a fresh server, or one with an unfinished copy, is made anew, and whether by a copy.
    fn how(
        &self,
        own: &PostgresServer,
        rebuilding: Option<String>,
        again: Option<(bool, String)>,
        known: Known,
    ) -> Result<(Option<String>, Option<CopyWish>), Error> {
        let anew = own.is_fresh() || again.is_some();
        let Some(rebuilds) = self.rebuilds.as_ref().filter(|_| anew) else {
            // What a copy was made for lasts until the log behind it is applied.
            return Ok((self.copies().whole.take().or(rebuilding), None));
        };
        let Known { logged, joins, .. } = known;
        // A history that is not whole cannot be applied.
        let must = known.begins_at.is_some() || self.copies().must.is_some();
        let from_height = match must {
            true => 0,
            false => self.config.copy_from_height(),
        };
        let begins = (logged > 0 && logged >= from_height) || (joins && logged == 0);
        let (copies, why) = match (again, rebuilding) {
            (Some((copies, why)), _) => {
                let goes_on = copies && self.copies().tried < COPIES;
                (goes_on || must, Some(why))
            }
            (None, Some(why)) => (begins || must, Some(why)),
            (None, None) => (begins, joins.then(|| "it joins".into())),
        };
        let (Some(why), true) = (&why, copies) else {
            rebuilds.end_copy()?;
            return Ok((why, None));
        };
        let laid = rebuilds.laid().filter(|_| !own.is_fresh());
        if laid.is_none() {
            rebuilds.begin_copy(true, why)?;
        }
        let mut copies = self.copies();
        copies.tried += 1;
        copies.only = must;
        let wish = CopyWish {
            // Its own log tells how long the history is; else others do.
            from_height: if logged >= from_height {
                0
            } else {
                from_height
            },
            suspects: copies.suspects.clone(),
            joins: logged == 0 || !known.member,
            fetch_above: copies.must,
            laid,
            rebuilds: rebuilds.clone(),
        };
        Ok((Some(why.clone()), Some(wish)))
    }

    async fn as_it_is(
        &self,
        first: &View,
        logged: Height,
    ) -> Result<(PostgresServer, Option<String>), Error> {
        let prepared = PostgresServer::prepare(self.config.server()).await;
        let mut own = match prepared {
            // Without a log nothing says that this place was ever the replica's.
            Err(error @ postgres::Error::NoDataDirectory(_)) if logged > 0 => {
                return Err(Error::Unusable(error.to_string()));
            }
            prepared => prepared?,
        };
        let origin = origin(first);
        let found = own.origin();
        if let Some(other) = found.as_ref().filter(|found| **found != origin) {
            let why = format!(
                "the PostgreSQL data directory belongs to another cluster ({}…)",
                other.chars().take(12).collect::<String>()
            );
            return Err(match logged {
                0 => Error::Config(format!("{why}; name another `data_dir`")),
                _ => Error::Unusable(why),
            });
        }
        if found.is_none() {
            own.set_origin(&origin)?;
        }
        if let Err(error) = own.start().await {
            if !error.is_damage() || logged == 0 {
                return Err(error.into());
            }
            // Once more: what one start stumbles over may be gone.
            tracing::warn!(%error, "PostgreSQL does not start; it is tried once more");
            let _ = own.stop(StopMode::Kill).await;
            own.start().await.map_err(|error| match error.is_damage() {
                true => Error::Unusable(error.to_string()),
                false => error.into(),
            })?;
        }
        let lost = own.is_fresh() && logged > 0;
        if !lost {
            return Ok((own, None));
        }
        let why = format!(
            "the PostgreSQL data directory was gone or empty, though the log knows {logged} heights"
        );
        tracing::error!(why, "PostgreSQL's data are made anew from the log");
        if let Some(rebuilds) = &self.rebuilds {
            rebuilds.done(&why)?;
        }
        Ok((own, Some(why)))
    }

    /// A fresh server in the place of the old one, which is put back if there cannot be one.
    async fn anew(
        &self,
        rebuilds: &Rebuilds,
        wish: &Wish,
        first: &View,
    ) -> Result<PostgresServer, Error> {
        let (files, old) = (rebuilds.clone(), wish.clone());
        blocking(move || files.put_aside(&old)).await?;
        let fresh = async {
            let mut own = PostgresServer::prepare(self.config.server()).await?;
            own.set_origin(&origin(first))?;
            match own.start().await {
                Ok(()) => Ok(own),
                Err(error) => {
                    let _ = own.stop(StopMode::Kill).await;
                    Err(error)
                }
            }
        };
        match fresh.await {
            Ok(own) => {
                rebuilds.done(&wish.why)?;
                Ok(own)
            }
            Err(error) => {
                tracing::error!(%error, "no fresh PostgreSQL can be made; the old data are put back");
                let (files, old) = (rebuilds.clone(), wish.clone());
                blocking(move || files.put_back(&old)).await?;
                Err(error.into())
            }
        }
    }
}

fn reached(
    address: &Address,
    token: Option<Arc<str>>,
    fingerprint: postgres::Fingerprint,
    alarm: Alarm,
) -> Result<Server, Error> {
    let token = token.ok_or_else(|| {
        Error::Config(
            "the schema steel has no capture token; was its migration interrupted?".into(),
        )
    })?;
    let watched = |target: Target| Target {
        alarm: alarm.clone(),
        ..target
    };
    Ok(Server {
        own: None,
        clients: watched(address.client("postgres", DATABASE, Some(token.clone()))),
        superuser: watched(address.control(DATABASE)),
        token,
        fingerprint,
        alarm,
        rebuilding: None,
        copy: None,
    })
}

/// PostgreSQL says that it was copied, and up to which height.
async fn has_floor(own: &PostgresServer) -> Result<bool, Error> {
    let query = async {
        let session = own.address().query(DATABASE).await?;
        let sql = "SELECT EXISTS (SELECT FROM steel.floor)";
        let row = session.client.query_one(sql, &[]).await?;
        Ok::<bool, postgres::Error>(row.get(0))
    };
    Ok(query.await?)
}

/// Names a cluster: the members that it began with and their keys.
fn origin(first: &View) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("steeldb 2026 origin of a data directory");
    for (replica, key) in &first.replicas {
        hasher.update(&replica.0.to_be_bytes());
        hasher.update(&key.0);
    }
    hasher.finalize().to_hex().to_string()
}

async fn blocking(
    work: impl FnOnce() -> Result<(), postgres::Error> + Send + 'static,
) -> Result<(), Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Error::Recovery(error.to_string())),
    }
}
