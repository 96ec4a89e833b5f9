//! The kinds of orders, and how each should end: a table of values.

use anyhow::{Result, ensure};
use uuid::Uuid;

use super::stock::SCARCE;

/// Most that one line of an order may ask for, and most lines of an order.
const LINE_MAX: i64 = 10_000;
const LINES_MAX: i64 = 100;

/// Payment methods whose outcome the simulated gateway knows.
const ACCEPTED: &str = "pm_card_visa";
const DECLINED: &str = "pm_card_chargeDeclined";
const NO_FUNDS: &str = "pm_card_chargeDeclinedInsufficientFunds";

/// The scenario whose log is shown: it goes forward, fails, and comes back.
pub(super) const EXAMPLE: &str = "out of stock";

/// An order, what is done with it, and how it should end.
pub(super) struct Scenario {
    pub(super) kind: &'static str,
    pub(super) payment_method: &'static str,
    pub(super) items: Vec<(String, i64)>,
    pub(super) then: Then,
    pub(super) end: End,
}

/// What is done after the order was placed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    PlaceAgain,
    CancelAtOnce,
    CancelWhenCompleted,
    /// When it is completed.
    Ship,
    /// When it is delivered, in these parcels.
    Return(&'static [Parcel]),
}

/// Goods that come back together: how many of each product.
pub(super) type Parcel = &'static [(&'static str, u32)];

/// How an order should end. Where there may be several, each of them will do; `-` is none.
pub(super) struct End {
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
    pub(super) payment: &'static [&'static str],
    /// What of the payment was given back for returns.
    pub(super) returned: &'static str,
    pub(super) reservation: &'static [&'static str],
}

const COMPLETED: End = End {
    status: "COMPLETED",
    reason: "-",
    payment: &["CAPTURED"],
    returned: "-",
    reservation: &["RESERVED"],
};
const SHIPPED: End = End {
    status: "SHIPPED",
    reservation: &["COMMITTED"],
    ..COMPLETED
};
const PARTLY_RETURNED: End = End {
    status: "DELIVERED",
    returned: "19.99",
    ..SHIPPED
};
/// The goods have left and come back; that they are on the shelf again is for the audit to see.
const RETURNED: End = End {
    status: "RETURNED",
    payment: &["REFUNDED"],
    returned: "89.48",
    ..SHIPPED
};

/// Cancelled with the money given back.
const fn refunded(reason: &'static str, reservation: &'static [&'static str]) -> End {
    End {
        status: "CANCELLED",
        reason,
        payment: &["REFUNDED"],
        returned: "-",
        reservation,
    }
}

const NOT_PAID: End = End {
    payment: &["DECLINED"],
    ..refunded("PAYMENT_DECLINED", &["-"])
};
/// How far it had come depends on who was faster.
const STOPPED: End = End {
    payment: &["REFUNDED", "-"],
    ..refunded("CUSTOMER_REQUEST", &["RELEASED", "-"])
};

/// All that is usually ordered.
const IN_TWO: &[Parcel] = &[&[("prod-1", 1), ("prod-2", 1)], &[("prod-1", 1)]];

/// The kinds. `scarce` is all that there is of [`SCARCE`].
///
/// # Errors
/// No order can ask for more than that.
pub(super) fn table(scarce: i64) -> Result<Vec<Scenario>> {
    let usual = || [("prod-1", 2), ("prod-2", 1)].map(|(id, n)| (id.to_owned(), n));
    let new = |kind, payment_method, items: &[(String, i64)], then, end| Scenario {
        kind,
        payment_method,
        items: items.to_vec(),
        then,
        end,
    };
    let mut unknown = usual().to_vec();
    unknown.push((format!("no-such-product-{}", Uuid::now_v7().simple()), 1));
    let too_many = more_than(scarce)?;
    let given_back = || refunded("CUSTOMER_REQUEST", &["RELEASED"]);
    use Then::*;
    #[rustfmt::skip]
    let table = vec![
        new("success", ACCEPTED, &usual(), Nothing, COMPLETED),
        new("payment declined", DECLINED, &usual(), Nothing, NOT_PAID),
        new("insufficient funds", NO_FUNDS, &usual(), Nothing, NOT_PAID),
        new(EXAMPLE, ACCEPTED, &too_many, Nothing, refunded("OUT_OF_STOCK", &["-"])),
        new("unknown product", ACCEPTED, &unknown, Nothing, refunded("UNKNOWN_PRODUCT", &["-"])),
        new("cancelled before completion", ACCEPTED, &usual(), CancelAtOnce, STOPPED),
        new("cancelled after completion", ACCEPTED, &usual(), CancelWhenCompleted, given_back()),
        new("shipped", ACCEPTED, &usual(), Ship, SHIPPED),
        new("partly returned", ACCEPTED, &usual(), Return(&[&[("prod-1", 1)]]), PARTLY_RETURNED),
        new("returned in two parcels", ACCEPTED, &usual(), Return(IN_TWO), RETURNED),
        new("same key twice, one order", ACCEPTED, &usual(), PlaceAgain, COMPLETED),
    ];
    Ok(table)
}

/// Lines that ask for one more than there is. What is reserved counts too: it may be given back at any time.
fn more_than(scarce: i64) -> Result<Vec<(String, i64)>> {
    let mut missing = scarce + 1;
    ensure!(
        missing <= LINE_MAX * LINES_MAX,
        "there are {scarce} of {SCARCE}, and no order can ask for more; lower it with PATCH /inventory/{SCARCE}"
    );
    let mut lines = Vec::new();
    while missing > 0 {
        let line = missing.min(LINE_MAX);
        lines.push((SCARCE.to_owned(), line));
        missing -= line;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_there_is_fits_into_the_lines_of_an_order() {
        let sum = |lines: &[(String, i64)]| lines.iter().map(|(_, n)| n).sum::<i64>();
        for scarce in [0, 25, 9_999, 10_000, 123_456, 999_999] {
            let lines = more_than(scarce).unwrap();
            assert_eq!(sum(&lines), scarce + 1);
            assert!(lines.len() <= 100 && lines.iter().all(|(_, n)| *n <= LINE_MAX));
        }
        assert!(more_than(1_000_000).is_err());
    }
}
