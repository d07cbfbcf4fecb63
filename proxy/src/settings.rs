//! The settings of one session: what it carries into its transactions, and what its client has been told.
//!
//! Sessions with PostgreSQL live for one transaction, so the front keeps the settings between them and follows
//! PostgreSQL's rules: SET holds from COMMIT on, falls with ROLLBACK (to a savepoint too), SET LOCAL ends with its
//! transaction, RESET goes back to what the startup packet said.

use crate::limits;
use crate::wire::{Fault, backend, frame};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Kept by the front and never carried: a time-out must not make replicas differ, and the encoding is always UTF8.
const KEPT: [&str; 5] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "client_encoding",
];

/// Whether the front keeps this setting to itself.
pub(crate) fn is_kept(name: &str) -> bool {
    KEPT.contains(&name)
}

/// The session's settings at one moment; cheap to copy, so that savepoints can hold one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// In the order in which they were first set.
    values: Arc<Vec<(String, String)>>,
    /// What PostgreSQL reports to a client that has these settings.
    reported: Arc<BTreeMap<String, String>>,
}

impl Settings {
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// What goes with a transaction.
    pub fn carried(&self) -> Vec<(String, String)> {
        let carried = self.values.iter().filter(|(name, _)| !is_kept(name));
        carried.cloned().collect()
    }

    pub fn names(&self) -> Vec<String> {
        self.values.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Transactions that do not say otherwise are read-only.
    pub fn read_only(&self) -> bool {
        let value = self.get("default_transaction_read_only").unwrap_or("off");
        // As PostgreSQL reads a boolean: any unambiguous beginning of on, true, yes, 1.
        let value = value.to_ascii_lowercase();
        value == "on"
            || value == "1"
            || (!value.is_empty() && ("true".starts_with(&value) || "yes".starts_with(&value)))
    }

    /// How long a statement may run.
    pub fn statement_timeout(&self) -> Option<Duration> {
        duration(self.get("statement_timeout")?)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        let values = Arc::make_mut(&mut self.values);
        match values.iter_mut().find(|(known, _)| known == name) {
            Some(found) => value.clone_into(&mut found.1),
            None => values.push((name.to_owned(), value.to_owned())),
        }
        let bytes: usize = values
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if values.len() > limits::SETTINGS || bytes > limits::SETTING_BYTES {
            return Err(Fault::error("54000", "too many session settings")
                .hint("RESET those that are not needed."));
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        Arc::make_mut(&mut self.values).retain(|(known, _)| known != name);
    }
}

/// A setting that a statement makes or undoes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Set(Vec<(String, String)>),
    Reset(String),
}

/// All of it for one session.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// What the startup packet asked for: where RESET goes back to.
    startup: Vec<(String, String)>,
    current: Settings,
    /// What the client was told last.
    told: BTreeMap<String, String>,
    /// It may differ from what the settings imply.
    unsettled: bool,
}

impl Ledger {
    /// A session that starts with `startup` on a server that reports `reported` under these settings.
    pub fn new(startup: Vec<(String, String)>, reported: Vec<(String, String)>) -> Ledger {
        let told: BTreeMap<_, _> = reported.into_iter().collect();
        Ledger {
            current: Settings {
                values: Arc::new(startup.clone()),
                reported: Arc::new(told.clone()),
            },
            startup,
            told,
            unsettled: false,
        }
    }

    pub fn current(&self) -> &Settings {
        &self.current
    }

    /// What the client has been told, by name.
    pub fn told(&self) -> impl Iterator<Item = (&String, &String)> {
        self.told.iter()
    }

    pub fn at_startup(&self, name: &str) -> Option<&str> {
        let found = self.startup.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The settings of the session are changed for good, or until a rollback.
    ///
    /// # Errors
    /// 54000 when there are too many; nothing is changed then.
    pub fn change(&mut self, change: &Change) -> Result<(), Fault> {
        let mut next = self.current.clone();
        match change {
            Change::Set(pairs) => {
                for (name, value) in pairs {
                    next.set(name, value)?;
                }
            }
            Change::Reset(name) => match self.at_startup(name) {
                Some(value) => next.set(name, &value.to_owned())?,
                None => next.remove(name),
            },
        }
        self.current = next;
        Ok(())
    }

    /// A ParameterStatus came from PostgreSQL. `lasting` when a session-level change caused it.
    /// Answers whether the client has yet to hear of it.
    pub fn reported(&mut self, status: &Bytes, lasting: bool) -> bool {
        let Some((name, value)) = frame::parameter(status) else {
            return false;
        };
        self.report(name, value, lasting)
    }

    /// As [`reported`](Self::reported), by name and value.
    pub fn report(&mut self, name: String, value: String, lasting: bool) -> bool {
        if lasting {
            Arc::make_mut(&mut self.current.reported).insert(name.clone(), value.clone());
        }
        self.unsettled |= !lasting;
        let news = self.told.get(&name) != Some(&value);
        self.told.insert(name, value);
        news
    }

    /// A rollback: the settings are again what they were then.
    pub fn restore(&mut self, settings: &Settings) {
        self.current = settings.clone();
        self.unsettled = true;
    }

    /// A transaction has ended: tells the client of every reported setting that went back.
    pub fn settle(&mut self, out: &mut BytesMut) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        for (name, value) in self.current.reported.iter() {
            if self.told.get(name) != Some(value) {
                backend::parameter_status(out, name, value);
            }
        }
        self.told = (*self.current.reported).clone();
    }
}

/// A time as PostgreSQL writes it: a number and a unit, milliseconds without one; 0 is none.
fn duration(value: &str) -> Option<Duration> {
    let value = value.trim();
    let digits = value
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(value.len());
    let number: u64 = value[..digits].parse().ok()?;
    let milliseconds = match value[digits..].trim() {
        "" | "ms" => number,
        "us" => number / 1000,
        "s" => number.saturating_mul(1000),
        "min" => number.saturating_mul(60_000),
        "h" => number.saturating_mul(3_600_000),
        "d" => number.saturating_mul(86_400_000),
        _ => return None,
    };
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.min(i32::MAX as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    fn set(name: &str, value: &str) -> Change {
        Change::Set(vec![pair(name, value)])
    }

    #[test]
    fn reset_goes_back_to_the_startup_packet() {
        let mut ledger = Ledger::new(vec![pair("timezone", "UTC")], Vec::new());
        ledger.change(&set("timezone", "CET")).unwrap();
        ledger.change(&set("work_mem", "1MB")).unwrap();
        ledger.change(&Change::Reset("timezone".into())).unwrap();
        ledger.change(&Change::Reset("work_mem".into())).unwrap();
        assert_eq!(ledger.current().carried(), [pair("timezone", "UTC")]);
    }

    #[test]
    fn the_client_hears_what_a_rollback_undid_and_only_that() {
        let mut ledger = Ledger::new(
            Vec::new(),
            vec![pair("TimeZone", "UTC"), pair("DateStyle", "ISO, MDY")],
        );
        let before = ledger.current().clone();
        ledger.change(&set("timezone", "CET")).unwrap();
        assert!(ledger.report("TimeZone".into(), "CET".into(), true));
        assert!(!ledger.report("TimeZone".into(), "CET".into(), true));
        ledger.restore(&before);
        let (mut out, mut expected) = (BytesMut::new(), BytesMut::new());
        ledger.settle(&mut out);
        backend::parameter_status(&mut expected, "TimeZone", "UTC");
        assert_eq!(out, expected);
    }

    #[test]
    fn what_was_set_locally_is_told_back_at_the_end() {
        let mut ledger = Ledger::new(Vec::new(), vec![pair("TimeZone", "UTC")]);
        assert!(ledger.report("TimeZone".into(), "CET".into(), false));
        let mut out = BytesMut::new();
        ledger.settle(&mut out);
        assert!(!out.is_empty());
    }

    #[test]
    fn time_outs_stay_at_the_front() {
        let mut ledger = Ledger::default();
        ledger.change(&set("statement_timeout", "2s")).unwrap();
        assert!(ledger.current().carried().is_empty());
        assert_eq!(
            ledger.current().statement_timeout(),
            Some(Duration::from_secs(2))
        );
        ledger.change(&set("statement_timeout", "0")).unwrap();
        assert_eq!(ledger.current().statement_timeout(), None);
    }

    #[test]
    fn settings_have_a_bound() {
        let mut ledger = Ledger::default();
        let refused = (0..1000).find(|n| ledger.change(&set(&format!("a.s{n}"), "x")).is_err());
        assert_eq!(refused, Some(limits::SETTINGS));
    }
}
