//! Money and rates, exact, as PostgreSQL's `numeric` on the wire.

use std::error::Error;
use std::fmt;

use bytes::{Buf, BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// Ten-thousandths: `numeric` travels in digits of base 10,000, so that one digit stands after the point. All of TPC-C's
/// numbers have two or four decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Numeric(i64);

const BASE: i64 = 10_000;
const NEGATIVE: u16 = 0x4000;

impl Numeric {
    pub const ONE: Numeric = Numeric(BASE);

    pub fn cents(cents: i64) -> Numeric {
        Numeric(cents * 100)
    }

    pub fn times(self, factor: i64) -> Numeric {
        Numeric(self.0 * factor)
    }

    /// The product, cut off after four decimals.
    pub fn by(self, rate: Numeric) -> Numeric {
        Numeric(self.0 * rate.0 / BASE)
    }
}

impl std::ops::Add for Numeric {
    type Output = Numeric;
    fn add(self, other: Numeric) -> Numeric {
        Numeric(self.0 + other.0)
    }
}

impl std::ops::Sub for Numeric {
    type Output = Numeric;
    fn sub(self, other: Numeric) -> Numeric {
        Numeric(self.0 - other.0)
    }
}

/// With two decimals.
impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.abs() / 100;
        write!(f, "{sign}{}.{:02}", cents / 100, cents % 100)
    }
}

impl ToSql for Numeric {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let mut digits = Vec::new();
        let mut rest = self.0.abs();
        while rest > 0 {
            digits.push((rest % BASE) as i16);
            rest /= BASE;
        }
        out.put_i16(digits.len() as i16);
        // The last digit has weight -1.
        out.put_i16(digits.len() as i16 - 2);
        out.put_u16(if self.0 < 0 { NEGATIVE } else { 0 });
        out.put_u16(4);
        digits.iter().rev().for_each(|&digit| out.put_i16(digit));
        Ok(IsNull::No)
    }

    accepts!(NUMERIC);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Numeric {
    fn from_sql(_: &Type, mut raw: &'a [u8]) -> Result<Numeric, Box<dyn Error + Sync + Send>> {
        let (count, weight) = (raw.try_get_i16()?, raw.try_get_i16()?);
        let (sign, _scale) = (raw.try_get_u16()?, raw.try_get_u16()?);
        let mut units = 0;
        for place in (i32::from(weight) - i32::from(count) + 1..=i32::from(weight)).rev() {
            let digit = i64::from(raw.try_get_i16()?);
            let power = u32::try_from(place + 1).map_err(|_| "more than four decimals")?;
            let value = BASE
                .checked_pow(power)
                .and_then(|power| digit.checked_mul(power));
            units += value.ok_or("too great a number")?;
        }
        match sign {
            0 => Ok(Numeric(units)),
            NEGATIVE => Ok(Numeric(-units)),
            _ => Err("not a number".into()),
        }
    }

    accepts!(NUMERIC);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for units in [
            0,
            1,
            -1,
            9_999,
            10_000,
            250_000,
            -123_456_789,
            3_000_000_000,
        ] {
            let mut bytes = BytesMut::new();
            Numeric(units).to_sql(&Type::NUMERIC, &mut bytes).unwrap();
            assert_eq!(
                Numeric::from_sql(&Type::NUMERIC, &bytes).unwrap(),
                Numeric(units)
            );
        }
    }

    #[test]
    fn a_price_with_tax_and_discount() {
        let tax = Numeric(1_500);
        assert_eq!(Numeric::cents(1999).times(3).to_string(), "59.97");
        assert_eq!(
            Numeric::cents(10_000).by(Numeric::ONE + tax).to_string(),
            "115.00"
        );
        assert_eq!(Numeric::cents(-5).to_string(), "-0.05");
    }
}
