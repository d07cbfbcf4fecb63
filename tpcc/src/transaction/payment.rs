//! PAYMENT, Clause 2.5.2.2.

use std::time::SystemTime;

use tokio_postgres::{Error, Row};

use super::{Fault, Step, Tx, middle};
use crate::input::{Customer, Payment};
use crate::numeric::Numeric;

/// C_DATA's length.
const DATA: usize = 500;

/// 3 selects, one of them by name in six of ten, and a fourth for bad credit; 3 updates, 1 insert.
pub async fn run(tx: &mut Tx<'_>, input: &Payment) -> Result<(), Error> {
    let (w, d) = (&input.warehouse, &input.district);
    let amount = Numeric::cents(input.cents);
    let warehouse = tx.row(Step::WarehouseAddress, &[w]).await?;
    if !tx.has(Fault::WarehouseYtdMissed) {
        tx.change(Step::WarehousePaid, &[w, &amount]).await?;
    }
    let district = tx.row(Step::DistrictAddress, &[w, d]).await?;
    tx.change(Step::DistrictPaid, &[w, d, &amount]).await?;
    let Some(customer) = customer(tx, input).await? else {
        // Each name is there: the first thousand customers have all of them.
        tracing::warn!(?input, "no such customer");
        return Ok(());
    };
    let c: i32 = customer.get(0);
    let credit: &str = customer.get(1);
    pay(tx, input, c, credit, &amount).await?;
    let (c_d, c_w) = (&input.customer_district, &input.customer_warehouse);
    let text = format!(
        "{}    {}",
        warehouse.get::<_, &str>(0),
        district.get::<_, &str>(0)
    );
    let booked = if tx.has(Fault::WrongHistory) {
        amount + Numeric::cents(1)
    } else {
        amount
    };
    tx.change(
        Step::HistoryInsert,
        &[&c, c_d, c_w, d, w, &SystemTime::now(), &booked, &text],
    )
    .await?;
    Ok(())
}

async fn customer(tx: &mut Tx<'_>, input: &Payment) -> Result<Option<Row>, Error> {
    let (w, d) = (&input.customer_warehouse, &input.customer_district);
    match &input.customer {
        Customer::Id(c) => tx.row(Step::PayerById, &[w, d, c]).await.map(Some),
        Customer::LastName(name) => Ok(middle(tx.rows(Step::PayersByName, &[w, d, name]).await?)),
    }
}

/// A customer of bad credit gets the payment written before C_DATA, which loses its end for it.
async fn pay(
    tx: &mut Tx<'_>,
    input: &Payment,
    c: i32,
    credit: &str,
    amount: &Numeric,
) -> Result<(), Error> {
    let (w, d) = (&input.customer_warehouse, &input.customer_district);
    if credit != "BC" {
        tx.change(Step::PayerPaid, &[w, d, &c, amount]).await?;
        return Ok(());
    }
    let old = tx.row(Step::PayerData, &[w, d, &c]).await?;
    let mut data = format!(
        "{c} {d} {w} {} {} {amount} {}",
        input.district,
        input.warehouse,
        old.get::<_, &str>(0)
    );
    // All signs are ASCII.
    data.truncate(DATA);
    tx.change(Step::BadPayerPaid, &[w, d, &c, amount, &data])
        .await?;
    Ok(())
}
