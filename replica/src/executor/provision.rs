//! What an administrator has done at all replicas: roles and extensions, which no client may make.
//!
//! It is an operation of an ordered transaction like any other, judged and voted on, but of one fixed text and with an
//! administrator's signature. The replica puts the token in the signature's place; `steel.provision` believes nobody without it.

use super::judge::reason;
use consensus::View;
use std::borrow::Cow;
use txn::client::Reason;
use txn::provision::{is_provision, verify};
use txn::{Operation, Step, TxId};

/// The operation as it is executed: with the token, where it is one of these.
pub fn sealed<'a>(operation: &'a Operation, token: &str) -> Cow<'a, Operation> {
    if !is_provision(operation) {
        return Cow::Borrowed(operation);
    }
    let mut sealed = operation.clone();
    if let Some(first) = sealed.parameters.first_mut() {
        *first = Some(token.to_owned().into());
    }
    Cow::Owned(sealed)
}

/// Why a transaction may not have this operation executed, if it may not.
pub fn refused(operation: &Operation, tx: TxId, view: &View) -> Option<Reason> {
    let denied = is_provision(operation) && !verify(operation, tx, view);
    denied.then(|| {
        reason(
            "42501",
            "permission denied to change roles and extensions",
            "No administrator of the cluster signed it for this transaction.",
        )
    })
}

/// The same for all steps of a transaction.
pub fn refused_steps(steps: &[Step], tx: TxId, view: &View) -> Option<Reason> {
    steps
        .iter()
        .find_map(|step| refused(&step.operation, tx, view))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use txn::provision::PROVISION;

    #[test]
    fn only_the_one_text_gets_the_token_and_only_in_its_first_parameter() {
        let mut operation = Operation::text(PROVISION);
        operation.parameters = vec![None, Some(Bytes::from_static(b"{}"))];
        let parameters = &sealed(&operation, "secret").parameters;
        assert_eq!(parameters[0].as_deref(), Some(&b"secret"[..]));
        assert_eq!(parameters[1].as_deref(), Some(&b"{}"[..]));
        for sql in ["SELECT $1::text", "SELECT steel.provision($1, $2) ", ""] {
            operation.sql = sql.into();
            assert_eq!(
                sealed(&operation, "secret").parameters,
                operation.parameters
            );
        }
    }
}
