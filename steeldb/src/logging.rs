//! What a long-running process says: one line an event, on standard error, quiet by default.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// `STEELDB_LOG` filters (`info`, `replica=debug`, …; default `warn`), `STEELDB_LOG_FORMAT=json` writes JSON.
pub fn start() -> Result<(), Failure> {
    start_with("warn")
}

/// As [`start`], for a person at the terminal: that links are not up yet is shown by the progress.
pub fn start_at_terminal() -> Result<(), Failure> {
    start_with("warn,net=error")
}

fn start_with(default: &str) -> Result<(), Failure> {
    let filter = match std::env::var("STEELDB_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).map_err(|error| {
            Failure::usage(format!("STEELDB_LOG={text:?} is no log filter"))
                .cause(error)
                .next("set it to error, warn, info, debug, or to a list such as warn,replica=debug")
        })?,
        _ => EnvFilter::new(default),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match std::env::var("STEELDB_LOG_FORMAT").as_deref() {
        Ok("json") => lines.json().flatten_event(true).init(),
        Ok("text" | "") | Err(_) => lines.init(),
        Ok(other) => {
            return Err(
                Failure::usage(format!("STEELDB_LOG_FORMAT={other:?} is not known"))
                    .next("set it to json or text"),
            );
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(%panic, "panic: a defect, please report it");
    }));
    Ok(())
}
