//! A replicated counter.

use anyhow::Context as _;
use bytes::Bytes;
use client_shim::invoker::Client;
use examples::Example;
use order::node::{Context, Service};

/// The state, equal at every correct replica.
#[derive(Default)]
struct Counter(i64);

impl Counter {
    fn value(&self) -> Bytes {
        self.0.to_string().into()
    }
}

impl Service for Counter {
    /// Adds a number and gives the sum. Clients may send anything: what is no number adds nothing.
    fn execute(&mut self, _: &Context, op: &[u8]) -> Bytes {
        let number = std::str::from_utf8(op)
            .ok()
            .and_then(|text| text.parse().ok());
        self.0 = self.0.wrapping_add(number.unwrap_or(0));
        self.value()
    }

    fn query(&self, _: &[u8]) -> Bytes {
        self.value()
    }

    fn snapshot(&self) -> Bytes {
        self.value()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(state).map_err(|error| error.to_string())?;
        self.0 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
        Ok(())
    }
}

impl Example for Counter {
    const WORDS: &'static str = "add NUMBER, get";
    const SCRIPT: &'static [&'static str] = &["add 5", "add -2", "get"];

    async fn speak(client: &Client, words: &[&str]) -> anyhow::Result<String> {
        let result = match words {
            ["add", number] => {
                number
                    .parse::<i64>()
                    .with_context(|| format!("{number:?} is no number"))?;
                client.invoke(number.to_string()).await?
            }
            ["get"] => client.query("").await?,
            _ => anyhow::bail!("say {}", Self::WORDS),
        };
        Ok(String::from_utf8_lossy(&result).into_owned())
    }
}

fn main() -> anyhow::Result<()> {
    examples::run::<Counter>()
}
