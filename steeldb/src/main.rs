//! `steeldb`: the one command. DESIGN.md, "Promises to the people who use it", fixes its interface.

mod audit;
mod bench;
mod commands;
mod config_file;
mod directory;
mod failure;
mod import;
mod initialise;
mod layout;
mod lock;
mod logging;
mod members;
mod operator;
mod ports;
mod postgres;
mod process;
mod progress;
mod proxy_file;
mod ready;
mod replay;
mod replica_file;
mod report;
mod servers;
#[cfg(test)]
mod shipped;
mod signals;
mod spawn;
mod stop;
mod supervisor;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use commands::{
    down, init, kill, password, policy, proxy, receipt, reconfigure, replica, role, start, status,
    supervise, up, verify,
};

use crate::failure::Failure;

/// PostgreSQL that survives liars: 3f+1 replicas, of which f may crash, be taken over, or answer lies
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(up::Args),
    Down(down::Args),
    Status(status::Args),
    Verify(verify::Args),
    Kill(kill::Args),
    Start(start::Args),
    Init(init::Args),
    Import(commands::import::Args),
    Reconfigure(reconfigure::Args),
    Role(role::Args),
    Password(password::Args),
    Policy(policy::Args),
    Replica(replica::Args),
    Proxy(proxy::Args),
    Receipt(receipt::Args),
    Bench(bench::Args),
    #[command(hide = true)]
    Supervise(supervise::Args),
}

/// A process of the cluster hands small pieces of work from task to task all the time; where there are few cores, waking
/// another thread for each of them costs more than it brings.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match (cores / 2).min(8) {
        0 | 1 => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        workers => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build(),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&Failure::new("cannot start the runtime").cause(error)),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => complain(&failure),
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(args) => up::run(&args).await,
        Command::Down(args) => down::run(&args),
        Command::Status(args) => status::run(&args).await,
        Command::Verify(args) => verify::run(&args).await,
        Command::Kill(args) => kill::run(&args),
        Command::Start(args) => start::run(&args).await,
        Command::Init(args) => init::run(&args).await,
        Command::Import(args) => commands::import::run(&args).await,
        Command::Role(args) => role::run(&args).await,
        Command::Password(args) => password::run(&args),
        Command::Policy(args) => policy::run(&args).await,
        Command::Reconfigure(args) => reconfigure::run(&args).await,
        Command::Replica(args) => replica::run(&args).await,
        Command::Proxy(args) => proxy::run(&args).await,
        Command::Receipt(args) => receipt::run(&args).await,
        Command::Bench(args) => bench::run(&args).await,
        Command::Supervise(args) => supervise::run(&args).await,
    }
}

fn complain(failure: &Failure) -> ExitCode {
    eprintln!("steeldb: {failure}");
    ExitCode::from(failure.code())
}
