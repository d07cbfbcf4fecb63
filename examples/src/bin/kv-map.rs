//! A replicated map.

use std::collections::BTreeMap;

use bytes::Bytes;
use client_shim::invoker::Client;
use examples::Example;
use order::node::{Context, Service};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What changes the map; each gives the value before.
#[derive(Serialize, Deserialize)]
enum Change {
    Put { key: String, value: String },
    Remove { key: String },
}

/// What is asked of it.
#[derive(Serialize, Deserialize)]
enum Question {
    Get { key: String },
    Size,
}

/// The state, equal at every correct replica: an ordered map, since a hash map would iterate differently at each.
#[derive(Default)]
struct Map(BTreeMap<String, String>);

impl Service for Map {
    fn execute(&mut self, _: &Context, op: &[u8]) -> Bytes {
        encoded(&match postcard::from_bytes(op) {
            Ok(Change::Put { key, value }) => self.0.insert(key, value),
            Ok(Change::Remove { key }) => self.0.remove(&key),
            // Any bytes may come, and get the same answer everywhere.
            Err(_) => None,
        })
    }

    fn query(&self, op: &[u8]) -> Bytes {
        encoded(&match postcard::from_bytes(op) {
            Ok(Question::Get { key }) => self.0.get(&key).cloned(),
            Ok(Question::Size) => Some(self.0.len().to_string()),
            Err(_) => None,
        })
    }

    fn snapshot(&self) -> Bytes {
        encoded(&self.0)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        self.0 = decoded(state).map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl Example for Map {
    const WORDS: &'static str = "put KEY VALUE, remove KEY, get KEY, size";
    const SCRIPT: &'static [&'static str] = &[
        "put colour blue",
        "get colour",
        "put colour red",
        "remove colour",
        "size",
    ];

    async fn speak(client: &Client, words: &[&str]) -> anyhow::Result<String> {
        let text = |word: &str| word.to_owned();
        let result = match words {
            ["put", key, value] => {
                let (key, value) = (text(key), text(value));
                client.invoke(encoded(&Change::Put { key, value })).await?
            }
            ["remove", key] => {
                client
                    .invoke(encoded(&Change::Remove { key: text(key) }))
                    .await?
            }
            ["get", key] => {
                client
                    .query(encoded(&Question::Get { key: text(key) }))
                    .await?
            }
            ["size"] => client.query(encoded(&Question::Size)).await?,
            _ => anyhow::bail!("say {}", Self::WORDS),
        };
        let value: Option<String> = decoded(&result)?;
        Ok(value.unwrap_or_else(|| "(none)".into()))
    }
}

fn encoded(value: &impl Serialize) -> Bytes {
    postcard::to_stdvec(value)
        .expect("these types have no unserialisable parts")
        .into()
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(bytes)
}

fn main() -> anyhow::Result<()> {
    examples::run::<Map>()
}
