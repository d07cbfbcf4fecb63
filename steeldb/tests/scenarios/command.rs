//! The command's own manners: exit codes, clear errors, repeated commands.

use crate::support;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::support::Cluster;

#[test]
fn commands_on_a_cluster_that_is_not_there_say_how_to_make_one() {
    let cluster = Cluster::absent();
    for command in [
        vec!["down"],
        vec!["status"],
        vec!["verify"],
        vec!["kill", "--replica", "0"],
    ] {
        let said = cluster.refuse(&command, 1);
        assert!(
            said.contains("no cluster") && said.contains("steeldb up"),
            "{said}"
        );
    }
    cluster.refuse(&["conquer"], 2);
    cluster.refuse(&["up", "--f", "0"], 2);
}

#[test]
fn a_taken_port_is_named_before_anything_is_written() {
    let cluster = Cluster::absent();
    let holder = TcpListener::bind(("127.0.0.1", cluster.port)).unwrap();
    let port = cluster.port.to_string();
    let said = cluster.refuse(&["up", "--detach", "--port", &port], 1);
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
    assert!(!cluster.data().exists());
    drop(holder);
}

#[test]
fn an_unknown_configuration_key_is_named_with_its_file() {
    let cluster = Cluster::absent();
    cluster.succeed(&["init"]);
    for (file, command) in [
        ("replica-0/replica.toml", "replica"),
        ("proxy/proxy.toml", "proxy"),
    ] {
        let path = cluster.data().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("colour = \"red\"\n{text}")).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_steeldb"))
            .args([command, "--config"])
            .arg(&path)
            .output()
            .unwrap();
        let said = support::text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("colour") && said.contains(path.to_str().unwrap()),
            "{said}"
        );
    }
}

#[test]
fn a_running_cluster_bears_repeated_commands_and_garbage_and_shows_tampering() {
    let cluster = Cluster::start();
    let said = cluster.run(&["up", "--detach"]);
    assert!(said.status.success());
    assert!(support::text(&said.stderr).contains("running already"));
    assert_eq!(
        support::text(&said.stdout),
        format!("psql \"{}\"\n", cluster.url())
    );
    cluster.refuse(&["kill", "--replica", "4"], 2);
    cluster.refuse(&["init"], 1);

    let status = cluster.status();
    assert_eq!(status["replicas"].as_array().unwrap().len(), 4);
    assert!(
        status["leader"].is_u64() && status["master"].is_u64() && status["height"].is_u64(),
        "{status}"
    );
    let mut ports: Vec<u16> = (0..4)
        .map(|id| port_of(&status["replicas"][id]["address"]))
        .collect();
    ports.push(cluster.port);
    for port in ports {
        throw_garbage(port);
    }

    cluster.program(
        "psql",
        &[
            "-X",
            "-c",
            "CREATE TABLE ledger AS SELECT 1 AS id, 100 AS amount",
            "-d",
        ],
    );
    assert!(cluster.verify().contains("public.ledger"));
    cluster.tamper(
        2,
        "SET session_replication_role = replica; UPDATE ledger SET amount = 1000000",
    );
    let said = cluster.refuse(&["verify"], 1);
    assert!(
        said.contains("public.ledger") && said.contains("replica 2 holds"),
        "{said}"
    );
    cluster.succeed(&["kill", "--replica", "1"]);
    let said = cluster.refuse(&["verify"], 1);
    assert!(said.contains("replica 1 did not answer"), "{said}");
    // Its cluster file is not that of the others: it would take requests otherwise than they do.
    let ours = std::fs::read_to_string(cluster.data().join("cluster.toml")).unwrap();
    let theirs = format!("client_authentication = \"macs\"\n{ours}");
    std::fs::write(cluster.data().join("other.toml"), theirs).unwrap();
    let file = cluster.data().join("replica-1/replica.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    assert!(config.contains("../cluster.toml"), "{config}");
    std::fs::write(&file, config.replace("../cluster.toml", "../other.toml")).unwrap();
    let said = cluster.refuse(&["start", "--replica", "1", "--timeout", "60"], 1);
    assert!(said.contains("replica 1"), "{said}");
    let log = std::fs::read_to_string(cluster.data().join("logs/replica-1.log")).unwrap();
    assert!(
        log.contains("client_authentication: macs here, signatures there"),
        "{log}"
    );
}

fn port_of(address: &serde_json::Value) -> u16 {
    address
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// Garbage, and a length that nobody means: the connection is closed, and that is all.
fn throw_garbage(port: u16) {
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 4096],
        &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0],
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // Whoever does not log in has 30 s at the proxy.
        stream
            .set_read_timeout(Some(Duration::from_secs(90)))
            .unwrap();
        // The other side may have closed before it has read all.
        let _ = stream.write_all(garbage);
        let mut rest = Vec::new();
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset,
                "port {port} is still open"
            );
        }
    }
}
