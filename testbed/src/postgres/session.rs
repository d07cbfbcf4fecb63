//! Sessions of the testbed's own: to ask whether a server is ready, to prepare it, to bring it to rest.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Error;

/// The superuser that all clients are.
pub const USER: &str = "bench";

/// How long connecting and all statements of a session may take together.
const PATIENCE: Duration = Duration::from_secs(300);

/// The connection string of a database, for tokio-postgres and libpq.
pub fn dsn(address: SocketAddr, database: &str) -> String {
    format!(
        "host={} port={} user={USER} dbname={database}",
        address.ip(),
        address.port()
    )
}

/// One connection for these statements.
pub async fn execute(dsn: &str, statements: &str) -> Result<(), Error> {
    with_client(dsn, async |client| client.batch_execute(statements).await).await
}

/// One connection for this work, which may take five minutes.
pub async fn with_client<T>(
    dsn: &str,
    work: impl AsyncFnOnce(&tokio_postgres::Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, Error> {
    let all = async {
        let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls).await?;
        let work = async {
            let done = work(&client).await;
            // Without its client, the connection ends by itself.
            drop(client);
            done
        };
        let (done, _) = tokio::join!(work, connection);
        Ok(done?)
    };
    let late = |_| {
        Err(Error::new(format!(
            "the server did not answer within {PATIENCE:?}"
        )))
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .unwrap_or_else(late)
}
