//! The settings of one session: what it carries into its transactions, and what its client has been told.
//!
//! Sessions with PostgreSQL live for one transaction, so the front keeps the settings between them and follows
//! PostgreSQL's rules: SET holds from COMMIT on, falls with ROLLBACK (to a savepoint too), SET LOCAL ends with its
//! transaction, RESET goes back to what the startup packet said.

use crate::limits;
use crate::wire::{Fault, backend, frame};
use bytes::{Bytes, BytesMut};
use client_shim::{OWNER, ROLE};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Whether the front keeps this setting to itself: what matters to the connection alone, such as time-outs, must not
/// make replicas differ, and the encoding is always UTF8.
pub(crate) fn is_kept(name: &str) -> bool {
    name == "client_encoding" || !sql::travels(name)
}

/// The session's settings at one moment; cheap to copy, so that savepoints can hold one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// In the order in which they were first set.
    values: Arc<Vec<(String, String)>>,
    /// The role of the session, unless it is the owner of everything.
    role: Option<Arc<str>>,
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
        // The front alone says which role it is.
        let mine = |name: &str| is_kept(name) || name == ROLE;
        let carried = self.values.iter().filter(|(name, _)| !mine(name));
        let role = self
            .role
            .iter()
            .map(|role| (ROLE.to_owned(), role.to_string()));
        carried.cloned().chain(role).collect()
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

    /// The level of transactions that do not say otherwise.
    pub fn isolation(&self) -> sql::Isolation {
        let named = self.get("default_transaction_isolation");
        named
            .and_then(sql::Isolation::named)
            .unwrap_or(sql::Isolation::ReadCommitted)
    }

    /// Whether the client does not want notices of this severity.
    pub fn hides(&self, severity: &str) -> bool {
        const RISING: [&str; 9] = [
            "DEBUG5", "DEBUG4", "DEBUG3", "DEBUG2", "DEBUG1", "LOG", "NOTICE", "WARNING", "ERROR",
        ];
        let place = |name: &str| {
            RISING
                .iter()
                .position(|known| known.eq_ignore_ascii_case(name))
        };
        let wanted = self.get("client_min_messages").and_then(place);
        wanted.is_some_and(|wanted| place(severity).is_some_and(|found| found < wanted))
    }

    /// What SHOW says of a setting that the front keeps.
    pub fn show(&self, name: &str) -> Option<String> {
        let value = self.get(name).filter(|_| is_kept(name))?;
        let Some(time) = name
            .ends_with("_timeout")
            .then(|| milliseconds(value))
            .flatten()
        else {
            return Some(value.to_owned());
        };
        let units = [
            (86_400_000, "d"),
            (3_600_000, "h"),
            (60_000, "min"),
            (1000, "s"),
            (1, "ms"),
        ];
        let unit = units.iter().find(|(unit, _)| time > 0 && time % unit == 0);
        Some(unit.map_or("0".to_owned(), |(unit, name)| {
            format!("{}{name}", time / unit)
        }))
    }

    /// How long a statement may run.
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.time("statement_timeout")
    }

    /// How long a client may be silent, in a transaction or outside of one.
    pub fn idle_timeout(&self, in_transaction: bool) -> Option<Duration> {
        self.time(match in_transaction {
            true => "idle_in_transaction_session_timeout",
            false => "idle_session_timeout",
        })
    }

    fn time(&self, name: &str) -> Option<Duration> {
        let time = milliseconds(self.get(name)?)?;
        (time > 0).then(|| Duration::from_millis(time.min(i32::MAX as u64)))
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
    /// What PostgreSQL reported last, what a transaction set for itself included.
    live: BTreeMap<String, String>,
    /// What the client was told last.
    told: BTreeMap<String, String>,
    /// These may differ from one another.
    unsettled: bool,
}

impl Ledger {
    /// A session of a role that starts with `startup` on a server that reports `reported` under these settings.
    pub fn new(
        role: &str,
        startup: Vec<(String, String)>,
        reported: Vec<(String, String)>,
    ) -> Ledger {
        let told: BTreeMap<_, _> = reported.into_iter().collect();
        Ledger {
            current: Settings {
                values: Arc::new(startup.clone()),
                role: (role != OWNER).then(|| role.into()),
                reported: Arc::new(told.clone()),
            },
            startup,
            live: told.clone(),
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
                Some(value) => next.set(name, value)?,
                None => next.remove(name),
            },
        }
        self.current = next;
        Ok(())
    }

    /// A ParameterStatus came from PostgreSQL. `lasting` when a session-level change caused it.
    pub fn reported(&mut self, status: &Bytes, lasting: bool) {
        if let Some((name, value)) = frame::parameter(status) {
            self.report(name, value, lasting);
        }
    }

    fn report(&mut self, name: String, value: String, lasting: bool) {
        if lasting {
            Arc::make_mut(&mut self.current.reported).insert(name.clone(), value.clone());
        }
        self.live.insert(name, value);
        self.unsettled = true;
    }

    /// A rollback: the settings are again what they were then.
    pub fn restore(&mut self, settings: &Settings) {
        self.current = settings.clone();
        self.unsettled = true;
    }

    /// Tells the client of every reported setting that is not what it was told, as PostgreSQL does before each
    /// ReadyForQuery. `idle`: no transaction is open, so what one had set for itself has gone back.
    pub fn settle(&mut self, idle: bool, out: &mut BytesMut) {
        if !self.unsettled {
            return;
        }
        if idle {
            self.live = (*self.current.reported).clone();
        }
        for (name, value) in &self.live {
            if self.told.get(name) != Some(value) {
                backend::parameter_status(out, name, value);
                self.told.insert(name.clone(), value.clone());
            }
        }
        self.unsettled = !idle;
    }
}

/// A time as PostgreSQL writes it: a number and a unit, milliseconds without one.
fn milliseconds(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = value.split_at(digits.unwrap_or(value.len()));
    let number: u64 = number.parse().ok()?;
    match unit.trim() {
        "" | "ms" => Some(number),
        "us" => Some(number / 1000),
        "s" => number.checked_mul(1000),
        "min" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    }
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
    fn a_session_carries_its_own_role_and_no_other() {
        let claimed = vec![pair(ROLE, "postgres"), pair("timezone", "UTC")];
        let ledger = Ledger::new("app", claimed.clone(), Vec::new());
        let carried = ledger.current().carried();
        assert_eq!(carried, [pair("timezone", "UTC"), pair(ROLE, "app")]);
        let ledger = Ledger::new(OWNER, claimed, Vec::new());
        assert_eq!(ledger.current().carried(), [pair("timezone", "UTC")]);
    }

    #[test]
    fn reset_goes_back_to_the_startup_packet() {
        let mut ledger = Ledger::new(OWNER, vec![pair("timezone", "UTC")], Vec::new());
        ledger.change(&set("timezone", "CET")).unwrap();
        ledger.change(&set("work_mem", "1MB")).unwrap();
        ledger.change(&Change::Reset("timezone".into())).unwrap();
        ledger.change(&Change::Reset("work_mem".into())).unwrap();
        assert_eq!(ledger.current().carried(), [pair("timezone", "UTC")]);
    }

    fn settled(ledger: &mut Ledger, idle: bool) -> Vec<(String, String)> {
        let mut out = BytesMut::new();
        ledger.settle(idle, &mut out);
        let mut found = Vec::new();
        while !out.is_empty() {
            let length = u32::from_be_bytes([out[1], out[2], out[3], out[4]]) as usize;
            found.extend(frame::parameter(&out.split_to(length + 1).freeze()));
        }
        found
    }

    #[test]
    fn the_client_hears_what_a_rollback_undid_and_only_that() {
        let reported = vec![pair("TimeZone", "UTC"), pair("DateStyle", "ISO, MDY")];
        let mut ledger = Ledger::new(OWNER, Vec::new(), reported);
        let before = ledger.current().clone();
        ledger.change(&set("timezone", "CET")).unwrap();
        ledger.report("TimeZone".into(), "CET".into(), true);
        assert_eq!(settled(&mut ledger, false), [pair("TimeZone", "CET")]);
        assert_eq!(settled(&mut ledger, false), []);
        ledger.restore(&before);
        assert_eq!(settled(&mut ledger, true), [pair("TimeZone", "UTC")]);
    }

    #[test]
    fn what_was_set_locally_is_told_back_at_the_end() {
        let mut ledger = Ledger::new(OWNER, Vec::new(), vec![pair("TimeZone", "UTC")]);
        ledger.report("TimeZone".into(), "CET".into(), false);
        assert_eq!(settled(&mut ledger, false), [pair("TimeZone", "CET")]);
        assert_eq!(settled(&mut ledger, true), [pair("TimeZone", "UTC")]);
        assert_eq!(settled(&mut ledger, true), []);
    }

    #[test]
    fn messages_below_the_wanted_severity_are_hidden() {
        let mut ledger = Ledger::default();
        assert!(!ledger.current().hides("NOTICE"));
        ledger
            .change(&set("client_min_messages", "WARNING"))
            .unwrap();
        assert!(ledger.current().hides("NOTICE"));
        assert!(!ledger.current().hides("WARNING"));
        assert!(!ledger.current().hides("INFO"), "INFO is always sent");
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
        assert_eq!(
            ledger.current().show("statement_timeout").as_deref(),
            Some("2s")
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
