//! A run: terminals for a time, in a closed loop or on arrivals, then the consistency conditions.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep_until, timeout_at};

use crate::conditions;
use crate::config::Config;
use crate::error::Error;
use crate::input::{Input, Profile, Source};
use crate::load::look;
use crate::measure::{Ended, Meter, a_minute};
use crate::random::Constants;
use crate::report::run::{Condition, Event, Run, Settings};
use crate::terminal::{Context, Session, Terminal, connect};

/// Arrivals that may wait for a terminal; one more is turned away.
const WAITING: usize = 4_096;
/// How long transactions in flight may take after the end. Longer than a terminal's patience with one answer.
const SETTLE: Duration = Duration::from_secs(75);

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

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the workload on a loaded database.
///
/// # Errors
/// Where it cannot begin: too few warehouses, no connection for each terminal. What goes wrong later is counted, not
/// returned, but for conditions that cannot be asked.
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
    let sessions = try_join_all((0..config.terminals).map(|_| Session::open(&config.dsn))).await?;

    let started = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let start = Instant::now();
    let plan = Plan::new(config, start, constants);
    plan.carry_out(sessions, &progress).await?;
    let took = plan.until.map_or(start.elapsed(), |_| config.duration);
    let conditions = match config.check {
        true => conditions::check(&mut connect(&config.dsn).await?).await?,
        false => Vec::new(),
    };
    let found = plan.context.meter.found();
    let committed = |kind: Option<&crate::report::run::Kind>| kind.map_or(0, |kind| kind.committed);
    Ok(Run {
        system: config.system.clone().unwrap_or_else(|| host(&config.dsn)),
        server,
        started,
        settings: settings(config),
        // Clause 5.4.2 counts NEW-ORDERs that were completed, those rolled back for an unused item among them.
        tpm_c: a_minute(committed(found.kinds.first()), took),
        tpm_total: a_minute(found.kinds.iter().map(|kind| kind.committed).sum(), took),
        consistency: verdict(&conditions),
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

fn verdict(conditions: &[Condition]) -> String {
    let broken: Vec<String> = conditions
        .iter()
        .filter(|condition| !condition.holds)
        .map(|condition| condition.number.to_string())
        .collect();
    match (conditions.is_empty(), broken.is_empty()) {
        (true, _) => "not checked".to_owned(),
        (_, true) => "ok".to_owned(),
        _ => format!("broken: {}", broken.join(", ")),
    }
}

/// A run that has begun.
struct Plan {
    context: Arc<Context>,
    config: Config,
    constants: Constants,
    start: Instant,
    /// The measured interval's end; `None` where a count of transactions ends the run.
    until: Option<Instant>,
}

/// Input and the moment at which it arrived.
type Arrival = (Instant, Input);

impl Plan {
    fn new(config: &Config, start: Instant, constants: Constants) -> Plan {
        let (warmup, until) = match config.test.transactions {
            Some(_) => (Duration::ZERO, None),
            None => (config.warmup, Some(start + config.warmup + config.duration)),
        };
        Plan {
            context: Arc::new(Context {
                dsn: config.dsn.clone(),
                isolation: config.isolation,
                fault: config.test.fault,
                meter: Meter::new(start, warmup, until),
            }),
            config: config.clone(),
            constants,
            start,
            until,
        }
    }

    /// Until all terminals have ended.
    async fn carry_out(
        &self,
        sessions: Vec<Session>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        let terminals = sessions
            .into_iter()
            .map(|session| Terminal::new(self.context.clone(), session));
        match self.config.arrivals_per_s.zip(self.until) {
            Some((rate, until)) => {
                let (queue, arrivals) = mpsc::channel(WAITING);
                let arrivals = Arc::new(tokio::sync::Mutex::new(arrivals));
                for terminal in terminals {
                    tasks.spawn(serve(
                        self.context.clone(),
                        terminal,
                        arrivals.clone(),
                        until,
                    ));
                }
                tasks.spawn(arrive(
                    self.context.clone(),
                    self.source(0),
                    queue,
                    1.0 / rate,
                    self.start..until,
                ));
            }
            None => {
                for (number, terminal) in (0..).zip(terminals) {
                    tasks.spawn(self.closed(number).work(terminal));
                }
            }
        }
        let mut seconds = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => return Err(Error::Task(error.to_string())),
                    None => return Ok(()),
                },
                _ = seconds.tick() => {
                    let (tpm_c, retries) = self.context.meter.so_far();
                    let seconds = self.start.elapsed().as_secs_f64();
                    progress(Progress { seconds, tpm_c, retries });
                }
            }
        }
    }

    fn source(&self, number: u32) -> Source {
        Source::new(
            self.config.seed,
            number,
            self.constants,
            self.config.warehouses,
        )
    }

    fn closed(&self, number: u32) -> Closed {
        let quota = |all: u32| all.div_ceil(self.config.terminals);
        Closed {
            context: self.context.clone(),
            source: self.source(number),
            // Clause 2.8.1.1: a terminal's warehouse and district are its own for the whole run.
            warehouse: number % self.config.warehouses + 1,
            district: number / self.config.warehouses % 10 + 1,
            think_times: self.config.think_times,
            until: self.until,
            quota: self.config.test.transactions.map(quota),
        }
    }
}

/// A terminal's user, who waits for each answer.
struct Closed {
    context: Arc<Context>,
    source: Source,
    warehouse: u32,
    district: u32,
    think_times: bool,
    until: Option<Instant>,
    quota: Option<u32>,
}

impl Closed {
    async fn work(mut self, mut terminal: Terminal) {
        for done in 0.. {
            if self.quota == Some(done) {
                return;
            }
            let input = self.source.next(self.warehouse, self.district);
            let profile = input.profile();
            if self.think_times {
                self.idle(profile.keying()).await;
            }
            if self.until.is_some_and(|until| Instant::now() >= until) {
                return;
            }
            bounded(
                &self.context,
                &mut terminal,
                &input,
                Instant::now(),
                self.until,
            )
            .await;
            if self.think_times {
                let think = self.source.think(profile);
                self.idle(think).await;
            }
        }
    }

    /// For a time, but not beyond the end.
    async fn idle(&self, time: Duration) {
        let wake = Instant::now() + time;
        let wake = self.until.map_or(wake, |until| wake.min(until));
        sleep_until(wake.into()).await;
    }
}

/// Open loop: transactions arrive whether or not earlier ones have ended.
async fn arrive(
    context: Arc<Context>,
    mut source: Source,
    queue: mpsc::Sender<Arrival>,
    mean_s: f64,
    during: std::ops::Range<Instant>,
) {
    let mut at = during.start;
    loop {
        at += Duration::from_secs_f64(source.exponential(mean_s));
        if at >= during.end {
            return;
        }
        sleep_until(at.into()).await;
        let (warehouse, district) = source.place();
        let input = source.next(warehouse, district);
        let profile = input.profile();
        if queue.try_send((at, input)).is_err() {
            turn_away(&context, profile, at, "turned away: too many wait");
        }
    }
}

/// Open loop: a terminal takes what has waited longest. What still waits at the end is not served any more.
async fn serve(
    context: Arc<Context>,
    mut terminal: Terminal,
    arrivals: Arc<tokio::sync::Mutex<mpsc::Receiver<Arrival>>>,
    until: Instant,
) {
    loop {
        let next = arrivals.lock().await.recv().await;
        let Some((at, input)) = next else {
            return;
        };
        if Instant::now() < until {
            bounded(&context, &mut terminal, &input, at, Some(until)).await;
        } else {
            turn_away(&context, input.profile(), at, "still waited at the end");
        }
    }
}

/// A transaction, which ends by `SETTLE` after the run's end.
async fn bounded(
    context: &Context,
    terminal: &mut Terminal,
    input: &Input,
    since: Instant,
    until: Option<Instant>,
) {
    let work = terminal.perform(input, since);
    let Some(until) = until else {
        return work.await;
    };
    if timeout_at((until + SETTLE).into(), work).await.is_err() {
        let message = format!("no end within {SETTLE:?} after the run's end");
        context.meter.seen("none", message);
        context.meter.ended(input.profile(), since, Ended::Unknown);
    }
}

fn turn_away(context: &Context, profile: Profile, at: Instant, why: &str) {
    context.meter.seen("none", why.to_owned());
    context.meter.ended(profile, at, Ended::Failed);
}
