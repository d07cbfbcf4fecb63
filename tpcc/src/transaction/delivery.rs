//! DELIVERY, Clause 2.7.4.2: all ten districts in one transaction.

use std::time::SystemTime;

use tokio_postgres::Error;

use super::{Fault, Step, Tx};
use crate::input::Delivery;
use crate::numeric::Numeric;

/// 30 selects, 30 updates (one for all lines of an order), 10 deletes.
pub async fn run(tx: &mut Tx<'_>, input: &Delivery) -> Result<(), Error> {
    let (w, carrier) = (&input.warehouse, &input.carrier);
    let now = SystemTime::now();
    for d in 1..=10 {
        // Clause 2.7.4.2: a district without an undelivered order is passed over.
        let Some(oldest) = tx.maybe(Step::OldestNewOrder, &[w, &d]).await? else {
            continue;
        };
        let order: i32 = oldest.get(0);
        if !tx.has(Fault::NewOrderKept) {
            tx.change(Step::NewOrderDelete, &[w, &d, &order]).await?;
        }
        let customer: i32 = tx.row(Step::OrderCustomer, &[w, &d, &order]).await?.get(0);
        tx.change(Step::OrderCarrier, &[w, &d, &order, carrier])
            .await?;
        tx.change(Step::LinesDelivered, &[w, &d, &order, &now])
            .await?;
        let amount: Numeric = tx.row(Step::LinesAmount, &[w, &d, &order]).await?.get(0);
        tx.change(Step::CustomerDelivered, &[w, &d, &customer, &amount])
            .await?;
    }
    Ok(())
}
