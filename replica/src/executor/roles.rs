//! Which role a client acts as: `postgres`, the one role that proxies authenticate.
//!
//! A client's settings travel with what it has ordered, and PostgreSQL would take a role among them if `postgres` is a member of
//! it. No proxy sends one; a client that speaks for itself may not either, whichever replica it asks.

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
            "The keys of clients are bound to the role postgres: leave the setting out.",
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
