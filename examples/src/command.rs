//! The commands of an example.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use clap::Parser;
use client_shim::invoker::Client;
use order::node::Service;

use crate::group;

/// Replicas of a demonstration.
const REPLICAS: u16 = 4;

/// A service, and how a person speaks with it.
pub trait Example: Service + Default {
    /// What the client can be told, for people.
    const WORDS: &'static str;
    /// What the demonstration tells it.
    const SCRIPT: &'static [&'static str];

    /// Does what the words say and tells the result.
    fn speak(
        client: &Client,
        words: &[&str],
    ) -> impl Future<Output = anyhow::Result<String>> + Send;
}

#[derive(Parser)]
enum Command {
    /// Four replicas in this process, a client that uses them, one replica stopped and started again in between
    Demo,
    /// Make the files of a group of four on this machine
    Init {
        dir: PathBuf,
        /// Of the first replica; the others take those that follow
        #[arg(long, default_value_t = 7_400)]
        port: u16,
    },
    /// Run one replica of a group until Ctrl-C
    Replica { dir: PathBuf, id: u16 },
    /// Tell the service something
    Client { dir: PathBuf, words: Vec<String> },
}

/// Runs the command that this process was started with.
///
/// # Errors
/// What went wrong, with its cause.
pub fn run<E: Example>() -> anyhow::Result<()> {
    let command = Command::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        match command {
            Command::Demo => demo::<E>().await,
            Command::Init { dir, port } => {
                let ports = port..port.saturating_add(REPLICAS);
                let addresses: Vec<_> = ports.map(|p| (Ipv4Addr::LOCALHOST, p).into()).collect();
                group::init(&dir, &addresses)
            }
            Command::Replica { dir, id } => replica::<E>(&dir, id).await,
            Command::Client { dir, words } => {
                let client = group::client(&dir).await?;
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                println!("{}", E::speak(&client, &words).await?);
                client.close().await;
                Ok(())
            }
        }
    })
}

async fn replica<E: Example>(dir: &Path, id: u16) -> anyhow::Result<()> {
    let node = group::replica(dir, id, E::default()).await?;
    println!("replica {id} runs");
    tokio::select! {
        ended = node.ended() => return Ok(ended?),
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(node.shutdown().await?)
}

async fn demo<E: Example>() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    group::init(dir.path(), &free_addresses()?)?;
    let mut nodes = Vec::new();
    for id in 0..REPLICAS {
        nodes.push(group::replica(dir.path(), id, E::default()).await?);
    }
    let client = group::client(dir.path()).await?;
    println!("# four replicas run; {}", E::WORDS);
    told::<E>(&client).await?;
    if let Some(last) = nodes.pop() {
        last.shutdown().await?;
    }
    println!("# replica {} is stopped", nodes.len());
    told::<E>(&client).await?;
    nodes.push(group::replica(dir.path(), REPLICAS - 1, E::default()).await?);
    println!("# it is back, and has its state from its log and its peers");
    told::<E>(&client).await?;
    client.close().await;
    for node in nodes {
        node.shutdown().await?;
    }
    Ok(())
}

async fn told<E: Example>(client: &Client) -> anyhow::Result<()> {
    for line in E::SCRIPT {
        let words: Vec<&str> = line.split(' ').collect();
        println!("{line}: {}", E::speak(client, &words).await?);
    }
    Ok(())
}

/// Ports that nobody listened on a moment ago.
fn free_addresses() -> std::io::Result<Vec<SocketAddr>> {
    let listeners: Vec<_> = (0..REPLICAS)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}
