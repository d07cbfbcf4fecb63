//! Comparisons: turns, what stands still meanwhile, who is left out, and a real one with pgbench.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use testbed::compare::{Meter, Outcome, Workload};
use testbed::pgbench::Pgbench;
use testbed::{Daemon, Error, Ground, Host, Later, Links, Lone, Settings, Setup, System, compare};

#[expect(clippy::unwrap_used, reason = "a test may panic")]
fn setup(base: &Path, cores: Option<f64>) -> Setup {
    let ground = Ground {
        base: base.to_owned(),
        cores,
        network: None,
    };
    Setup {
        ground,
        links: Links::none(),
        client_site: 0,
        settings: Settings::found().unwrap(),
    }
}

#[expect(clippy::unwrap_used, reason = "a test may panic")]
fn base() -> tempfile::TempDir {
    let all = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().permissions(all).tempdir().unwrap()
}

/// A system that only spins; its connection string is its process.
struct Spinner {
    name: &'static str,
    ground: Ground,
    running: Option<(Daemon, Host)>,
}

impl Spinner {
    fn boxed(name: &'static str, ground: &Ground) -> Box<dyn System> {
        let (ground, running) = (ground.clone(), None);
        Box::new(Spinner {
            name,
            ground,
            running,
        })
    }
}

impl System for Spinner {
    fn name(&self) -> &str {
        self.name
    }

    fn description(&self) -> String {
        "a loop".to_owned()
    }

    fn start(&mut self) -> Later<'_, Result<(), Error>> {
        Box::pin(async {
            if self.name == "broken" {
                return Err(Error::new("it is broken").next("mend it"));
            }
            let host = Host::new(self.name, "worker", &self.ground)?;
            let mut command = host.command("sh");
            command.args(["-c", "while :; do :; done"]);
            let daemon = Daemon::start(&host, "loop", command, Signal::SIGTERM)?;
            while host.cpu_seconds()?["worker"] < 0.02 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            self.running = Some((daemon, host));
            Ok(())
        })
    }

    fn dsn(&self) -> String {
        let running = self.running.as_ref();
        running.map_or_else(String::new, |(daemon, _)| daemon.pid().to_string())
    }

    fn hosts(&self) -> Vec<&Host> {
        self.running.iter().map(|(_, host)| host).collect()
    }

    fn settle(&self) -> Later<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn stop(&mut self) -> Later<'_, Result<(), Error>> {
        Box::pin(async {
            match self.running.take() {
                Some((daemon, _host)) => daemon.stop().await,
                None => Ok(()),
            }
        })
    }
}

/// Looks which processes stand still while a system is measured. `b` fails the second time.
#[derive(Default)]
struct Look {
    processes: BTreeMap<String, String>,
    turns: Vec<String>,
}

#[expect(clippy::unwrap_used, reason = "a test may panic")]
fn stands_still(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .unwrap()
        .contains(") T ")
}

impl Workload for Look {
    fn describe(&self) -> String {
        "look".to_owned()
    }

    fn prepare<'a>(&'a mut self, system: &'a str, dsn: &'a str) -> Later<'a, Result<(), Error>> {
        self.processes.insert(system.to_owned(), dsn.to_owned());
        Box::pin(async { Ok(()) })
    }

    fn measure<'a>(
        &'a mut self,
        system: &'a str,
        _: &'a str,
        meter: &'a mut Meter<'_>,
    ) -> Later<'a, Result<Outcome, Error>> {
        Box::pin(async move {
            for (name, pid) in &self.processes {
                assert_eq!(
                    stands_still(pid),
                    name != system,
                    "{name} while {system} is measured"
                );
            }
            let second = self.turns.iter().any(|before| before == system);
            self.turns.push(system.to_owned());
            if system == "b" && second {
                return Err(Error::new("b is tired"));
            }
            meter.begin()?;
            tokio::time::sleep(Duration::from_millis(300)).await;
            meter.end()?;
            // After the interval: it must not count.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let metrics = [("turn".to_owned(), self.turns.len() as f64)].into();
            Ok(Outcome {
                metrics,
                committed: 10,
            })
        })
    }
}

#[tokio::test]
async fn systems_take_turns_and_the_others_stand_still() {
    let base = base();
    let setup = setup(base.path(), None);
    let systems = ["a", "b", "broken", "c"].map(|name| Spinner::boxed(name, &setup.ground));
    let mut look = Look::default();
    let mut said = Vec::new();
    let mut say = |line: &str| said.push(line.to_owned());
    let comparison = compare(systems.into(), 3, &mut look, &setup, &mut say)
        .await
        .unwrap();
    assert_eq!(look.turns, ["a", "b", "c", "b", "c", "a", "c", "a"]);
    assert_eq!(comparison.skipped["broken"], "it is broken; next: mend it");
    assert_eq!(comparison.skipped["b"], "failed in round 2: b is tired");
    let rounds: Vec<(&str, usize)> = comparison
        .systems
        .iter()
        .map(|one| (one.system.as_str(), one.rounds.len()))
        .collect();
    assert_eq!(rounds, [("a", 3), ("b", 1), ("c", 3)]);
    assert!(
        said.iter()
            .any(|line| line.starts_with("c: round 3: turn 7.00")),
        "{said:?}"
    );
    for round in comparison.systems.iter().flat_map(|one| &one.rounds) {
        let spun = round.cpu_seconds["worker"];
        // A loop cannot use more than the time that passed; 600 ms had passed at the end of the round.
        assert!(spun > 0.0 && spun < 0.55, "{round:?}");
        assert!(round.cpu_seconds["client"] >= 0.0);
    }
    let ratio = comparison.ratio("c", "turn").unwrap();
    assert_eq!((ratio.min, ratio.max), (5.0 / 6.0, 3.0));
    assert_eq!(comparison.machine.links, "loopback");
    assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_measures_a_lone_server_and_its_processor_time() {
    let base = base();
    let setup = setup(base.path(), Some(0.5));
    let mut pgbench = Pgbench::new(&setup.settings, 3, 2);
    let systems: Vec<Box<dyn System>> = vec![Box::new(Lone::new(setup.clone()))];
    let comparison = compare(systems, 1, &mut pgbench, &setup, &mut |line| {
        println!("{line}")
    })
    .await
    .unwrap();
    assert!(comparison.skipped.is_empty(), "{:?}", comparison.skipped);
    let measured = &comparison.systems[0];
    let metric = |name: &str| measured.spread(name).unwrap().median;
    assert!(metric("tps") > 0.0 && measured.rounds[0].committed > 0);
    assert!(metric("latency_p50_ms") > 0.0 && metric("latency_p50_ms") <= metric("latency_p99_ms"));
    assert!((0.0..1.0).contains(&metric("abort_rate")), "{measured:?}");
    let cpu = &measured.rounds[0].cpu_seconds;
    assert!(cpu["postgresql"] > 0.0 && cpu["client"] > 0.0, "{cpu:?}");
    assert!(measured.cpu_ms_per_transaction(None).unwrap().median > 0.0);
    if comparison.machine.quota.contains("by cgroup") {
        assert!(comparison.machine.quota.starts_with("0.50 cores"));
        // Half a core for some 2 s; it may run a little over at both ends.
        assert!(cpu["postgresql"] < 2.0, "{cpu:?}");
    }
    assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
}
