//! Statements turned into one pipelined write.

use bytes::{BufMut, Bytes, BytesMut};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use crate::prepared::{Names, Prepared, Use, may_change_schema};
use crate::{Describe, Error, Statement, Target};

/// COPY payloads from this size on are written from where they lie, in bytes.
const BY_REFERENCE: usize = 32 << 10;

/// Bytes to write, in order.
#[derive(Debug, Default)]
pub(crate) struct Request {
    buffer: BytesMut,
    full: Vec<Bytes>,
}

impl Request {
    pub fn into_segments(mut self) -> Vec<Bytes> {
        self.cut();
        self.full
    }

    fn cut(&mut self) {
        if !self.buffer.is_empty() {
            self.full.push(self.buffer.split().freeze());
        }
    }

    fn copy_data(&mut self, payload: &Bytes) {
        self.buffer.put_u8(b'd');
        self.buffer.put_u32(payload.len() as u32 + 4);
        if payload.len() < BY_REFERENCE {
            self.buffer.extend_from_slice(payload);
        } else {
            self.cut();
            self.full.push(payload.clone());
        }
    }
}

/// The log-in message.
pub(crate) fn startup(target: &Target) -> Result<Bytes, Error> {
    let mut parameters = vec![
        ("user", target.user.as_str()),
        ("database", &target.database),
        ("application_name", &target.application_name),
        ("client_encoding", "UTF8"),
    ];
    parameters.extend(target.options.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    let mut buffer = BytesMut::new();
    frontend::startup_message(parameters, &mut buffer).map_err(invalid)?;
    Ok(buffer.freeze())
}

/// A simple query, with a CopyFail behind it that ends a `COPY … FROM STDIN` and that the server
/// ignores otherwise.
pub(crate) fn simple(sql: &str) -> Result<Request, Error> {
    let mut request = Request::default();
    frontend::query(sql, &mut request.buffer).map_err(invalid)?;
    refuse_copy(sql, &mut request.buffer)?;
    Ok(request)
}

/// The pipeline for checked statements, and how each of them is sent.
///
/// COPY payloads follow their Execute at once: when the COPY was refused, the server throws them
/// away until the Sync.
pub(crate) fn pipeline(
    statements: &[Statement],
    prepared: &mut Prepared,
) -> Result<(Request, Vec<Use>), Error> {
    let mut request = Request::default();
    let mut uses: Vec<Use> = Vec::with_capacity(statements.len());
    let mut schema_may_change = false;
    for statement in statements {
        let choice = match schema_may_change {
            false => prepared.choose(statement, &uses),
            true => Use::Unnamed,
        };
        schema_may_change |= statements.len() > 1 && may_change_schema(&statement.sql);
        for orphan in prepared.take_orphans() {
            let name = prepared.on_server.of(orphan);
            frontend::close(b'S', &name, &mut request.buffer).map_err(invalid)?;
        }
        one(statement, &choice, &prepared.on_server, &mut request)?;
        uses.push(choice);
    }
    Ok((request, uses))
}

fn one(
    statement: &Statement,
    choice: &Use,
    names: &Names,
    request: &mut Request,
) -> Result<(), Error> {
    let name = match choice {
        Use::Unnamed => String::new(),
        Use::Keep(name, _) | Use::Kept(name, _) => names.of(*name),
    };
    let out = &mut request.buffer;
    if !matches!(choice, Use::Kept(..)) {
        let types = statement.parameter_types.iter().copied();
        frontend::parse(&name, &statement.sql, types, out).map_err(invalid)?;
    }
    if statement.describe == Describe::Statement {
        frontend::describe(b'S', &name, out).map_err(invalid)?;
        frontend::sync(out);
        return Ok(());
    }
    frontend::bind(
        "",
        &name,
        statement.parameter_formats.iter().copied(),
        &statement.parameters,
        |value, out| match value {
            Some(value) => {
                out.extend_from_slice(value);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        },
        statement.result_formats.iter().copied(),
        out,
    )
    .map_err(|error| match error {
        frontend::BindError::Conversion(error) => Error::Invalid(error.to_string()),
        frontend::BindError::Serialization(error) => invalid(error),
    })?;
    if statement.describe == Describe::Portal {
        frontend::describe(b'P', "", out).map_err(invalid)?;
    }
    frontend::execute("", 0, out).map_err(invalid)?;
    match &statement.copy_in {
        Some(payloads) => {
            payloads
                .iter()
                .for_each(|payload| request.copy_data(payload));
            frontend::copy_done(&mut request.buffer);
        }
        None => refuse_copy(&statement.sql, &mut request.buffer)?,
    }
    frontend::sync(&mut request.buffer);
    Ok(())
}

/// A COPY that nobody feeds would swallow the rest of the pipeline.
fn refuse_copy(sql: &str, out: &mut BytesMut) -> Result<(), Error> {
    let copies = sql
        .as_bytes()
        .windows(4)
        .any(|w| w.eq_ignore_ascii_case(b"copy"));
    if copies {
        frontend::copy_fail("no data was given", out).map_err(invalid)?;
    }
    Ok(())
}

fn invalid(error: std::io::Error) -> Error {
    Error::Invalid(error.to_string())
}
