//! What the administrator has done at all replicas: roles and extensions, which no client may make.
//!
//! It is an operation of an ordered transaction like any other, judged and voted on, but of one fixed text, and of an
//! administrator's transaction only. The replica puts the token in the place of its first parameter; `steel.provision`
//! believes nobody without it.

use super::judge::reason;
use consensus::{ClientId, View};
use std::borrow::Cow;
use txn::client::Reason;
use txn::{Operation, Step};

/// The text of such an operation. Its first parameter is left empty by the client, its second says what is wanted, as JSON.
pub use txn::operation::PROVISION;

/// The operation as it is executed: with the token, where it is one of these.
pub fn sealed<'a>(operation: &'a Operation, token: &str) -> Cow<'a, Operation> {
    if operation.sql != PROVISION {
        return Cow::Borrowed(operation);
    }
    let mut sealed = operation.clone();
    // A parameter too many or too few is PostgreSQL's to refuse; in its binary form a text is the same.
    if let Some(first) = sealed.parameters.first_mut() {
        *first = Some(token.to_owned().into());
    }
    Cow::Owned(sealed)
}

/// Why a client may not have this operation executed, if it may not.
pub fn refused(operation: &Operation, client: ClientId, view: &View) -> Option<Reason> {
    let denied = operation.sql == PROVISION && !view.administers(client);
    denied.then(|| {
        reason(
            "42501",
            "permission denied to change roles and extensions",
            "Only an administrator of the cluster may.",
        )
    })
}

/// The same for all steps of a transaction.
pub fn refused_steps(steps: &[Step], client: ClientId, view: &View) -> Option<Reason> {
    steps
        .iter()
        .find_map(|step| refused(&step.operation, client, view))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn only_the_one_text_gets_the_token_and_only_in_its_first_parameter() {
        let mut operation = Operation::text(PROVISION);
        operation.parameters = vec![None, Some(Bytes::from_static(b"{}"))];
        let sealed_parameters = &sealed(&operation, "secret").parameters;
        assert_eq!(sealed_parameters[0].as_deref(), Some(&b"secret"[..]));
        assert_eq!(sealed_parameters[1].as_deref(), Some(&b"{}"[..]));
        for sql in ["SELECT $1::text", "SELECT steel.provision($1, $2) ", ""] {
            operation.sql = sql.into();
            assert_eq!(sealed(&operation, "secret").parameters, operation.parameters);
        }
    }
}
