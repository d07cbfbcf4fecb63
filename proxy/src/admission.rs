//! Who is let in, and with which settings a session starts.

use crate::database::{Autocommit, Database};
use crate::session::{set_config, utf8_only};
use crate::settings::Ledger;
use crate::startup::Startup;
use crate::wire::{Fault, frame};
use bytes::Bytes;
use client_shim::Operation;
use std::net::SocketAddr;

/// The one database and its owner (see DESIGN.md, the promises).
const DATABASE: &str = "postgres";
const USER: &str = "postgres";

/// # Errors
/// 28000 or 3D000 in PostgreSQL's words.
pub(crate) fn admit(startup: &Startup, peer: SocketAddr, allow_remote: bool) -> Result<(), Fault> {
    let (user, database) = (&startup.user, &startup.database);
    if !allow_remote && !peer.ip().to_canonical().is_loopback() {
        let host = peer.ip().to_canonical();
        let message = format!(
            "no pg_hba.conf entry for host \"{host}\", user \"{user}\", database \"{database}\", no encryption"
        );
        return Err(Fault::fatal("28000", message).hint(
            "Only clients on the proxy's own machine may connect, unless `allow_remote` is set.",
        ));
    }
    if user != USER {
        return Err(
            Fault::fatal("28000", format!("role \"{user}\" does not exist"))
                .hint("Connect as the user \"postgres\"."),
        );
    }
    if database != DATABASE {
        return Err(
            Fault::fatal("3D000", format!("database \"{database}\" does not exist"))
                .hint("Connect to the database \"postgres\"."),
        );
    }
    Ok(())
}

/// Has PostgreSQL check the startup packet's settings and say what it reports with them.
///
/// # Errors
/// PostgreSQL's own, or the front's refusal of a setting.
pub(crate) async fn settings<D: Database>(
    database: &D,
    startup: &Startup,
    mut reported: Vec<(String, String)>,
) -> Result<Ledger, Fault> {
    let mut asked: Vec<(String, String)> = Vec::new();
    for (name, value) in &startup.settings {
        if name == "client_encoding" {
            utf8_only(value)?;
            continue;
        }
        allowed(name)?;
        asked.retain(|(known, _)| known != name);
        asked.push((name.clone(), value.clone()));
    }
    if asked.is_empty() {
        return Ok(Ledger::new(Vec::new(), reported));
    }
    let calls = asked
        .iter()
        .map(|(name, value)| set_config(name, value, false));
    let calls: Vec<_> = calls.map(|call| call.replacen("SELECT ", "", 1)).collect();
    let operation = Operation::text(format!("SELECT {}", calls.join(", ")));
    let how = Autocommit::Read { unvalidated: true };
    let outcome = database
        .autocommit(how, Vec::new(), operation, std::future::pending())
        .await?;
    for found in &outcome.frames {
        match frame::kind(found) {
            b'E' => return Err(refused(found)),
            b'S' => {
                if let Some((name, value)) = frame::parameter(found) {
                    reported.retain(|(known, _)| *known != name);
                    reported.push((name, value));
                }
            }
            b'D' => {
                for (column, (_, value)) in asked.iter_mut().enumerate() {
                    if let Some(canonical) = frame::text_column(found, column) {
                        canonical.clone_into(value);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(Ledger::new(asked, reported))
}

/// Whether a session may have this setting, by the rules for SET.
fn allowed(name: &str) -> Result<(), Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain)
    {
        return Err(Fault::error(
            "42704",
            format!("unrecognized configuration parameter \"{name}\""),
        ));
    }
    sql::statement(&format!("SET {name} TO DEFAULT"))?;
    Ok(())
}

fn refused(error: &Bytes) -> Fault {
    let text = |code| frame::field(error, code).map(str::to_owned);
    Fault {
        detail: text(b'D'),
        hint: text(b'H'),
        ..Fault::error(
            text(b'C').unwrap_or_default(),
            text(b'M').unwrap_or_default(),
        )
    }
}
