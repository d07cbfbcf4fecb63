//! `steeldb policy`: whether a volatile function that an extension brought may be called, at all replicas alike.

use std::time::Duration;

use serde_json::json;

use crate::commands::Where;
use crate::failure::Failure;
use crate::import::provision;
use crate::members;
use crate::operator::{Operator, administrator_key};
use crate::progress::Progress;

/// How long the cluster may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);

/// Say whether a volatile function that an extension brought may be called
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    /// The function with its schema and the types of its arguments, such as 'public.set_limit(real)'
    function: String,
    policy: Policy,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Policy {
    /// Every replica runs it and what comes of it is compared: a statement for which it gives something else somewhere aborts
    Replicated,
    /// Whoever calls it gets an error that names it
    Refused,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.place.layout()?;
    let cluster = members::load(&layout)?;
    let administrator = administrator_key(&layout, &cluster)?;
    let operator = Operator::connect(&layout, &cluster).await?;
    let progress = Progress::start();
    progress.step("connecting to the replicas");
    operator.shim.ready(CONNECT).await.map_err(|error| {
        Failure::new("the policy is as it was")
            .cause(error)
            .next(format!("steeldb status --data {}", layout.root().display()))
    })?;
    let policy = match args.policy {
        Policy::Replicated => "replicated",
        Policy::Refused => "refused",
    };
    let request = json!({
        "do": "function_policy",
        "name": args.function,
        "function": args.function,
        "policy": policy,
    });
    progress.step("ordering the change");
    provision::carry_out(&operator.shim, &administrator, &[request]).await?;
    drop(progress);
    println!("{} is {policy}", args.function);
    Ok(())
}
