//! Who does what in a run: the tasks, their inputs, their end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::interval_at;

use crate::closed::Closed;
use crate::config::Config;
use crate::error::Error;
use crate::input::Source;
use crate::measure::Meter;
use crate::open::{WAITING, arrive, serve};
use crate::random::Constants;
use crate::run::Progress;
use crate::terminal::{Context, Session, Terminal};

/// A run that has begun.
pub struct Plan {
    pub context: Arc<Context>,
    config: Config,
    constants: Constants,
    start: Instant,
    /// The measured interval's end; `None` where a count of transactions ends the run.
    pub until: Option<Instant>,
}

impl Plan {
    pub fn new(config: &Config, start: Instant, constants: Constants) -> Plan {
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
    pub async fn carry_out(
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
                let arrivals = Arc::new(Mutex::new(arrivals));
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
        let second = Duration::from_secs(1);
        let mut seconds = interval_at((self.start + second).into(), second);
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
