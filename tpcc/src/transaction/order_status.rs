//! ORDER-STATUS, Clause 2.6.2.2.

use tokio_postgres::Error;

use super::{Step, Tx, middle};
use crate::input::{Customer, OrderStatus};

/// 3 selects, the first by name in six of ten.
pub async fn run(tx: &mut Tx<'_>, input: &OrderStatus) -> Result<(), Error> {
    let (w, d) = (&input.warehouse, &input.district);
    let customer = match &input.customer {
        Customer::Id(c) => tx.maybe(Step::StatusById, &[w, d, c]).await?,
        Customer::LastName(name) => middle(tx.rows(Step::StatusByName, &[w, d, name]).await?),
    };
    let Some(customer) = customer else {
        tracing::warn!(?input, "no such customer");
        return Ok(());
    };
    let c: i32 = customer.get(0);
    let order: i32 = tx.row(Step::LastOrder, &[w, d, &c]).await?.get(0);
    let lines = tx.rows(Step::OrderLines, &[w, d, &order]).await?;
    tracing::trace!(w, d, c, order, lines = lines.len(), "ORDER-STATUS");
    Ok(())
}
