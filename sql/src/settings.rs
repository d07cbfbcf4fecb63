//! SET, RESET, SHOW: session settings as (name, value) pairs that can travel with a transaction.

use crate::lexer::TokenKind;
use crate::reader::{Problem, Reader, denied, unsupported};
use crate::statement::{Isolation, Kind, Modes, Refusal};
use crate::tokens::Tokens;
use crate::transaction;

/// A SET and its like, understood.
pub(crate) struct Setting {
    pub(crate) kind: Kind,
    pub(crate) pairs: Option<Vec<(String, String)>>,
    pub(crate) tag: Option<&'static str>,
}

/// Settings that PostgreSQL 15 reports to the client with ParameterStatus when they change.
const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "datestyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "intervalstyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "timezone",
];

/// Settings of the one connection, which mean nothing (or harm) at a replica that judges: time-outs, and
/// which messages the client wants to see.
const CONNECTION_ONLY: &[&str] = &[
    "client_min_messages",
    "deadlock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "statement_timeout",
    "transaction_timeout",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "client_connection_check_interval",
    "log_min_messages",
];

/// Settings whose list elements are quoted as identifiers (`GUC_LIST_QUOTE`).
const QUOTED_LISTS: &[&str] = &[
    "search_path",
    "temp_tablespaces",
    "local_preload_libraries",
    "session_preload_libraries",
];

/// Does a change of this setting (in lower case) reach the client as a ParameterStatus?
pub fn reported(name: &str) -> bool {
    REPORTED.contains(&name)
}

/// Does this setting (in lower case) travel with the transaction and hold at every replica?
pub fn travels(name: &str) -> bool {
    !CONNECTION_ONLY.contains(&name)
}

/// `SET …`
pub(crate) fn set(mut r: Reader<'_>) -> Result<Setting, Problem> {
    r.at += 1;
    if r.eat(&["constraints"]) {
        return Ok(Setting {
            kind: Kind::Write,
            pairs: None,
            tag: None,
        });
    }
    if r.eat(&["transaction", "snapshot"]) {
        return Err(unsupported(
            "SET TRANSACTION SNAPSHOT",
            "Every transaction takes its snapshot at its place in the total order.",
        )
        .into());
    }
    if r.eat(&["session", "characteristics"]) {
        r.expect(&["as", "transaction"])?;
        let pairs = characteristics(transaction::modes(&mut r)?);
        return Ok(Setting {
            kind: Kind::Set {
                name: "session characteristics".into(),
                local: false,
            },
            pairs: Some(pairs),
            tag: Some("SET"),
        });
    }
    // SET LOCAL TRANSACTION does not differ from SET TRANSACTION.
    let local = r.eat(&["local"]);
    if !local && !r.tokens.words(r.at, &["session", "authorization"]) {
        r.eat(&["session"]);
    }
    if r.tokens.word(r.at, "transaction")
        && !r.tokens.symbol(r.at + 1, "=")
        && !r.tokens.word(r.at + 1, "to")
    {
        r.at += 1;
        let modes = transaction::modes(&mut r)?;
        return Ok(Setting {
            kind: Kind::SetTransaction(modes),
            pairs: None,
            tag: Some("SET"),
        });
    }
    let (name, value) = assignment(&mut r)?;
    r.end()?;
    check(&name, value.as_deref())?;
    Ok(match value {
        None => Setting {
            kind: Kind::Reset {
                name: Some(name),
                local,
            },
            pairs: None,
            tag: Some("SET"),
        },
        Some(value) => match transaction_modes(&name, &value) {
            Some(modes) => Setting {
                kind: Kind::SetTransaction(modes),
                pairs: None,
                tag: Some("SET"),
            },
            None => Setting {
                kind: Kind::Set {
                    name: name.clone(),
                    local,
                },
                pairs: Some(vec![(name, value)]),
                tag: Some("SET"),
            },
        },
    })
}

/// `RESET …`
pub(crate) fn reset(mut r: Reader<'_>) -> Result<Setting, Problem> {
    r.at += 1;
    let name = match r.eat(&["all"]) {
        true => None,
        false => Some(setting_name(&mut r)?),
    };
    r.end()?;
    if let Some(name) = &name {
        check(name, None)?;
    }
    Ok(Setting {
        kind: Kind::Reset { name, local: false },
        pairs: None,
        tag: Some("RESET"),
    })
}

/// `SHOW …`
pub(crate) fn show(mut r: Reader<'_>) -> Result<Kind, Problem> {
    r.at += 1;
    let name = setting_name(&mut r)?;
    r.end()?;
    if name.starts_with("steel.") && name != "steel.receipt" {
        return Err(denied(&format!("to examine \"{name}\""), "").into());
    }
    Ok(Kind::Show { name })
}

/// A lone `SELECT set_config('name', 'value', false)`, as pg_dump writes it.
pub(crate) fn set_config(tokens: Tokens<'_>) -> Option<(String, String)> {
    let at = if tokens.words(1, &["pg_catalog"]) && tokens.symbol(2, ".") {
        3
    } else {
        1
    };
    let shape = tokens.word(0, "select")
        && tokens.word(at, "set_config")
        && tokens.symbol(at + 1, "(")
        && tokens.symbol(at + 3, ",")
        && tokens.symbol(at + 5, ",")
        && tokens.word(at + 6, "false")
        && tokens.symbol(at + 7, ")")
        && tokens.len() == at + 8;
    shape
        .then(|| {
            Some((
                tokens.string(at + 2)?.to_ascii_lowercase(),
                tokens.string(at + 4)?,
            ))
        })
        .flatten()
}

/// Names with a spelling of their own, or a dotted name; in lower case.
fn setting_name(r: &mut Reader<'_>) -> Result<String, Problem> {
    for (words, name) in [
        (&["time", "zone"][..], "timezone"),
        (&["session", "authorization"], "session_authorization"),
        (
            &["transaction", "isolation", "level"],
            "transaction_isolation",
        ),
    ] {
        if r.eat(words) {
            return Ok(name.into());
        }
    }
    let (parts, next) = r
        .tokens
        .qualified(r.at)
        .ok_or_else(|| r.tokens.syntax_error(r.at))?;
    r.at = next;
    Ok(parts.join(".").to_ascii_lowercase())
}

/// Name and value (`None`: the default) of a SET.
fn assignment(r: &mut Reader<'_>) -> Result<(String, Option<String>), Problem> {
    if r.eat(&["time", "zone"]) {
        let value = match r.eat_any(&["local", "default"]) {
            true => None,
            false => Some(zone(r)?),
        };
        return Ok(("timezone".into(), value));
    }
    for (words, name) in [
        (&["schema"][..], "search_path"),
        (&["names"], "client_encoding"),
        (&["role"], "role"),
        (&["session", "authorization"], "session_authorization"),
        (&["xml", "option"], "xmloption"),
    ] {
        let follows = r.at + words.len();
        if r.tokens.symbol(follows, "=") || r.tokens.word(follows, "to") || !r.eat(words) {
            continue;
        }
        if r.eat(&["default"]) || (name == "client_encoding" && r.done()) {
            return Ok((name.into(), None));
        }
        let value = element(r)?.text;
        let none = name == "role" && value == "none";
        let value = if name == "search_path" {
            quote_identifier(&value)
        } else {
            value
        };
        return Ok((name.into(), Some(value).filter(|_| !none)));
    }
    let name = setting_name(r)?;
    if !r.eat_symbol("=") && !r.eat(&["to"]) {
        return Err(r.tokens.syntax_error(r.at).into());
    }
    if r.eat(&["default"]) {
        return Ok((name, None));
    }
    let quoted = QUOTED_LISTS.contains(&name.as_str());
    let mut elements = Vec::new();
    loop {
        let Element { text, number } = element(r)?;
        elements.push(if quoted && !number {
            quote_identifier(&text)
        } else {
            text
        });
        if !r.eat_symbol(",") {
            break;
        }
    }
    Ok((name, Some(elements.join(", "))))
}

struct Element {
    text: String,
    number: bool,
}

/// One value: a word (in lower case unless quoted), a string, or a number with its sign.
fn element(r: &mut Reader<'_>) -> Result<Element, Problem> {
    let minus = r.eat_symbol("-");
    if minus || r.eat_symbol("+") || r.tokens.kind(r.at) == Some(TokenKind::Number) {
        if r.tokens.kind(r.at) != Some(TokenKind::Number) {
            return Err(r.tokens.syntax_error(r.at).into());
        }
        let text = format!("{}{}", if minus { "-" } else { "" }, r.tokens.text(r.at));
        r.at += 1;
        return Ok(Element { text, number: true });
    }
    let value = match r.tokens.is_string(r.at) {
        true => r.tokens.string(r.at),
        false => r.tokens.name(r.at),
    };
    let text = value.ok_or_else(|| r.tokens.syntax_error(r.at))?;
    r.at = r.tokens.after(r.at);
    Ok(Element {
        text,
        number: false,
    })
}

/// The value of SET TIME ZONE.
fn zone(r: &mut Reader<'_>) -> Result<String, Problem> {
    if !r.eat(&["interval"]) {
        return Ok(element(r)?.text);
    }
    let hours = element(r)?.text;
    let plain = r.done() || r.eat(&["hour", "to", "minute"]);
    match plain && !hours.contains('\'') {
        true => Ok(format!("INTERVAL '{hours}'")),
        false => Err(unsupported(
            "this form of SET TIME ZONE INTERVAL",
            "Name the time zone, or write INTERVAL '+02:00' HOUR TO MINUTE.",
        )
        .into()),
    }
}

fn characteristics(modes: Modes) -> Vec<(String, String)> {
    let on = |value: bool| if value { "on" } else { "off" }.to_string();
    let mut pairs = Vec::new();
    if let Some(level) = modes.isolation {
        pairs.push(("default_transaction_isolation".into(), level.name().into()));
    }
    if let Some(value) = modes.read_only {
        pairs.push(("default_transaction_read_only".into(), on(value)));
    }
    if let Some(value) = modes.deferrable {
        pairs.push(("default_transaction_deferrable".into(), on(value)));
    }
    pairs
}

/// SET transaction_isolation = … and its like are SET TRANSACTION.
fn transaction_modes(name: &str, value: &str) -> Option<Modes> {
    let mut modes = Modes::default();
    match name {
        "transaction_isolation" => modes.isolation = Some(Isolation::named(value)?),
        "transaction_read_only" => modes.read_only = Some(boolean(value)?),
        "transaction_deferrable" => modes.deferrable = Some(boolean(value)?),
        _ => return None,
    }
    Some(modes)
}

/// A boolean setting's value, with PostgreSQL's abbreviations.
fn boolean(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let short_for = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
    if short_for("true", 1) || short_for("yes", 1) || value == "on" || value == "1" {
        Some(true)
    } else if short_for("false", 1) || short_for("no", 1) || short_for("off", 2) || value == "0" {
        Some(false)
    } else {
        None
    }
}

/// Refuses settings that are the replica's own, or that would break the equality of replicas.
/// `value` is `None` for the default.
pub(crate) fn check(name: &str, value: Option<&str>) -> Result<(), Refusal> {
    if name.starts_with("steel.") {
        return Err(denied(&format!("to set parameter \"{name}\""), ""));
    }
    let Some(value) = value else { return Ok(()) };
    match name {
        "session_replication_role" if !value.eq_ignore_ascii_case("origin") => Err(denied(
            &format!("to set parameter \"{name}\""),
            "Triggers always fire; load the data in an order that satisfies its foreign keys.",
        )),
        "role" if value.eq_ignore_ascii_case("none") => Ok(()),
        "role" | "session_authorization" => Err(unsupported(
            &format!("SET {name}"),
            "Connect as the role that is to run the statements.",
        )),
        "client_encoding" => {
            let letters: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            match letters.to_ascii_lowercase().as_str() {
                "utf8" | "unicode" => Ok(()),
                _ => Err(unsupported(
                    &format!("the client encoding \"{value}\""),
                    "Set client_encoding to UTF8 and convert in the client.",
                )),
            }
        }
        "standard_conforming_strings" if boolean(value) != Some(true) => Err(unsupported(
            "standard_conforming_strings = off",
            "Write strings with backslash escapes as E'…'.",
        )),
        "search_path"
            if value
                .split(',')
                .any(|part| part.trim().trim_matches('"') == "steel") =>
        {
            Err(denied(
                "for schema steel",
                "Leave steel out of search_path.",
            ))
        }
        _ => Ok(()),
    }
}

fn quote_identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain {
        name.to_string()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}
