//! The five transactions, statement by statement as in the profiles of Clause 2.

mod delivery;
mod new_order;
mod order_status;
mod payment;
mod statement;
mod stock_level;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

pub use statement::{SQL, Step, VERBS};

use crate::input::Input;

/// Statements sent, in the order of `VERBS`.
pub type Counts = [u64; VERBS.len()];

/// How a transaction's statements ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// To be committed.
    Complete,
    /// To be rolled back for an unused item number (Clause 2.4.2.3).
    UnusedItem,
}

/// A mistake built in for a test that must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// PAYMENT leaves W_YTD as it was.
    WarehouseYtdMissed,
    /// PAYMENT books a cent more in HISTORY than was paid.
    WrongHistory,
    /// NEW-ORDER leaves the order's last line out.
    LineMissed,
    /// DELIVERY leaves the NEW-ORDER row.
    NewOrderKept,
}

/// An open transaction.
pub struct Tx<'a> {
    pub client: &'a Client,
    /// By `Step`.
    pub prepared: &'a [Statement],
    pub fault: Option<Fault>,
    pub counts: Counts,
}

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Tx<'_> {
    /// Runs all statements between BEGIN and COMMIT.
    pub async fn run(&mut self, input: &Input) -> Result<Done, Error> {
        match input {
            Input::NewOrder(input) => return new_order::run(self, input).await,
            Input::Payment(input) => payment::run(self, input).await?,
            Input::OrderStatus(input) => order_status::run(self, input).await?,
            Input::Delivery(input) => delivery::run(self, input).await?,
            Input::StockLevel(input) => stock_level::run(self, input).await?,
        }
        Ok(Done::Complete)
    }

    fn count(&mut self, step: Step) -> &Statement {
        self.counts[step.verb()] += 1;
        &self.prepared[step as usize]
    }

    /// Exactly one row.
    async fn row(&mut self, step: Step, params: Params<'_>) -> Result<Row, Error> {
        let client = self.client;
        client.query_one(self.count(step), params).await
    }

    /// One row or none.
    async fn maybe(&mut self, step: Step, params: Params<'_>) -> Result<Option<Row>, Error> {
        let client = self.client;
        client.query_opt(self.count(step), params).await
    }

    async fn rows(&mut self, step: Step, params: Params<'_>) -> Result<Vec<Row>, Error> {
        let client = self.client;
        client.query(self.count(step), params).await
    }

    async fn change(&mut self, step: Step, params: Params<'_>) -> Result<u64, Error> {
        let client = self.client;
        client.execute(self.count(step), params).await
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

/// Clause 2.5.2.2: of the customers with a name, by first name, the one at n/2 rounded up.
fn middle(rows: Vec<Row>) -> Option<Row> {
    let place = rows.len().div_ceil(2);
    rows.into_iter().nth(place.checked_sub(1)?)
}
