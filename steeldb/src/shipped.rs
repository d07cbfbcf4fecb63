//! The files that `steeldb init` writes, the table of keys in docs/operations.md and the defaults in the code say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use consensus::Mode;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::initialise::{Plan, create};
use crate::layout::{Layout, Member};
use crate::proxy_file::ProxyFile;

const MANUAL: &str = include_str!("../../docs/operations.md");

/// A new cluster's configuration of one process.
fn written(member: Member) -> Table {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path()).unwrap();
    let plan = Plan {
        f: 1,
        mode: Mode::Byzantine,
        fast: BTreeSet::new(),
        replicas: (0..4)
            .map(|i| SocketAddr::from(([127, 0, 0, 1], 7400 + i)))
            .collect(),
        front: proxy::ProxyConfig::default(),
        spread: false,
        servers: Default::default(),
        shared: Default::default(),
    };
    create(&layout, &plan).unwrap();
    let text = std::fs::read_to_string(layout.config(member)).unwrap();
    toml::from_str(&text).unwrap()
}

fn read<T: DeserializeOwned>(table: &Table) -> T {
    table.clone().try_into().unwrap()
}

/// The keys that a file may have, from what is said of one that it may not have.
fn known_keys<T: DeserializeOwned>(with: Table) -> BTreeSet<String> {
    let Err(error) = with.try_into::<T>() else {
        panic!("an unknown key was taken");
    };
    let error = error.to_string();
    let (_, expected) = error
        .split_once("expected")
        .expect("it names those it knows");
    // The next line says where.
    let (expected, _) = expected.split_once('\n').unwrap_or((expected, ""));
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The rows of the manual's table below this heading: keys with their defaults.
fn documented(heading: &str) -> BTreeMap<String, String> {
    let (_, section) = MANUAL
        .split_once(heading)
        .expect("the manual has the table");
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with("| ---"));
    let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let keys = cells.flat_map(|cells| {
        let default = cells[2].trim_matches('`').to_owned();
        let names: Vec<_> = cells[1].split('`').skip(1).step_by(2).collect();
        let names = names.into_iter().map(str::to_owned);
        names
            .map(move |name| (name, default.clone()))
            .collect::<Vec<_>>()
    });
    keys.collect()
}

fn with_unknown(mut table: Table, section: Option<&str>) -> Table {
    let at = match section {
        Some(section) => table
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .expect("a section"),
        None => &mut table,
    };
    at.insert("colour".into(), Value::Boolean(true));
    table
}

#[test]
fn a_replica_that_is_told_nothing_does_what_the_manual_says() {
    let file = written(Member::Replica(2));
    let config: replica::Config = read(&file);
    let server = config.server();
    let manual = documented("### replica.toml");
    for (key, value) in [
        ("master_timeout_ms", config.master_timeout_ms().to_string()),
        (
            "request_timeout_ms",
            config.request_timeout_ms().to_string(),
        ),
        ("pipeline", config.pipeline().unwrap().to_string()),
        (
            "log_segment_mib",
            (config.log_options().unwrap().segment_bytes >> 20).to_string(),
        ),
        (
            "checkpoint_every",
            config.checkpoint_every().unwrap().to_string(),
        ),
        (
            "sequence_window",
            config.sequence_window().unwrap().to_string(),
        ),
        ("shared_buffers_mib", server.shared_buffers_mib.to_string()),
        ("max_connections", server.max_connections.to_string()),
        ("audit_every_s", config.audit_every().as_secs().to_string()),
        ("automatic", config.repairs_itself().to_string()),
        ("copy_from_height", config.copy_from_height().to_string()),
        (
            "copy_rate_mib_s",
            (config.copy_bytes_per_second() >> 20).to_string(),
        ),
    ] {
        assert_eq!(manual.get(key), Some(&value), "{key}");
    }
    let of_server = known_keys::<replica::Config>(with_unknown(file.clone(), Some("postgres")));
    let of_repair = known_keys::<replica::Config>(with_unknown(file.clone(), Some("repair")));
    let mut known = known_keys::<replica::Config>(with_unknown(file.clone(), None));
    assert!(known.remove("postgres") && known.remove("repair"));
    known.extend(of_server.into_iter().chain(of_repair));
    let named: BTreeSet<String> = manual
        .into_keys()
        .filter(|key| !key.starts_with('['))
        .collect();
    assert_eq!(
        known, named,
        "the keys of a replica's file and those in the manual"
    );
    // What is written is what must be said, and nothing that would hide a later default.
    let said: Vec<&str> = file.keys().map(String::as_str).collect();
    assert_eq!(
        said.into_iter().collect::<BTreeSet<_>>(),
        ["cluster", "data", "id", "identity"].into()
    );
}

#[test]
fn a_proxys_file_as_shipped_says_what_holds_without_it() {
    let file = written(Member::Proxy);
    let shipped: ProxyFile = read(&file);
    let mut bare = file.clone();
    bare.retain(|key, _| ["cluster", "identity"].contains(&key));
    assert_eq!(read::<ProxyFile>(&bare), shipped);
    let code = client_shim::Settings::default();
    assert_eq!(shipped.shim_settings().patience, code.patience);
    assert_eq!(shipped.shim_settings().reads, code.reads);
    assert_eq!(shipped.front, proxy::ProxyConfig::default());
    let manual = documented("### proxy.toml");
    let of_front = known_keys::<ProxyFile>(with_unknown(file.clone(), Some("front")));
    let mut known = known_keys::<ProxyFile>(with_unknown(file.clone(), None));
    assert!(known.remove("front"));
    known.extend(of_front);
    let named: BTreeSet<String> = manual
        .keys()
        .filter(|key| *key != "[front]")
        .cloned()
        .collect();
    assert_eq!(
        known, named,
        "the keys of a proxy's file and those in the manual"
    );
    let front = file["front"].as_table().unwrap();
    for (key, value) in file
        .iter()
        .chain(front)
        .filter(|(_, value)| !value.is_table())
    {
        if ["cluster", "identity"].contains(&key.as_str()) {
            continue;
        }
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(manual.get(key), Some(&value), "{key}");
    }
}

#[test]
fn a_node_of_the_library_waits_as_long_as_the_manual_says() {
    let settings = client_shim::invoker::Settings::default();
    assert_eq!(settings.patience, Duration::from_secs(30));
    let manual = include_str!("../../docs/library.md");
    assert!(manual.contains("| patience for an answer | 30 s;"));
    let window = format!("| operations under way | {}, counted", settings.window);
    assert!(manual.contains(&window), "{window}");
}
