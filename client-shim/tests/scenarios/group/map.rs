//! The map that the scenarios replicate, and wrappers that are wrong, slow or broken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use order::node::{Context, Service};

/// Operations are text: `put KEY VALUE` gives the value before, `add KEY` counts and gives the number, `fill KEY LENGTH` puts as many
/// letters; the query `get KEY`.
#[derive(Default)]
pub struct Map(BTreeMap<String, String>);

impl Map {
    fn get(&self, key: &str) -> Bytes {
        self.0.get(key).cloned().unwrap_or_default().into()
    }
}

impl Service for Map {
    fn execute(&mut self, _: &Context, op: &[u8]) -> Bytes {
        let op = String::from_utf8_lossy(op);
        let words: Vec<&str> = op.split(' ').collect();
        match words[..] {
            ["put", key, value] => {
                let before = self.0.insert(key.into(), value.into());
                before.unwrap_or_default().into()
            }
            ["add", key] => {
                let count = self.0.get(key).map_or(0, |text| text.parse().unwrap_or(0)) + 1_u64;
                self.0.insert(key.into(), count.to_string());
                count.to_string().into()
            }
            ["fill", key, length] => {
                let value = "x".repeat(length.parse().unwrap_or(0));
                self.0.insert(key.into(), value.clone());
                value.into()
            }
            _ => Bytes::from_static(b"what?"),
        }
    }

    fn query(&self, op: &[u8]) -> Bytes {
        let op = String::from_utf8_lossy(op);
        op.strip_prefix("get ")
            .map_or(Bytes::from_static(b"what?"), |key| self.get(key))
    }

    fn snapshot(&self) -> Bytes {
        let pairs = self.0.iter().map(|(key, value)| format!("{key} {value}\n"));
        pairs.collect::<String>().into()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(state).map_err(|error| error.to_string())?;
        let pairs = text.lines().map(|line| line.split_once(' ').ok_or(line));
        self.0 = pairs
            .map(|pair| pair.map(|(key, value)| (key.into(), value.into())))
            .collect::<Result<_, _>>()
            .map_err(|line| format!("no pair: {line}"))?;
        Ok(())
    }
}

/// Executes as the map does and says something else.
#[derive(Default)]
pub struct Liar(Map);

impl Service for Liar {
    fn execute(&mut self, context: &Context, op: &[u8]) -> Bytes {
        let truth = self.0.execute(context, op);
        vec![b'!'; truth.len().max(1)].into()
    }

    fn query(&self, op: &[u8]) -> Bytes {
        vec![b'!'; self.0.query(op).len().max(1)].into()
    }

    fn snapshot(&self) -> Bytes {
        self.0.snapshot()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        self.0.restore(state)
    }
}

/// A door that can be shut: what comes to it waits.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn shut(&self) {
        *self.0.0.lock().unwrap() = true;
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let shut = self.0.0.lock().unwrap();
        let _open = self.0.1.wait_while(shut, |shut| *shut).unwrap();
    }
}

impl Drop for Gate {
    /// A scenario that fails must not leave a thread behind that waits for ever.
    fn drop(&mut self) {
        if Arc::strong_count(&self.0) == 2 {
            self.open();
        }
    }
}

/// A map behind a gate: execution pauses while it is shut.
pub struct Gated(pub Map, pub Gate);

impl Service for Gated {
    fn execute(&mut self, context: &Context, op: &[u8]) -> Bytes {
        self.1.pass();
        self.0.execute(context, op)
    }

    fn query(&self, op: &[u8]) -> Bytes {
        self.0.query(op)
    }

    fn snapshot(&self) -> Bytes {
        self.0.snapshot()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        self.0.restore(state)
    }
}

/// A map that panics when it is told to.
#[derive(Default)]
pub struct Fragile(Map);

impl Service for Fragile {
    fn execute(&mut self, context: &Context, op: &[u8]) -> Bytes {
        assert!(op != b"break", "a fault of the service");
        self.0.execute(context, op)
    }

    fn query(&self, op: &[u8]) -> Bytes {
        self.0.query(op)
    }

    fn snapshot(&self) -> Bytes {
        self.0.snapshot()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        self.0.restore(state)
    }
}

/// What a watched map was asked to do since its replica was started.
#[derive(Default)]
pub struct Seen {
    pub executed: AtomicU64,
    pub restored: AtomicU64,
}

/// A map that tells.
#[derive(Default)]
pub struct Watched(Map, pub Arc<Seen>);

impl Service for Watched {
    fn execute(&mut self, context: &Context, op: &[u8]) -> Bytes {
        self.1.executed.fetch_add(1, Ordering::SeqCst);
        self.0.execute(context, op)
    }

    fn query(&self, op: &[u8]) -> Bytes {
        self.0.query(op)
    }

    fn snapshot(&self) -> Bytes {
        self.0.snapshot()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        self.1.restored.fetch_add(1, Ordering::SeqCst);
        self.0.restore(state)
    }
}
