//! Roles, owner and schema of a server, brought to this version.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Address, Error};

/// The role that applications see: owner of the database `postgres`, without any privilege over the
/// server.
const ROLE: &str = "
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postgres') THEN
            CREATE ROLE postgres LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
        END IF;
        IF EXISTS (SELECT FROM pg_database d JOIN pg_roles r ON r.oid = datdba
                    WHERE datname = 'postgres' AND rolname = current_user) THEN
            ALTER DATABASE postgres OWNER TO postgres;
        END IF;
    END $$";

/// Makes what is missing: the role `postgres` with its database, and the schema `steel` in every
/// database that is no template. Returns each database's capture token. Run at every start, before
/// any client's session.
pub async fn provision(address: &Address) -> Result<BTreeMap<String, Arc<str>>, Error> {
    let control = address.query("postgres").await?;
    control.client.batch_execute(ROLE).await?;
    let databases = control
        .client
        .query(
            "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1",
            &[],
        )
        .await?;
    let mut tokens = BTreeMap::new();
    for row in databases {
        let database: String = row.get(0);
        let token = provision_database(address, &database).await?;
        tokens.insert(database, token);
    }
    Ok(tokens)
}

async fn provision_database(address: &Address, database: &str) -> Result<Arc<str>, Error> {
    let mut session = address.query(database).await?;
    let applied = migrations::migrate(&mut session.client)
        .await
        .map_err(|source| Error::Migration {
            database: database.into(),
            source,
        })?;
    if applied > 0 {
        tracing::debug!(database, applied, "migrated the schema steel");
    }
    let row = session
        .client
        .query_one("SELECT token FROM steel.secret", &[])
        .await?;
    Ok(row.get::<_, String>(0).into())
}
