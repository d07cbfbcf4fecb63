//! The operations as SQL, and what came back.

use isolation::{Bank, Op};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

/// The tables, with the bank's money in them.
pub fn schema(bank: &Bank) -> String {
    format!(
        "CREATE TABLE lists (key int8 PRIMARY KEY, vals int8[] NOT NULL);
         CREATE TABLE registers (key int8 PRIMARY KEY, val int8 NOT NULL);
         CREATE TABLE accounts (id int8 PRIMARY KEY, balance int8 NOT NULL);
         CREATE TABLE pairs (pair int8, side int8, on_duty bool NOT NULL, PRIMARY KEY (pair, side));
         CREATE SEQUENCE numbers;
         CREATE TABLE tickets (id bigserial PRIMARY KEY, session int8 NOT NULL);
         INSERT INTO accounts SELECT a, {} FROM generate_series(0, {}) AS a",
        bank.balance,
        bank.accounts - 1
    )
}

const UPSERT_LIST: &str = "INSERT INTO lists (key, vals) VALUES ($1, ARRAY[$2]) \
    ON CONFLICT (key) DO UPDATE SET vals = lists.vals || excluded.vals";
const UPSERT_REGISTER: &str = "INSERT INTO registers (key, val) VALUES ($1, $2) \
    ON CONFLICT (key) DO UPDATE SET val = excluded.val";
const UPSERT_SIDE: &str = "INSERT INTO pairs (pair, side, on_duty) VALUES ($1, $2, false) \
    ON CONFLICT (pair, side) DO UPDATE SET on_duty = false";
const BOTH_ON_DUTY: &str = "INSERT INTO pairs (pair, side, on_duty) VALUES ($1, 0, true), ($1, 1, true) \
    ON CONFLICT (pair, side) DO UPDATE SET on_duty = true";

/// A connection that runs operations.
pub struct Sql<'a> {
    pub client: &'a Client,
    /// Whether it is in a transaction, where one operation may be several statements.
    pub transaction: bool,
}

impl Sql<'_> {
    /// Runs one; what it saw stands in it afterwards.
    pub async fn run(&self, op: &mut Op, session: u64) -> Result<(), Error> {
        match op {
            Op::Append { key, value } => self.append(*key as i64, *value as i64).await?,
            Op::List { key, seen } => {
                let rows = self.query("SELECT vals FROM lists WHERE key = $1", [*key as i64]);
                let vals = rows.await?.first().map(|row| row.get::<_, Vec<i64>>(0));
                let vals = vals.unwrap_or_default().into_iter();
                *seen = Some(vals.map(|value| value as u64).collect());
            }
            Op::Write { key, value } => {
                let values = [*key as i64, *value as i64];
                self.query(UPSERT_REGISTER, values).await?;
            }
            Op::Read { key, seen } => {
                let rows = self.query("SELECT val FROM registers WHERE key = $1", [*key as i64]);
                *seen = Some(first(&rows.await?).unwrap_or(0) as u64);
            }
            Op::Transfer {
                from,
                to,
                amount,
                seen,
            } => *seen = Some(self.transfer(*from as i64, *to as i64, *amount).await?),
            Op::Balances { seen } => *seen = Some(self.balances().await?),
            Op::Leave { pair, side, seen } => {
                let both = self.duty(*pair as i64).await?;
                *seen = Some(both);
                if both == [true; 2] {
                    let values = [*pair as i64, i64::from(*side)];
                    self.query(UPSERT_SIDE, values).await?;
                }
            }
            Op::Return { pair } => {
                self.query(BOTH_ON_DUTY, [*pair as i64]).await?;
            }
            Op::Watch { pair, seen } => *seen = Some(self.duty(*pair as i64).await?),
            Op::Number { seen } => {
                *seen = first(&self.query("SELECT nextval('numbers')", []).await?);
            }
            Op::Ticket { seen } => {
                let insert = "INSERT INTO tickets (session) VALUES ($1) RETURNING id";
                *seen = first(&self.query(insert, [session as i64]).await?);
            }
            Op::Tickets { seen } => {
                let rows = self.query("SELECT id FROM tickets ORDER BY id", []).await?;
                *seen = Some(rows.iter().map(|row| row.get(0)).collect());
            }
        }
        Ok(())
    }

    /// Upserts, or updates and then inserts what was not there.
    async fn append(&self, key: i64, value: i64) -> Result<(), Error> {
        let values = [key, value];
        if !self.transaction || value % 2 == 0 {
            return self.query(UPSERT_LIST, values).await.map(drop);
        }
        let update = "UPDATE lists SET vals = vals || $2 WHERE key = $1 RETURNING key";
        if self.query(update, values).await?.is_empty() {
            let insert = "INSERT INTO lists (key, vals) VALUES ($1, ARRAY[$2])";
            self.query(insert, values).await?;
        }
        Ok(())
    }

    /// Writes what it computed from what it read, so that a lost update loses money.
    async fn transfer(&self, from: i64, to: i64, amount: i64) -> Result<(i64, i64), Error> {
        let read = "SELECT balance FROM accounts WHERE id = $1";
        let a = first(&self.query(read, [from]).await?).unwrap_or(0);
        let b = first(&self.query(read, [to]).await?).unwrap_or(0);
        if a >= amount {
            let write = "UPDATE accounts SET balance = $2 WHERE id = $1";
            self.query(write, [from, a - amount]).await?;
            self.query(write, [to, b + amount]).await?;
        }
        Ok((a, b))
    }

    async fn balances(&self) -> Result<Vec<i64>, Error> {
        let all = "SELECT balance FROM accounts ORDER BY id";
        let halves = [
            "SELECT balance FROM accounts WHERE id % 2 = 0 ORDER BY id",
            "SELECT balance FROM accounts WHERE id % 2 = 1 ORDER BY id",
        ];
        let statements = match self.transaction {
            true => &halves[..],
            false => &[all],
        };
        let mut seen = Vec::new();
        for statement in statements {
            let rows = self.query(statement, []).await?;
            seen.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
        }
        Ok(seen)
    }

    /// Who has no row yet is on duty.
    async fn duty(&self, pair: i64) -> Result<[bool; 2], Error> {
        let rows = self.query("SELECT side, on_duty FROM pairs WHERE pair = $1", [pair]);
        let mut both = [true; 2];
        for row in rows.await? {
            both[usize::from(row.get::<_, i64>(0) == 1)] = row.get(1);
        }
        Ok(both)
    }

    async fn query<const N: usize>(
        &self,
        statement: &str,
        values: [i64; N],
    ) -> Result<Vec<Row>, Error> {
        let typed: Vec<(&(dyn ToSql + Sync), Type)> = values
            .iter()
            .map(|value| (value as &(dyn ToSql + Sync), Type::INT8))
            .collect();
        self.client.query_typed(statement, &typed).await
    }
}

fn first(rows: &[Row]) -> Option<i64> {
    rows.first().map(|row| row.get(0))
}
