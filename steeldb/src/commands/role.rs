//! `steeldb role`: the roles that applications log in as, and which proxies may have them.

use clap::Subcommand;
use client_shim::OWNER;
use cluster::{ClientEntry, Cluster};
use serde_json::{Value, json};

use crate::commands::Where;
use crate::failure::Failure;
use crate::import::provision;
use crate::operator;

/// Make roles that applications log in as, and say which clients' keys may act as them
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a role, or change whether it may log in; what it may do comes from GRANT
    Make {
        name: String,
        /// A role that it is a member of
        #[arg(long = "member-of", value_name = "ROLE")]
        groups: Vec<String>,
        /// It is for others to be members of, or for nobody any more
        #[arg(long)]
        no_login: bool,
        #[command(flatten)]
        clients: Clients,
    },
    /// Let clients of the cluster (proxies) act as a role
    Bind {
        name: String,
        #[command(flatten)]
        clients: Clients,
    },
    /// Let them act as it no more; what they have open ends
    Unbind {
        name: String,
        #[command(flatten)]
        clients: Clients,
    },
}

#[derive(Debug, clap::Args)]
struct Clients {
    /// A client by its name or number in cluster.toml [default: all that are neither operators nor administrators]
    #[arg(long = "client", value_name = "CLIENT")]
    named: Vec<String>,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    let (name, told) = match &args.command {
        Command::Make { name, no_login, .. } => (
            name,
            if *no_login {
                "is a role that cannot log in"
            } else {
                "is a role that can log in"
            },
        ),
        Command::Bind { name, .. } => (name, "may be acted as"),
        Command::Unbind { name, .. } => (name, "may not be acted as any more"),
    };
    let requests = |cluster: &Cluster| requests(&args.command, cluster);
    provision::administer(&args.place, "the roles are as they were", requests).await?;
    println!("{name} {told}");
    Ok(())
}

fn requests(command: &Command, cluster: &Cluster) -> Result<Vec<Value>, Failure> {
    match command {
        Command::Make {
            name,
            groups,
            no_login,
            clients,
        } => {
            let mut requests = vec![json!({
                "do": "role", "name": name, "login": !no_login,
            })];
            let member = |group: &String| json!({ "do": "member", "role": group, "member": name });
            requests.extend(groups.iter().map(member));
            if !no_login {
                requests.extend(bindings(cluster, clients, name, true)?);
            }
            Ok(requests)
        }
        Command::Bind { name, clients } => bindings(cluster, clients, name, true),
        Command::Unbind { name, clients } => bindings(cluster, clients, name, false),
    }
}

fn bindings(
    cluster: &Cluster,
    clients: &Clients,
    role: &str,
    allowed: bool,
) -> Result<Vec<Value>, Failure> {
    let bound: Vec<&ClientEntry> = if clients.named.is_empty() {
        operator::applications(cluster).collect()
    } else {
        let found =
            clients.named.iter().map(|named| {
                let known = |c: &&ClientEntry| c.name == *named || c.id.to_string() == *named;
                cluster.clients.iter().find(known).ok_or_else(|| {
                    Failure::usage(format!("cluster.toml names no client {named:?}"))
                })
            });
        found.collect::<Result<_, _>>()?
    };
    // What the operators and administrators have carried out, they have carried out as the owner.
    let needed =
        |client: &&&ClientEntry| operator::applications(cluster).all(|c| c.id != client.id);
    if let Some(client) = bound
        .iter()
        .find(needed)
        .filter(|_| role == OWNER && !allowed)
    {
        return Err(Failure::usage(format!(
            "{} needs the role {role}: without it nobody could administer the cluster",
            client.name
        )));
    }
    let binding = |client: &&ClientEntry| provision::binding(client.id, role, allowed);
    Ok(bound.iter().map(binding).collect())
}
