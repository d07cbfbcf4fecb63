//! A server that was there before: found by its DSN and checked, never started, stopped or tuned.

use tokio_postgres::config::Host;

use super::binaries::OLDEST_MAJOR;
use super::{Address, Error};

/// Finds the server that a DSN names, such as `host=/run/postgresql user=steel`, and checks that it
/// can serve a replica: its version, its encoding, that the role is a superuser, and that commits
/// are durable after a crash.
pub async fn check(dsn: &str) -> Result<Address, Error> {
    let address = parse(dsn)?;
    let unfit = |problem: String| Error::Unfit {
        server: address.socket_dir.display().to_string(),
        problem,
    };
    let session = address.query("postgres").await?;
    let row = session
        .client
        .query_one(
            "SELECT current_setting('server_version_num')::int / 10000,
                    current_setting('server_encoding'),
                    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
                    current_setting('fsync')::bool AND current_setting('full_page_writes')::bool",
            &[],
        )
        .await?;
    let major = row.get::<_, i32>(0).unsigned_abs();
    if major < OLDEST_MAJOR {
        return Err(unfit(format!(
            "it is of version {major}; {OLDEST_MAJOR} or newer is needed"
        )));
    }
    let encoding: String = row.get(1);
    if encoding != "UTF8" {
        return Err(unfit(format!(
            "its database postgres is encoded in {encoding}; make the server with initdb -E UTF8"
        )));
    }
    if !row.get::<_, bool>(2) {
        return Err(unfit(format!(
            "the role {0} is not a superuser; run: ALTER ROLE {0} SUPERUSER",
            address.superuser
        )));
    }
    if !row.get::<_, bool>(3) {
        return Err(unfit(
            "it runs with fsync or full_page_writes off and loses commits in a crash; switch them on"
                .into(),
        ));
    }
    Ok(address)
}

fn parse(dsn: &str) -> Result<Address, Error> {
    let config: tokio_postgres::Config = dsn
        .parse()
        .map_err(|error| Error::Config(format!("the DSN cannot be read: {error}")))?;
    let socket_dir = match config.get_hosts() {
        [Host::Unix(dir)] => dir.clone(),
        _ => {
            return Err(Error::Config(
                "the DSN must name one server by the directory of its Unix socket, such as \
                 host=/run/postgresql"
                    .into(),
            ));
        }
    };
    if config.get_password().is_some() {
        return Err(Error::Config(
            "the DSN holds a password; sessions of a replica carry none: allow its role by trust \
             or peer in pg_hba.conf"
                .into(),
        ));
    }
    Ok(Address {
        socket_dir,
        port: config.get_ports().first().copied().unwrap_or(5432),
        superuser: config.get_user().unwrap_or(super::SUPERUSER).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_names_one_unix_socket() {
        let address = parse("host=/run/postgresql port=5433").unwrap();
        assert_eq!((address.port, address.superuser.as_str()), (5433, "steel"));
        for (dsn, word) in [
            ("host=localhost", "Unix socket"),
            ("", "Unix socket"),
            ("host=/a password=x", "password"),
            ("host=/a nonsense", "cannot be read"),
        ] {
            let error = parse(dsn).unwrap_err().to_string();
            assert!(error.contains(word), "{dsn}: {error}");
        }
    }
}
