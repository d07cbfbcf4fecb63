//! Roles, memberships and extensions: what no client may make, asked of the replicas with an administrator's signature.

use std::time::Duration;

use client_shim::{Isolation, Shim};
use cluster::Cluster;
use net::Identity;
use serde_json::{Value, json};

use super::source::Source;
use super::sql_error;
use crate::commands::Where;
use crate::failure::Failure;
use crate::members;
use crate::operator::{Operator, administrator_key, applications};
use crate::progress::Progress;

/// How long the cluster may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);

/// Requests of one transaction.
const AT_ONCE: usize = 100;

/// How often a transaction is tried again that met a change of the schema or of the master.
const TRIES: usize = 10;

/// The source's roles and memberships as requests, in the order in which they can be carried out.
pub async fn roles(source: &Source) -> Result<Vec<Value>, Failure> {
    let failed = |error| sql_error("the source's roles cannot be read", &error);
    // The verifiers are for a superuser to read.
    let password = if source.superuser {
        "(SELECT a.rolpassword FROM pg_catalog.pg_authid a WHERE a.oid = r.oid)"
    } else {
        "NULL::text"
    };
    let query = format!(
        "SELECT r.rolname::text, r.rolcanlogin, r.rolinherit, r.rolvaliduntil::text, {password},
                pg_catalog.shobj_description(r.oid, 'pg_authid')
           FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_' AND r.rolname NOT IN ('postgres', 'steel') ORDER BY 1"
    );
    let rows = source.client.query(&query, &[]).await.map_err(failed)?;
    let mut requests: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "do": "role",
                "name": row.get::<_, String>(0),
                "login": row.get::<_, bool>(1),
                "inherit": row.get::<_, bool>(2),
                "until": row.get::<_, Option<String>>(3),
                "password": row.get::<_, Option<String>>(4),
                "comment": row.get::<_, Option<String>>(5),
            })
        })
        .collect();
    let members = source
        .client
        .query(
            "SELECT DISTINCT r.rolname::text, m.rolname::text, a.admin_option FROM pg_catalog.pg_auth_members a
               JOIN pg_catalog.pg_roles r ON r.oid = a.roleid JOIN pg_catalog.pg_roles m ON m.oid = a.member
              WHERE r.rolname !~ '^pg_' AND m.rolname !~ '^pg_' AND r.rolname NOT IN ('postgres', 'steel') AND m.rolname <> 'steel'
              ORDER BY 1, 2, 3",
            &[],
        )
        .await
        .map_err(failed)?;
    requests.extend(members.iter().map(|row| {
        json!({
            "do": "member",
            "role": row.get::<_, String>(0),
            "member": row.get::<_, String>(1),
            "admin": row.get::<_, bool>(2),
        })
    }));
    Ok(requests)
}

/// What of the roles is not carried, a line each.
pub async fn notes(source: &Source) -> Result<Vec<String>, Failure> {
    let failed = |error| sql_error("the source's roles cannot be read", &error);
    let rows = source
        .client
        .query(
            "SELECT pg_catalog.quote_ident(rolname) || ' loses ' || pg_catalog.concat_ws(', ',
                    CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
                    CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
                    CASE WHEN rolbypassrls THEN 'BYPASSRLS' END, CASE WHEN rolconnlimit >= 0 THEN 'CONNECTION LIMIT' END)
               FROM pg_catalog.pg_roles
              WHERE rolname !~ '^pg_' AND rolname NOT IN ('postgres', 'steel')
                AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls OR rolconnlimit >= 0) ORDER BY 1",
            &[],
        )
        .await
        .map_err(failed)?;
    let memberships = source
        .client
        .query(
            "SELECT pg_catalog.quote_ident(m.rolname) || ' is no member of ' || pg_catalog.quote_ident(r.rolname)
               FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles r ON r.oid = a.roleid
               JOIN pg_catalog.pg_roles m ON m.oid = a.member
              WHERE (r.rolname ~ '^pg_' OR r.rolname = 'postgres') AND m.rolname !~ '^pg_' ORDER BY 1",
            &[],
        )
        .await
        .map_err(failed)?;
    let mut notes: Vec<String> = rows
        .iter()
        .chain(&memberships)
        .map(|row| format!("role {}", row.get::<_, String>(0)))
        .collect();
    if !source.superuser {
        notes.push(
            "passwords' verifiers are not carried: only a superuser of the source may read them"
                .into(),
        );
    }
    notes.push(
        "all objects belong to postgres, which owns everything in SteelDB and alone changes the schema; former owners keep their other rights, but row security holds for them too"
            .into(),
    );
    Ok(notes)
}

/// The source's extensions that can be carried.
pub async fn extensions(source: &Source) -> Result<Vec<Value>, Failure> {
    let names: Vec<&str> = migrations::EXTENSIONS.to_vec();
    let rows = source
        .client
        .query(
            "SELECT e.extname::text, n.nspname::text FROM pg_catalog.pg_extension e
               JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
              WHERE e.extname::text = ANY ($1)
              ORDER BY e.extname = 'earthdistance', 1",
            &[&names],
        )
        .await
        .map_err(|error| sql_error("the source's extensions cannot be read", &error))?;
    let request = |row: &tokio_postgres::Row| {
        json!({
            "do": "extension",
            "name": row.get::<_, String>(0),
            "schema": row.get::<_, String>(1),
        })
    };
    Ok(rows.iter().map(request).collect())
}

/// What lets applications go on as the roles that they log in as: those of `roles` that may.
pub fn bindings(roles: &[Value], cluster: &Cluster) -> Vec<Value> {
    let names = roles
        .iter()
        .filter(|request| request["do"] == "role" && request["login"] == true)
        .filter_map(|request| request["name"].as_str());
    names
        .flat_map(|role| applications(cluster).map(move |client| binding(client.id, role, true)))
        .collect()
}

/// Lets a client act as a role, or not any more.
pub fn binding(client: u32, role: &str, allowed: bool) -> Value {
    json!({ "do": "client_role", "client": client, "role": role, "allowed": allowed })
}

/// Has the replicas of a cluster that runs carry out what an administrator asks. `unchanged` says what is as it was if it fails.
pub async fn administer(
    place: &Where,
    unchanged: &str,
    requests: impl FnOnce(&Cluster) -> Result<Vec<Value>, Failure>,
) -> Result<(), Failure> {
    let layout = place.layout()?;
    let cluster = members::load(&layout)?;
    let requests = requests(&cluster)?;
    let administrator = administrator_key(&layout, &cluster)?;
    let operator = Operator::connect(&layout, &cluster).await?;
    let progress = Progress::start();
    progress.step("connecting to the replicas");
    operator.shim.ready(CONNECT).await.map_err(|error| {
        Failure::new(unchanged)
            .cause(error)
            .next(format!("steeldb status --data {}", layout.root().display()))
    })?;
    progress.step("ordering the change");
    carry_out(&operator.shim, &administrator, &requests).await
}

/// Has the replicas carry out the requests.
pub async fn carry_out(
    shim: &Shim,
    administrator: &Identity,
    requests: &[Value],
) -> Result<(), Failure> {
    for some in requests.chunks(AT_ONCE) {
        let mut tries = 0;
        while let Err(error) = transaction(shim, administrator, some).await {
            tries += 1;
            if error.sqlstate != "40001" || tries == TRIES {
                let detail = error.detail.clone().unwrap_or_default();
                return Err(Failure::new(
                    "the replicas do not carry out what an administrator asks",
                )
                .cause(format!("{error} {detail}")));
            }
        }
    }
    Ok(())
}

async fn transaction(
    shim: &Shim,
    administrator: &Identity,
    requests: &[Value],
) -> Result<(), client_shim::ShimError> {
    let mut transaction = shim.begin(Vec::new(), Isolation::Snapshot, false);
    for request in requests {
        let tx = transaction.id();
        let operation = txn::provision::sign(administrator.signing_key(), tx, &request.to_string());
        let outcome = transaction.execute(operation, false).await?;
        if let Some((sqlstate, message)) = outcome.frames.iter().find_map(|frame| error(frame)) {
            let what = request["name"].as_str().or(request["role"].as_str());
            let message = format!("{}: {message}", what.unwrap_or_default());
            return Err(client_shim::ShimError::new(&sqlstate, message));
        }
    }
    transaction.commit().await
}

/// SQLSTATE and message of an ErrorResponse.
fn error(frame: &[u8]) -> Option<(String, String)> {
    if frame.first() != Some(&b'E') {
        return None;
    }
    let field = |code: u8| {
        let fields = frame.get(5..)?.split(|byte| *byte == 0);
        let found = fields
            .into_iter()
            .find(|field| field.first() == Some(&code))?;
        Some(String::from_utf8_lossy(&found[1..]).into_owned())
    };
    Some((field(b'C')?, field(b'M')?))
}
