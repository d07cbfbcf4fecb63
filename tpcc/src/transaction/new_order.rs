//! NEW-ORDER, Clause 2.4.2.2.

use std::time::SystemTime;

use tokio_postgres::Error;

use super::{Done, Fault, Step, Tx};
use crate::input::{Line, NewOrder};
use crate::numeric::Numeric;

/// For an order of n lines: 3 + 2n selects, 1 + n updates, 2 + n inserts.
pub async fn run(tx: &mut Tx<'_>, input: &NewOrder) -> Result<Done, Error> {
    let NewOrder {
        warehouse: w,
        district: d,
        customer: c,
        lines,
    } = input;
    let warehouse_tax: Numeric = tx.row(Step::WarehouseTax, &[w]).await?.get(0);
    let district = tx.row(Step::DistrictNext, &[w, d]).await?;
    let (district_tax, order): (Numeric, i32) = (district.get(0), district.get(1));
    tx.change(Step::DistrictTake, &[w, d]).await?;
    let discount: Numeric = tx.row(Step::CustomerDiscount, &[w, d, c]).await?.get(0);
    let count = lines.len() as i32;
    let all_local = i32::from(lines.iter().all(|line| line.supply_warehouse == *w));
    let now = SystemTime::now();
    tx.change(
        Step::OrderInsert,
        &[&order, d, w, c, &now, &count, &all_local],
    )
    .await?;
    tx.change(Step::NewOrderInsert, &[&order, d, w]).await?;
    let mut sum = Numeric::default();
    for (number, line) in (1..).zip(lines) {
        match order_line(tx, input, order, number, line).await? {
            Some(amount) => sum = sum + amount,
            None => return Ok(Done::UnusedItem),
        }
    }
    let total = sum
        .by(Numeric::ONE - discount)
        .by(Numeric::ONE + warehouse_tax + district_tax);
    tracing::trace!(w, d, order, %total, "NEW-ORDER");
    Ok(Done::Complete)
}

/// Returns OL_AMOUNT; `None` where there is no such item.
async fn order_line(
    tx: &mut Tx<'_>,
    input: &NewOrder,
    order: i32,
    number: i32,
    line: &Line,
) -> Result<Option<Numeric>, Error> {
    let (w, d) = (&input.warehouse, &input.district);
    let Line {
        item,
        supply_warehouse: supply,
        quantity,
    } = line;
    let Some(found) = tx.maybe(Step::Item, &[item]).await? else {
        return Ok(None);
    };
    let (price, item_data): (Numeric, &str) = (found.get(0), found.get(2));
    let stock = tx.row(Step::Stock, &[supply, item, d]).await?;
    let (left, stock_data, info): (i32, &str, &str) = (stock.get(0), stock.get(1), stock.get(2));
    let refill = if left >= quantity + 10 { 0 } else { 91 };
    let left = left - quantity + refill;
    let remote = i32::from(supply != w);
    tx.change(Step::StockTake, &[supply, item, &left, quantity, &remote])
        .await?;
    let amount = price.times(i64::from(*quantity));
    let brand = [item_data, stock_data]
        .iter()
        .all(|data| data.contains("ORIGINAL"));
    tracing::trace!(item, quantity, left, brand, %amount, "line");
    if !(tx.has(Fault::LineMissed) && number as usize == input.lines.len()) {
        tx.change(
            Step::LineInsert,
            &[
                &order, d, w, &number, item, supply, quantity, &amount, &info,
            ],
        )
        .await?;
    }
    Ok(Some(amount))
}
