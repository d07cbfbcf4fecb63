//! Which role a client acts as: the one that it names by [`txn::ordered::ROLE`], as which its session logs in, if its key is bound to it
//! (V35, decision 32).
//!
//! A client's settings travel with what it has ordered, and PostgreSQL would take another role among them if the one that logged in is a
//! member of it. No proxy sends one; a client that speaks for itself may not either, whichever replica it asks.

use super::judge::reason;
use consensus::ClientId;
use txn::Ordered;
use txn::client::Reason;
use txn::ordered::SessionSettings;

/// Why a client may not act with these settings, if it may not.
pub fn refused(client: ClientId, settings: &SessionSettings) -> Option<Reason> {
    let names = |(name, _): &&(String, String)| {
        ["role", "session_authorization"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
    };
    settings.iter().find(names).map(|(_, role)| {
        reason(
            "42501",
            format!("client {client} may not act as the role {role:?}"),
            "A session logs in as the role that its client's key is bound to: leave the setting out.",
        )
    })
}

/// The same for a request of the order.
pub fn refused_request(client: ClientId, ordered: &Ordered) -> Option<Reason> {
    match ordered {
        Ordered::Begin(begin) => refused(client, &begin.settings),
        Ordered::Auto(auto) => refused(client, &auto.settings),
        Ordered::Exec(exec) => refused(client, &exec.settings),
        _ => None,
    }
}
