//! Garbage and oversized frames on every port, with and without a key; configurations that nobody meant.

use crate::disconnects::connections;
use crate::raw::{Raw, message, startup};
use cluster::channel;
use harness::{Cluster, MALLORY, column};
use net::PeerId;
use peak_alloc::PeakAlloc;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Counts what this process holds. What is resident says less: it grows with every thread that happened to allocate at
/// once, and never shrinks.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// What a second flood may leave behind in this process, beyond the first (bytes).
const GROWTH: usize = 8 << 20;
/// How long old and new clients may take for their work behind a flood.
const SERVED: Duration = Duration::from_secs(5);
/// What four replicas, a proxy and the attackers may hold at once while a flood lasts (bytes).
const MOST: usize = 512 << 20;

fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill(&mut noise[..]);
    noise
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_sent_disturbs_others() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client
        .batch_execute("CREATE TABLE t (a int)")
        .await
        .unwrap();
    let idle = connections(cluster.front);
    deep_statements(&cluster).await;
    works(&cluster, &client, "after deep statements").await;
    // What the first flood leaves behind is buffers; a second one must find them again.
    flood(&cluster, &client).await;
    let held = at_rest(&cluster, idle).await;
    flood(&cluster, &client).await;
    let grown = at_rest(&cluster, idle).await.saturating_sub(held);
    assert!(grown < GROWTH, "{} MiB more than before", grown >> 20);
    let peak = HEAP.peak_usage();
    assert!(peak < MOST, "{} MiB at once", peak >> 20);
    cluster.audit().await;
    cluster.end().await;
}

/// What this process holds (bytes) once all connections of a flood are gone, everything decided is applied, and nothing more of what was
/// thrown is read and given back.
async fn at_rest(cluster: &Cluster, idle: usize) -> usize {
    let until = Instant::now() + Duration::from_secs(20);
    while connections(cluster.front) > idle {
        assert!(Instant::now() < until, "connections are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.settle().await;
    let mut held = HEAP.current_usage();
    let mut least = Instant::now();
    while least.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = HEAP.current_usage();
        if now < held {
            if held - now > 1 << 20 {
                least = Instant::now();
            }
            held = now;
        }
    }
    eprintln!(
        "{} MiB held, {} MiB at once",
        held >> 20,
        HEAP.peak_usage() >> 20
    );
    held
}

async fn flood(cluster: &Cluster, client: &Client) {
    before_log_in(cluster.front).await;
    works(cluster, client, "after garbage at log-in").await;
    after_log_in(cluster.front).await;
    works(cluster, client, "after garbage of a client").await;
    crowd(cluster.front).await;
    works(cluster, client, "after a crowd at the proxy").await;
    for replica in 0..4 {
        strangers(cluster.port_of(replica)).await;
    }
    works(cluster, client, "after strangers at the replicas").await;
    members(cluster, PeerId::Client(MALLORY.0), "mallory").await;
    works(cluster, client, "after a client's garbage at the replicas").await;
    members(cluster, PeerId::Replica(3), "r3").await;
    works(cluster, client, "after a replica's garbage").await;
}

/// An old client and a new one write and read at once.
async fn works(cluster: &Cluster, client: &Client, when: &str) {
    let work = async {
        client
            .batch_execute("INSERT INTO t VALUES (1)")
            .await
            .unwrap();
        let new = cluster.client().await;
        new.batch_execute("BEGIN; DELETE FROM t; INSERT INTO t VALUES (2); COMMIT")
            .await
            .unwrap();
        assert_eq!(column(&new, "SELECT a FROM t").await.unwrap(), ["2"]);
    };
    tokio::time::timeout(SERVED, work)
        .await
        .unwrap_or_else(|_| panic!("stuck {when}"));
}

async fn before_log_in(front: SocketAddr) {
    let mut long = vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0];
    long.extend(noise(100_000, 1));
    let attacks: [(&str, Vec<u8>); 8] = [
        ("noise", noise(65_536, 2)),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        (
            "TLS without asking",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ),
        ("a startup packet of 2 GiB", long),
        ("one of no length", vec![0, 0, 0, 0, 0, 3, 0, 0]),
        ("one of a negative length", vec![0xff; 8]),
        ("a protocol of the past", startup(131_072)),
        ("no user", vec![0, 0, 0, 9, 0, 3, 0, 0, 0]),
    ];
    for (what, bytes) in attacks {
        let mut raw = Raw::silent(front).await;
        raw.send(&bytes).await;
        raw.closed(what).await;
    }
}

async fn after_log_in(front: SocketAddr) {
    let header = |kind: u8, length: u32| {
        let mut bytes = vec![kind];
        bytes.extend(length.to_be_bytes());
        bytes
    };
    let fatal: [(&str, Vec<u8>); 7] = [
        ("a message of 2 GiB", header(b'Q', 0x7fff_ffff)),
        ("one of 4 GiB", header(b'd', u32::MAX)),
        ("one shorter than its length", header(b'Q', 3)),
        ("one of no length", header(b'S', 0)),
        ("an unknown kind", message(1, b"x")),
        ("noise", noise(65_536, 3)),
        ("a query without an end", message(b'Q', b"SELECT 1")),
    ];
    for (what, bytes) in fatal {
        let mut raw = Raw::ready(front).await;
        raw.send(&bytes).await;
        // Whatever it was, PostgreSQL may go on with it or not; with Terminate behind it, the connection must end.
        raw.send(&message(b'X', b"")).await;
        raw.closed(what).await;
    }
    let errors: [(&str, Vec<u8>); 6] = [
        (
            "bytes that are no text",
            message(b'Q', b"SELECT '\xff\xfe'\0"),
        ),
        (
            "a bind that promises 65535 values",
            [message(b'B', b"\0\0\xff\xff"), message(b'S', b"")].concat(),
        ),
        (
            "a bind of a negative length",
            [
                message(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\x00\0\0"),
                message(b'S', b""),
            ]
            .concat(),
        ),
        (
            "a portal that is not there",
            [message(b'E', b"none\0\0\0\0\0"), message(b'S', b"")].concat(),
        ),
        (
            "a parse of nothing",
            [message(b'P', b""), message(b'S', b"")].concat(),
        ),
        (
            "a describe of nothing",
            [message(b'D', b"?\0"), message(b'S', b"")].concat(),
        ),
    ];
    for (what, bytes) in errors {
        let mut raw = Raw::ready(front).await;
        raw.send(&bytes).await;
        let kinds = raw.until(b'E').await;
        assert!(!kinds.contains(&b'D'), "{what}");
        drop(raw);
    }
}

/// Statements that are nested for their own sake, at every parser on the way.
async fn deep_statements(cluster: &Cluster) {
    let client = cluster.client().await;
    let deep = 200_000;
    let (open, close) = ("(".repeat(deep), ")".repeat(deep));
    let statements = [
        format!("SELECT {open}1{close}"),
        format!("SELECT {}1", "- ".repeat(deep)),
        format!("SELECT {}1", "NOT ".repeat(deep)),
        format!("SELECT {}", "CASE WHEN true THEN ".repeat(deep)),
        format!(
            "SELECT * FROM {}t{}",
            "(SELECT * FROM ".repeat(50_000),
            ") x".repeat(50_000)
        ),
        format!("SELECT {}1{}", "ARRAY[".repeat(deep), "]".repeat(deep)),
        format!("SELECT 1 /{}", "*/".repeat(deep)),
        format!("SELECT {}", "/*".repeat(deep)),
        format!("WITH {} SELECT 1", "RECURSIVE ".repeat(deep)),
        format!("SELECT '{}'", "x".repeat(10 << 20)),
        "$".repeat(1 << 20),
        "SELECT 1;".repeat(2_000),
    ];
    for sql in statements {
        let answer = tokio::time::timeout(Duration::from_secs(30), client.simple_query(&sql)).await;
        let what: String = sql.chars().take(30).collect();
        let answer = answer.unwrap_or_else(|_| panic!("no answer to {what}…"));
        if let Err(error) = answer {
            assert!(error.as_db_error().is_some(), "{what}…: {error}");
        }
    }
}

/// More silent connections than the proxy keeps.
async fn crowd(front: SocketAddr) {
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(Raw::silent(front).await);
    }
    let mut raw = Raw::ready(front).await;
    raw.done("SELECT 1").await;
    for _ in 0..250 {
        silent.push(Raw::silent(front).await);
    }
}

/// Who has no key.
async fn strangers(port: SocketAddr) {
    let attacks: [Vec<u8>; 4] = [
        noise(1 << 20, 4),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        startup(196_608),
        [b"\x16\x03\x03\xff\xff".to_vec(), noise(1 << 17, 5)].concat(),
    ];
    for bytes in attacks {
        let mut raw = Raw::silent(port).await;
        raw.send(&bytes).await;
        raw.closed("a stranger").await;
    }
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(Raw::silent(port).await);
    }
}

/// Who has a key and sends what nobody can read.
async fn members(cluster: &Cluster, me: PeerId, name: &str) {
    let link = cluster.link(me, name).await;
    for on in [
        channel::CONSENSUS,
        channel::PEER,
        channel::BULK,
        channel::CLIENT,
        4,
        255,
    ] {
        for seed in 0..50u64 {
            link.all(on, noise(1 + 40 * seed as usize, seed));
        }
        // Every variant there may be, with lengths that promise more than comes.
        for variant in 0..32u8 {
            let mut promise = vec![variant];
            promise.extend([0xff; 9]);
            promise.push(1);
            link.all(on, promise.clone());
            promise.truncate(1);
            promise.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
            promise.extend(noise(64, u64::from(variant)));
            link.all(on, promise);
            link.all(on, vec![variant]);
            link.all(on, [vec![variant], vec![0; 200]].concat());
        }
        link.all(on, noise(8 << 20, 6));
        link.all(on, Vec::new());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    link.down().await;
}

#[test]
fn an_unknown_key_of_a_configuration_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    let replica = "id = 0\ncluster = 'c'\nidentity = 'i'\ndata = 'd'\n";
    for (text, key) in [
        ("colour = 1\n", "colour"),
        ("[postgres]\nshared_bufers_mib = 9\n", "shared_bufers_mib"),
    ] {
        std::fs::write(&file, format!("{replica}{text}")).unwrap();
        let error = replica::Config::load(&file).unwrap_err();
        assert!(error.contains(key) && error.contains("x.toml"), "{error}");
    }
    std::fs::write(
        &file,
        "f = 1\nview = 0\nreplicas = []\nclients = []\nquorum = 2\n",
    )
    .unwrap();
    let error = cluster::Cluster::load(&file).unwrap_err().to_string();
    assert!(
        error.contains("quorum") && error.contains("x.toml"),
        "{error}"
    );
    let error = toml::from_str::<proxy::ProxyConfig>("max_conections = 7")
        .unwrap_err()
        .to_string();
    assert!(error.contains("max_conections"), "{error}");
}
