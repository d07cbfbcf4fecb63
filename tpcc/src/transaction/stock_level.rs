//! STOCK-LEVEL, Clause 2.8.2.2.

use tokio_postgres::Error;

use super::{Step, Tx};
use crate::input::StockLevel;

/// 2 selects, the second of them a join of the lines of the last twenty orders with the stock.
pub async fn run(tx: &mut Tx<'_>, input: &StockLevel) -> Result<(), Error> {
    let StockLevel {
        warehouse: w,
        district: d,
        threshold,
    } = input;
    let next: i32 = tx.row(Step::DistrictOrders, &[w, d]).await?.get(0);
    let low: i64 = tx
        .row(Step::LowStock, &[w, d, &next, threshold])
        .await?
        .get(0);
    tracing::trace!(w, d, low, "STOCK-LEVEL");
    Ok(())
}
