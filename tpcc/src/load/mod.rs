//! Loads what is missing: nothing where a load of as many warehouses is complete, all of it where it is not.

mod chunk;
mod copy;
mod insert;
mod rows;

use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout;
use tokio_postgres::Client;

use crate::config::Config;
use crate::error::{Error, said};
use crate::random::Constants;
use crate::schema::{COMPLETE, CREATE, MARK, TABLES};
use crate::terminal::{connect, sqlstate};

/// What is in the database.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Maybe more than were asked for.
    pub warehouses: u32,
    /// With which it was loaded.
    pub seed: u64,
    /// C for C_LAST of the load (Clause 2.1.6.1).
    pub c_last: u32,
    /// Rows loaded now; 0 where all were there.
    pub rows: u64,
    pub took: Duration,
}

/// How often a DDL step is begun again that a conflict ended.
const RETRIES: u32 = 20;
/// For one DDL step: a foreign key is checked against all rows.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Loads `config.warehouses` warehouses where they are not there. `progress` hears of rows done, of so many.
///
/// # Errors
/// `Foreign` where a table has a TPC-C name and no mark of ours: nothing is touched then.
pub async fn load(
    config: &Config,
    progress: impl Fn(u64, u64) + Send + Sync,
) -> Result<Loaded, Error> {
    if config.warehouses == 0 {
        return Err(Error::Settings("0 warehouses".to_owned()));
    }
    let began = Instant::now();
    let mut client = connect(&config.dsn).await?;
    let (loaded, tables) = look(&client).await?;
    if let Some(loaded) = loaded.filter(|loaded| loaded.warehouses >= config.warehouses) {
        return Ok(loaded);
    }
    if !tables.is_empty() {
        let drop = format!("DROP TABLE {}", tables.join(", "));
        ddl(&mut client, &[&drop]).await?;
    }
    let c_last = Constants::last_for_load(config.seed);
    ddl(&mut client, &CREATE).await?;
    client
        .execute(
            "INSERT INTO tpcc_load VALUES ($1, $2, $3, $4, false)",
            &[
                &(config.warehouses as i32),
                &config.seed.cast_signed(),
                &(c_last as i32),
                &SystemTime::now(),
            ],
        )
        .await
        .map_err(Error::database("marking the tables as TPC-C's"))?;
    let order = copy::Order {
        dsn: &config.dsn,
        seed: config.seed,
        warehouses: config.warehouses,
        by: config.load_by,
        progress: &progress,
    };
    let rows = copy::all(&order).await?;
    for step in COMPLETE {
        ddl(&mut client, &[step]).await?;
    }
    // Without statistics the planner's choices, and so the measurement, depend on when autovacuum comes.
    for table in TABLES {
        ddl(&mut client, &[&format!("ANALYZE {table}")]).await?;
    }
    ddl(&mut client, &["UPDATE tpcc_load SET complete = true"]).await?;
    Ok(Loaded {
        warehouses: config.warehouses,
        seed: config.seed,
        c_last,
        rows,
        took: began.elapsed(),
    })
}

/// What a complete load left, if there is one, and which of its tables are there, in the order in which they can be
/// dropped.
pub(crate) async fn look(client: &Client) -> Result<(Option<Loaded>, Vec<&'static str>), Error> {
    let failed = |what: &str| Error::database(format!("looking for TPC-C's tables: {what}"));
    let rows = client
        .query(
            "SELECT tablename::text FROM pg_catalog.pg_tables WHERE schemaname = 'public'",
            &[],
        )
        .await
        .map_err(failed("the catalog"))?;
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let there = |table: &&str| names.iter().any(|name| name == table);
    let mut tables: Vec<&str> = TABLES.into_iter().filter(there).collect();
    if !there(&MARK) {
        return match tables.first() {
            Some(table) => Err(Error::Foreign((*table).to_owned())),
            None => Ok((None, tables)),
        };
    }
    let mark = client
        .query(
            "SELECT warehouses, seed, c_last, complete FROM tpcc_load",
            &[],
        )
        .await
        .map_err(|_| Error::Foreign(MARK.to_owned()))?;
    let complete = mark.first().filter(|mark| mark.get::<_, bool>(3));
    let loaded = complete.filter(|_| tables.len() == TABLES.len());
    tables.push(MARK);
    let Some(loaded) = loaded else {
        return Ok((None, tables));
    };
    let count = client
        .query_one("SELECT count(*) FROM warehouse", &[])
        .await
        .map_err(failed("warehouse"))?;
    let warehouses: i32 = loaded.get(0);
    let loaded = Loaded {
        warehouses: warehouses.cast_unsigned(),
        seed: loaded.get::<_, i64>(1).cast_unsigned(),
        c_last: loaded.get::<_, i32>(2).cast_unsigned(),
        rows: 0,
        took: Duration::ZERO,
    };
    let whole = count.get::<_, i64>(0) == i64::from(warehouses);
    Ok((whole.then_some(loaded), tables))
}

/// Statements of one transaction; a lone one is its own (ANALYZE may be none's). Begun again when others' work was in its
/// way.
async fn ddl(client: &mut Client, statements: &[&str]) -> Result<(), Error> {
    let what = statements[0].split('(').next().unwrap_or_default().trim();
    let mut tries = 0;
    loop {
        let work = async {
            match statements {
                [one] => client.batch_execute(one).await,
                several => together(client, several).await,
            }
        };
        match timeout(PATIENCE, work).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if sqlstate(&error).starts_with("40") && tries < RETRIES => {
                tries += 1;
                tracing::info!(error = said(&error), "begun again");
            }
            Ok(Err(error)) => return Err(Error::database(what)(error)),
            Err(_) => {
                return Err(Error::Database {
                    what: what.to_owned(),
                    cause: format!("no answer within {PATIENCE:?}"),
                });
            }
        }
    }
}

async fn together(client: &mut Client, statements: &[&str]) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    for statement in statements {
        transaction.batch_execute(statement).await?;
    }
    transaction.commit().await
}
