//! Hosts: their quota, what they count, and that nothing of them stays.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testbed::{Ground, Host, Network};

fn ground(cores: Option<f64>) -> Ground {
    Ground {
        base: std::env::temp_dir(),
        cores,
        network: None,
    }
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{error}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Whether this machine gives quotas to this account. Root on a machine with control groups must have them.
fn has_quota(host: &Host) -> bool {
    let text = host.quota_text();
    if text.contains(" by cgroup ") {
        return true;
    }
    eprintln!("skipped: {text}");
    false
}

fn is_there(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn a_quota_is_on_when_asked_for_and_off_before_and_after() {
    let host = Host::new("quota", "worker", &ground(Some(0.25))).unwrap();
    if !has_quota(&host) {
        assert!(
            host.set_quota(true).is_ok(),
            "without control groups it changes nothing"
        );
        return;
    }
    assert_eq!(host.quota(), None);
    host.set_quota(true).unwrap();
    assert_eq!(host.quota(), Some(0.25));
    host.set_quota(false).unwrap();
    assert_eq!(host.quota(), None);
}

#[test]
fn a_busy_loop_is_counted_and_gets_no_more_than_its_quota() {
    let host = Host::new("busy", "worker", &ground(Some(0.2))).unwrap();
    host.set_quota(true).unwrap();
    let mut spin = host
        .command("sh")
        .args(["-c", "while :; do :; done"])
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let used = host.cpu_seconds().unwrap()["worker"];
    spin.kill().unwrap();
    spin.wait().unwrap();
    // 0.4 s are its share. A machine that is busy with other tests may give it less, but something.
    assert!(used > 0.02, "{used}");
    if has_quota(&host) {
        assert!(used < 1.2, "{used}");
    }
}

#[test]
fn parts_are_counted_apart() {
    let host = Host::new("parts", "replica", &ground(None)).unwrap();
    let mut spin = host.command("sh");
    let mut child = spin.args(["-c", "while :; do :; done"]).spawn().unwrap();
    host.assign("postgresql", child.id()).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let used = loop {
        let used = host.cpu_seconds().unwrap();
        if used["postgresql"] >= 0.2 || Instant::now() > until {
            break used;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(used["postgresql"] >= 0.2, "{used:?}");
    assert!(used["replica"] < 0.2, "{used:?}");
}

#[test]
fn a_dropped_host_leaves_no_process_and_no_directory() {
    let host = Host::new("dropped", "worker", &ground(None)).unwrap();
    let (dir, name) = (host.dir().to_owned(), host.name().to_owned());
    // The middle one ends at once: the last one's parent is then not of the host.
    let line = "sh -c 'trap \"\" TERM INT; sleep 1000 >/dev/null 2>&1 & echo $!'";
    let orphan: u32 = run(host
        .command_as_account("sh")
        .args(["-c", line])
        .stdout(Stdio::piped()))
    .parse()
    .unwrap();
    let mut paused = host.command("sleep").arg("1000").spawn().unwrap();
    assert!(is_there(orphan) && is_there(paused.id()) && dir.is_dir());
    host.pause().unwrap();
    drop(host);
    paused.wait().unwrap();
    assert!(!is_there(orphan));
    assert!(!dir.exists());
    for group in ["cpu", "cpuacct", "cpu,cpuacct", "."] {
        assert!(!Path::new("/sys/fs/cgroup").join(group).join(&name).exists());
    }
}

#[test]
fn a_paused_host_does_nothing_until_it_is_resumed() {
    let host = Host::new("paused", "worker", &ground(None)).unwrap();
    let mut spin = host
        .command("sh")
        .args(["-c", "while :; do :; done"])
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while host.cpu_seconds().unwrap()["worker"] < 0.05 {
        assert!(Instant::now() < until, "it does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    host.pause().unwrap();
    let before = host.cpu_seconds().unwrap()["worker"];
    std::thread::sleep(Duration::from_millis(200));
    let paused = host.cpu_seconds().unwrap()["worker"];
    assert!(paused - before < 0.02, "{before} {paused}");
    host.resume();
    while host.cpu_seconds().unwrap()["worker"] < paused + 0.05 {
        assert!(Instant::now() < until, "it does not go on");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(host);
    spin.wait().unwrap();
}

#[test]
fn hosts_in_namespaces_reach_each_other_and_leave_none_behind() {
    let network = match Network::new() {
        Ok(network) => network,
        Err(error) if !nix::unistd::geteuid().is_root() => {
            assert!(error.to_string().contains("need root"), "{error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let ground = Ground {
        network: Some(network),
        ..ground(None)
    };
    let (one, two) = (
        Host::new("one", "w", &ground).unwrap(),
        Host::new("two", "w", &ground).unwrap(),
    );
    let seen = run(one
        .command("ip")
        .args(["-4", "-o", "addr", "show", "dev", "eth0"]));
    assert!(seen.contains(&one.address().to_string()), "{seen}");
    let mut server = two.command("python3");
    let line = format!(
        "import socket; s=socket.create_server(('{}', 7000)); print('x', flush=True); s.accept()[0].send(b'hello')",
        two.address()
    );
    let mut server = server
        .args(["-c", &line])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let line = format!(
        "import socket; print(socket.create_connection(('{}', 7000)).recv(5))",
        two.address()
    );
    assert_eq!(run(one.command("python3").args(["-c", &line])), "b'hello'");
    server.wait().unwrap();
    let name = Path::new("/run/netns").join(one.name());
    assert!(name.exists());
    drop((one, two, ground));
    assert!(!name.exists());
    let own = format!("stb{}", std::process::id());
    let interfaces = std::fs::read_dir("/sys/class/net").unwrap();
    let left = interfaces.filter(|found| {
        found
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(&own)
    });
    assert_eq!(left.count(), 0);
}

/// Whether what one host sends arrives at another within so many seconds; the sender must not hear of it either way.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn arrives(from: &Host, to: &Host, patience: u32) -> bool {
    let receive = format!(
        "import socket; s=socket.socket(type=socket.SOCK_DGRAM); s.bind(('{}', 7001)); s.settimeout({patience}); print('x', flush=True)\n\
         try: print(s.recv(9))\n\
         except TimeoutError: print('lost')",
        to.address()
    );
    let mut receiver = to.command("python3");
    let mut receiver = receiver
        .args(["-c", &receive])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(receiver.stdout.as_mut().unwrap(), &mut [0; 2]).unwrap();
    let send = format!(
        "import socket; s=socket.socket(type=socket.SOCK_DGRAM)\nfor _ in range(3): s.sendto(b'hello', ('{}', 7001))",
        to.address()
    );
    run(from.command("python3").args(["-c", &send]));
    let said = receiver.wait_with_output().unwrap().stdout;
    match String::from_utf8(said).unwrap().trim() {
        "b'hello'" => true,
        "lost" => false,
        other => panic!("{other}"),
    }
}

#[test]
fn a_cut_loses_one_direction_in_silence_until_it_is_mended() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let ground = Ground {
        network: Some(Network::new().unwrap()),
        ..ground(None)
    };
    let (one, two) = (
        Host::new("one", "w", &ground).unwrap(),
        Host::new("two", "w", &ground).unwrap(),
    );
    assert!(arrives(&one, &two, 30));
    one.lose(&[two.address()]).unwrap();
    assert!(!arrives(&one, &two, 2));
    assert!(arrives(&two, &one, 30));
    one.deliver(&[two.address()]).unwrap();
    assert!(arrives(&one, &two, 30));
}

#[test]
fn a_host_without_a_namespace_cannot_be_cut_off() {
    let host = Host::new("alone", "w", &ground(None)).unwrap();
    let refused = host.lose(&[host.address()]).unwrap_err().to_string();
    assert!(refused.contains("no network namespace"), "{refused}");
}
