//! Who is let in, as which role, and with which settings a session starts.

use crate::database::{Autocommit, Database};
use crate::password::{self, Passwords};
use crate::session::{set_config, utf8_only};
use crate::settings::Ledger;
use crate::startup::Startup;
use crate::wire::{Closed, Fault, Wire, backend, frame};
use bytes::Bytes;
use client_shim::{OWNER, Operation, ROLE};
use std::net::SocketAddr;

/// The one database (see DESIGN.md, the promises).
const DATABASE: &str = "postgres";

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
    if database != DATABASE {
        return Err(
            Fault::fatal("3D000", format!("database \"{database}\" does not exist"))
                .hint("Connect to the database \"postgres\"."),
        );
    }
    Ok(())
}

/// Has the client prove its role's password.
///
/// # Errors
/// 28P01 when it cannot, 08P01 when it does not speak SCRAM-SHA-256.
pub(crate) async fn authenticate(
    wire: &mut Wire,
    passwords: &Passwords,
    role: &str,
) -> Result<(), Closed> {
    let malformed = |why: &str| {
        let mut fault = Fault::protocol("malformed SCRAM message");
        fault.detail = Some(why.to_owned());
        fault
    };
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes);
        text.map(str::to_owned)
            .map_err(|_| malformed("it is not UTF-8"))
    };
    backend::authentication_sasl(&mut wire.out, password::MECHANISM);
    wire.flush().await?;
    let initial = wire.next_password().await?;
    let (mechanism, rest) = initial
        .iter()
        .position(|byte| *byte == 0)
        .map(|end| (&initial[..end], &initial[end + 1..]))
        .ok_or_else(|| malformed("the mechanism's name does not end"))?;
    if mechanism != password::MECHANISM.as_bytes() {
        let message = "client selected an invalid SASL authentication mechanism";
        return Err(Fault::protocol(message).into());
    }
    let (length, message) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| malformed("the client's first message is missing"))?;
    if usize::try_from(u32::from_be_bytes(*length)).ok() != Some(message.len()) {
        return Err(malformed("the client's first message has another length").into());
    }
    let exchange = passwords.exchange(role, &rand::random());
    let (asked, answer) = exchange.first(&text(message)?).map_err(malformed)?;
    backend::authentication_continue(&mut wire.out, answer);
    wire.flush().await?;
    let last = wire.next_password().await?;
    let Some(answer) = asked.finish(&text(&last)?).map_err(malformed)? else {
        let message = format!("password authentication failed for user \"{role}\"");
        return Err(Fault::fatal("28P01", message).into());
    };
    backend::authentication_final(&mut wire.out, answer);
    Ok(())
}

/// Has the replicas say whether the front's clients may act as this role.
///
/// # Errors
/// What they say: 28000 where there is none, 42501 where the front's key is not bound to it.
async fn may_act_as<D: Database>(database: &D, role: &str) -> Result<(), Fault> {
    let how = Autocommit::Read { unvalidated: false };
    let settings = vec![(ROLE.to_owned(), role.to_owned())];
    let question = Operation::text("SELECT 1");
    let outcome = database
        .autocommit(how, settings, question, std::future::pending())
        .await?;
    let error = outcome.frames.iter().find(|f| frame::kind(f) == b'E');
    error.map_or(Ok(()), |error| Err(refused(error)))
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
    let role = startup.user.as_str();
    if role != OWNER {
        may_act_as(database, role).await?;
        let told = |(name, _): &&mut (String, String)| name == "session_authorization";
        if let Some((_, value)) = reported.iter_mut().find(told) {
            role.clone_into(value);
        }
    }
    if asked.is_empty() {
        return Ok(Ledger::new(role, Vec::new(), reported));
    }
    let calls = asked
        .iter()
        .map(|(name, value)| set_config(name, value, false));
    let calls: Vec<_> = calls.map(|call| call.replacen("SELECT ", "", 1)).collect();
    let operation = Operation::text(format!("SELECT {}", calls.join(", ")));
    let how = Autocommit::Read { unvalidated: true };
    let acting = Vec::from_iter((role != OWNER).then(|| (ROLE.to_owned(), role.to_owned())));
    let outcome = database
        .autocommit(how, acting, operation, std::future::pending())
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
    Ok(Ledger::new(role, asked, reported))
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
