//! `steeldb policy`: whether a volatile function that an extension brought may be called, at all replicas alike.

use serde_json::json;

use crate::commands::Where;
use crate::failure::Failure;
use crate::import::provision;

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
    let unchanged = "the policy is as it was";
    provision::administer(&args.place, unchanged, |_| Ok(vec![request])).await?;
    println!("{} is {policy}", args.function);
    Ok(())
}
