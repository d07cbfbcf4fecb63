//! A run: terminals for a time, then the consistency conditions; and what is told of it meanwhile and after.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{StreamExt, TryStreamExt, iter};
use tokio::time::{sleep, timeout};

use crate::conditions;
use crate::config::Config;
use crate::error::Error;
use crate::load::look;
use crate::measure::a_minute;
use crate::plan::Plan;
use crate::random::Constants;
use crate::report::run::{Condition, Event, Kind, Run, Settings};
use crate::terminal::{Session, connect};

/// Terminals that connect at once.
const CONNECTING: usize = 16;
/// How often the conditions are asked for, how long an answer may take, and the time between.
const CHECKS: u32 = 5;
const CHECK: Duration = Duration::from_secs(1_800);
const PAUSE: Duration = Duration::from_secs(2);

/// What happens to the system during a run, told by whoever does it.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Mutex<Vec<(Instant, String)>>>);

/// Where a run stands; told once a second.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Since the first terminal started.
    pub seconds: f64,
    /// Of the measured interval so far; of the warm-up while it lasts.
    pub tpm_c: f64,
    pub retries: u64,
}

impl Events {
    /// Something happens now.
    pub fn mark(&self, what: impl Into<String>) {
        let event = (Instant::now(), what.into());
        self.lock().push(event);
    }

    fn since(&self, start: Instant) -> Vec<Event> {
        let at = |at: Instant| at.saturating_duration_since(start).as_secs_f64();
        let event = |(moment, what): &(Instant, String)| Event {
            at_s: at(*moment),
            what: what.clone(),
        };
        self.lock().iter().map(event).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the workload on a loaded database.
///
/// # Errors
/// Where it cannot begin: too few warehouses, no connection for each terminal. What goes wrong later is counted, not
/// returned.
pub async fn run(
    config: &Config,
    events: Events,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Run, Error> {
    sane(config)?;
    let client = connect(&config.dsn).await?;
    let loaded = look(&client).await?.0;
    let held = loaded.as_ref().map_or(0, |loaded| loaded.warehouses);
    let Some(loaded) = loaded.filter(|_| held >= config.warehouses) else {
        return Err(Error::NotLoaded {
            loaded: held,
            asked: config.warehouses,
        });
    };
    let server = client
        .query_one("SHOW server_version", &[])
        .await
        .map_err(Error::database("asking for the server's version"))?
        .get(0);
    drop(client);
    let constants = Constants::for_run(config.seed, loaded.c_last);
    let sessions: Vec<Session> = iter((0..config.terminals).map(|_| Session::open(&config.dsn)))
        .buffered(CONNECTING)
        .try_collect()
        .await?;

    let started = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let start = Instant::now();
    let plan = Plan::new(config, start, constants);
    plan.carry_out(sessions, &progress).await?;
    let took = plan.until.map_or(start.elapsed(), |_| config.duration);
    let found = plan.context.meter.found();
    let (consistency, conditions) = match config.check {
        true => consistency(config).await,
        false => ("not checked".to_owned(), Vec::new()),
    };
    let committed = |kind: Option<&Kind>| kind.map_or(0, |kind| kind.committed);
    Ok(Run {
        system: config.system.clone().unwrap_or_else(|| host(&config.dsn)),
        server,
        started,
        settings: settings(config),
        // Clause 5.4.2 counts NEW-ORDERs that were completed, those rolled back for an unused item among them.
        tpm_c: a_minute(committed(found.kinds.first()), took),
        tpm_total: a_minute(found.kinds.iter().map(|kind| kind.committed).sum(), took),
        consistency,
        conditions,
        kinds: found.kinds,
        timeline: found.timeline,
        events: events.since(start),
        errors: found.errors,
        reconnects: found.reconnects,
    })
}

fn sane(config: &Config) -> Result<(), Error> {
    let wrong = |what: &str| Err(Error::Settings(what.to_owned()));
    match config.arrivals_per_s {
        _ if config.warehouses == 0 => wrong("0 warehouses"),
        _ if config.terminals == 0 => wrong("0 terminals"),
        Some(rate) if !rate.is_finite() || rate <= 0.0 => {
            wrong("arrivals a second must be above 0")
        }
        Some(_) if config.think_times => wrong("think times have no place in an open loop"),
        Some(_) if config.test.transactions.is_some() => wrong("an open loop ends by time"),
        _ => Ok(()),
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        warehouses: config.warehouses,
        terminals: config.terminals,
        warmup_s: config.warmup.as_secs_f64(),
        duration_s: config.duration.as_secs_f64(),
        think_times: config.think_times,
        arrivals_per_s: config.arrivals_per_s,
        seed: config.seed,
        isolation: config.isolation.to_string(),
    }
}

fn host(dsn: &str) -> String {
    use tokio_postgres::config::Host;
    let parsed = dsn.parse::<tokio_postgres::Config>().unwrap_or_default();
    match parsed.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "unknown".to_owned(),
    }
}

/// After a run that broke the system, what was measured must not be lost with it: that the conditions cannot be asked is a
/// finding too.
async fn consistency(config: &Config) -> (String, Vec<Condition>) {
    let ask = async || conditions::check(&mut connect(&config.dsn).await?).await;
    let mut cause = String::new();
    for _ in 0..CHECKS {
        match timeout(CHECK, ask()).await {
            Ok(Ok(conditions)) => return (verdict(&conditions), conditions),
            Ok(Err(error)) => cause = error.to_string(),
            Err(_) => cause = format!("no answer within {CHECK:?}"),
        }
        tracing::info!(cause, "the conditions are asked for again");
        sleep(PAUSE).await;
    }
    (format!("not checked: {cause}"), Vec::new())
}

fn verdict(conditions: &[Condition]) -> String {
    let broken: Vec<String> = conditions
        .iter()
        .filter(|condition| !condition.holds)
        .map(|condition| condition.number.to_string())
        .collect();
    match broken.is_empty() {
        true => "ok".to_owned(),
        false => format!("broken: {}", broken.join(", ")),
    }
}
