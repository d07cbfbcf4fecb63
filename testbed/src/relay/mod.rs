//! A relay that delays: TCP connections to it go on to a server as if that were far away.
//!
//! Order is kept, and bandwidth is unlimited up to `IN_FLIGHT` bytes on the way in each direction of a connection; who
//! sends more waits, as behind a full window. The end of one direction is passed on by itself, after its delay. Opening a
//! connection takes a round trip before its first byte travels. Each relay has a thread of its own, so that the load of
//! the process around it does not shift its delays, and its CPU time can be told from a client's.

mod direction;
mod timer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Error;
use timer::Timer;

/// Connections at a time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 1000;

/// How long a delay stays as drawn. Delays of a path drift rather than shake: a new draw for each segment would, with order
/// kept, only make the greatest of many draws the rule.
const DRIFT: Duration = Duration::from_millis(100);

/// The time a message takes one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delay {
    pub mean: Duration,
    /// Standard deviation; zero for a constant delay.
    pub deviation: Duration,
}

/// The delays of a connection: from its opener to the server and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    pub there: Delay,
    pub back: Delay,
}

/// A listening relay. Dropped, it ends with its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    counters: Arc<Counters>,
    /// The kernel's number of the relay's thread.
    thread: i32,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

/// Bytes passed on, to the server and back.
#[derive(Debug, Default)]
struct Counters {
    there: AtomicU64,
    back: AtomicU64,
}

impl Relay {
    /// Listens on `listen` (port 0: a free one) for connections to `server`. Equal seeds draw equal jitter.
    pub fn start(
        listen: SocketAddr,
        server: SocketAddr,
        link: Link,
        seed: u64,
    ) -> Result<Relay, Error> {
        let failed = || Error::io("relay to", server);
        let listener =
            std::net::TcpListener::bind(listen).map_err(Error::io("listen on", listen))?;
        listener.set_nonblocking(true).map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(failed())?;
        let counters = Arc::new(Counters::default());
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let listening = Listening {
            server,
            link,
            seed,
            counters: Arc::clone(&counters),
        };
        let run = move || {
            let _ = tell.send(nix::unistd::gettid().as_raw());
            runtime.block_on(async {
                tokio::select! {
                    () = listening.run(listener) => {}
                    _ = stopped => {}
                }
            });
        };
        let running = std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(run)
            .map_err(failed())?;
        Ok(Relay {
            address,
            counters,
            thread: told.recv().map_err(Error::io("start a relay to", server))?,
            stop: Some(stop),
            running: Some(running),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes passed on so far: to the server, and back.
    pub fn bytes(&self) -> (u64, u64) {
        (
            self.counters.there.load(Relaxed),
            self.counters.back.load(Relaxed),
        )
    }

    /// CPU seconds of the relay's thread, which are no work of any system.
    pub fn cpu_seconds(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.thread));
        let nanos = text
            .ok()
            .and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        nanos.unwrap_or(0.0) / 1e9
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Its end is seen by the thread, which drops all connections.
        drop(self.stop.take());
        if let Some(running) = self.running.take()
            && running.join().is_err()
        {
            tracing::error!(address = %self.address, "a relay has panicked");
        }
    }
}

struct Listening {
    server: SocketAddr,
    link: Link,
    seed: u64,
    counters: Arc<Counters>,
}

impl Listening {
    async fn run(self, listener: std::net::TcpListener) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a relay cannot listen"),
        };
        let mut connections = JoinSet::new();
        let mut seed = self.seed << 32;
        loop {
            tokio::select! {
                accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((opener, _)) => {
                        seed += 2;
                        let (server, link, counters) = (self.server, self.link, Arc::clone(&self.counters));
                        connections.spawn(async move {
                            if let Err(error) = connection(opener, server, link, seed, &counters).await {
                                tracing::debug!(%server, %error, "a relayed connection broke");
                            }
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a relay cannot accept");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(ended) = connections.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "a relayed connection has panicked");
                },
            }
        }
    }
}

/// One connection, until both directions have ended or one has broken: then both are cut.
async fn connection(
    mut opener: TcpStream,
    server: SocketAddr,
    link: Link,
    seed: u64,
    counters: &Counters,
) -> std::io::Result<()> {
    let (mut there, mut back) = (Path::new(link.there, seed), Path::new(link.back, seed + 1));
    let opened = Instant::now() + there.delay() + back.delay();
    Timer::new()?.until(opened).await?;
    let mut server = TcpStream::connect(server).await?;
    opener.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_opener, to_opener) = opener.split();
    let (from_server, to_server) = server.split();
    tokio::try_join!(
        direction::run(from_opener, to_server, there, &counters.there),
        direction::run(from_server, to_opener, back, &counters.back),
    )?;
    Ok(())
}

/// Draws the delays of one direction.
struct Path {
    delay: Delay,
    draws: StdRng,
    drawn: Option<(Instant, Duration)>,
}

impl Path {
    fn new(delay: Delay, seed: u64) -> Path {
        Path {
            delay,
            draws: StdRng::seed_from_u64(seed),
            drawn: None,
        }
    }

    /// The delay of what leaves now.
    fn delay(&mut self) -> Duration {
        let now = Instant::now();
        match self.drawn {
            Some((when, delay)) if now < when + DRIFT => delay,
            _ => {
                let delay = draw(self.delay, &mut self.draws);
                self.drawn = Some((now, delay));
                delay
            }
        }
    }
}

/// A normally distributed delay that is never negative: twelve uniform draws have variance 1 together.
fn draw(delay: Delay, draws: &mut impl Rng) -> Duration {
    if delay.deviation.is_zero() {
        return delay.mean;
    }
    let normal = (0..12).map(|_| draws.random::<f64>()).sum::<f64>() - 6.0;
    let seconds = delay.mean.as_secs_f64() + normal * delay.deviation.as_secs_f64();
    Duration::from_secs_f64(seconds.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_has_the_deviation_asked_for_and_equal_seeds_draw_equal_delays() {
        let ms = Duration::from_millis;
        let delay = Delay {
            mean: ms(100),
            deviation: ms(10),
        };
        let drawn = |seed| -> Vec<f64> {
            let mut draws = StdRng::seed_from_u64(seed);
            (0..4000)
                .map(|_| draw(delay, &mut draws).as_secs_f64() * 1000.0)
                .collect()
        };
        let values = drawn(1);
        let mean = values.iter().sum::<f64>() / 4000.0;
        let variance = values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / 4000.0;
        assert!((mean - 100.0).abs() < 1.0, "{mean}");
        assert!((variance.sqrt() - 10.0).abs() < 0.7, "{variance}");
        assert_eq!(values, drawn(1));
        assert_ne!(values, drawn(2));
    }
}
