//! What came back: of the order, on the shelf, and of the money.

use audit::Rule;

use super::{
    Db::{Inventory, Order, Payment},
    Kind::{Completed, PartlyReturned, Returned},
    Row,
};

pub(super) fn refunds() -> Vec<Row> {
    vec![
        Row::of(
            "a return that was not paid back",
            PartlyReturned,
            &[
                (Payment, "DELETE FROM refunds WHERE order_id = '$order'"),
                (Payment, "UPDATE payments SET refunded_minor = 0 WHERE order_id = '$order'"),
            ],
            Rule::Returned,
            "is worth 10.00, but [] was given back",
        ),
        Row::of(
            "a return that was paid back twice",
            PartlyReturned,
            &[
                (
                    Payment,
                    "INSERT INTO refunds (id, saga_id, step, payment_id, order_id, return_id, amount_minor, currency)
                     SELECT '$unknown', saga_id, 'again', payment_id, order_id, return_id, amount_minor, currency
                     FROM refunds WHERE order_id = '$order'",
                ),
                (Payment, "UPDATE payments SET refunded_minor = 2000 WHERE order_id = '$order'"),
            ],
            Rule::Returned,
            "is worth 10.00, but [10.00, 10.00] was given back",
        ),
        Row::of(
            "too little paid back",
            PartlyReturned,
            &[
                (Payment, "UPDATE refunds SET amount_minor = 999 WHERE order_id = '$order'"),
                (Payment, "UPDATE payments SET refunded_minor = 999 WHERE order_id = '$order'"),
            ],
            Rule::Returned,
            "is worth 10.00, but [9.99] was given back",
        ),
        Row::of(
            "money given back for an unknown return",
            PartlyReturned,
            &[
                (
                    Payment,
                    "INSERT INTO refunds (id, saga_id, step, payment_id, order_id, return_id, amount_minor, currency)
                     SELECT '$unknown', saga_id, 'again', payment_id, order_id, '$unknown', 1, currency
                     FROM refunds WHERE order_id = '$order'",
                ),
                (Payment, "UPDATE payments SET refunded_minor = 1001 WHERE order_id = '$order'"),
            ],
            Rule::Returned,
            "0.01 was given back for no return of it",
        ),
        Row::of(
            "a payment that says otherwise than its refunds",
            PartlyReturned,
            &[(Payment, "UPDATE payments SET refunded_minor = 1001 WHERE order_id = '$order'")],
            Rule::Returned,
            "says that 10.01 was given back, but the refunds add up to 10.00",
        ),
        Row::of(
            "a refunded payment that says otherwise than its refunds",
            Returned,
            &[(
                Payment,
                "UPDATE payments SET refunded_minor = 3997, status = 'CAPTURED' WHERE order_id = '$order'",
            )],
            Rule::Returned,
            "says that 39.97 was given back, but the refunds add up to 39.98",
        ),
        Row::of(
            "a payment that is REFUNDED although something is left of it",
            PartlyReturned,
            &[(Payment, "UPDATE payments SET status = 'REFUNDED' WHERE order_id = '$order'")],
            Rule::Returned,
            "39.98 USD are REFUNDED, but 10.00 of it was given back",
        ),
        Row::of(
            "a payment that is not REFUNDED although nothing is left of it",
            Returned,
            &[(Payment, "UPDATE payments SET status = 'CAPTURED' WHERE order_id = '$order'")],
            Rule::Returned,
            "39.98 USD are CAPTURED, but 39.98 of it was given back",
        ),
        Row::of(
            "a refund for an unknown order",
            Completed,
            &[(
                Payment,
                "INSERT INTO refunds (id, saga_id, step, payment_id, order_id, return_id, amount_minor, currency)
                 VALUES ('$unknown', '$unknown', 'refund', '$unknown', '$unknown', '$unknown', 1, 'USD')",
            )],
            Rule::Known,
            "there is no such order, but refund",
        )
        .about("order $unknown"),
    ]
}

pub(super) fn restocks() -> Vec<Row> {
    vec![
        Row::of(
            "a return that is not on the shelf",
            PartlyReturned,
            &[(Inventory, "DELETE FROM restocks WHERE order_id = '$order'")],
            Rule::Returned,
            r#"is of {"mug": 1}, but on the shelf are []"#,
        ),
        Row::of(
            "other goods on the shelf",
            PartlyReturned,
            &[(
                Inventory,
                r#"UPDATE restocks SET items = '[{"productId":"cup","quantity":1}]' WHERE order_id = '$order'"#,
            )],
            Rule::Returned,
            r#"is of {"mug": 1}, but on the shelf are [{"cup": 1}]"#,
        ),
        Row::of(
            "a return that is on the shelf twice",
            PartlyReturned,
            &[(
                Inventory,
                "INSERT INTO restocks (id, saga_id, step, order_id, return_id, items)
                 SELECT '$unknown', saga_id, 'again', order_id, return_id, items FROM restocks WHERE order_id = '$order'",
            )],
            Rule::Returned,
            r#"on the shelf are [{"mug": 1}, {"mug": 1}]"#,
        ),
        Row::of(
            "goods of an unknown return on the shelf",
            PartlyReturned,
            &[(
                Inventory,
                "INSERT INTO restocks (id, saga_id, step, order_id, return_id, items)
                 SELECT '$unknown', saga_id, 'again', order_id, '$unknown', items FROM restocks WHERE order_id = '$order'",
            )],
            Rule::Returned,
            r#"{"mug": 1} came back with no return of it"#,
        ),
        Row::of(
            "a restock for an unknown order",
            Completed,
            &[(
                Inventory,
                "INSERT INTO restocks (id, saga_id, step, order_id, return_id, items)
                 VALUES ('$unknown', '$unknown', 'restock', '$unknown', '$unknown', '[]')",
            )],
            Rule::Known,
            "there is no such order, but restock",
        )
        .about("order $unknown"),
    ]
}

pub(super) fn returns() -> Vec<Row> {
    vec![
        Row::of(
            "more comes back than was bought",
            PartlyReturned,
            &[
                (
                    Order,
                    r#"UPDATE returns SET items = '[{"productId":"mug","quantity":4}]' WHERE order_id = '$order'"#,
                ),
                (
                    Inventory,
                    r#"UPDATE restocks SET items = '[{"productId":"mug","quantity":4}]' WHERE order_id = '$order'"#,
                ),
            ],
            Rule::Returned,
            "4 of mug come back, but 3 were bought",
        ),
        Row::of(
            "a return that is worth more than was paid",
            PartlyReturned,
            &[
                (Order, "UPDATE returns SET amount_minor = 1001 WHERE order_id = '$order'"),
                (Payment, "UPDATE refunds SET amount_minor = 1001 WHERE order_id = '$order'"),
                (Payment, "UPDATE payments SET refunded_minor = 1001 WHERE order_id = '$order'"),
            ],
            Rule::Returned,
            "its returns are worth 10.01, but 10.00 was paid for what comes back",
        ),
        Row::of(
            "an order that is RETURNED too soon",
            PartlyReturned,
            &[(Order, "UPDATE orders SET status = 'RETURNED' WHERE id = '$order'")],
            Rule::Returned,
            "it is RETURNED, but not all of it came back",
        ),
        Row::of(
            "an order that is not RETURNED",
            Returned,
            &[(Order, "UPDATE orders SET status = 'DELIVERED' WHERE id = '$order'")],
            Rule::Returned,
            "it is DELIVERED, but all of it came back",
        ),
        Row::of(
            "a return before the delivery",
            PartlyReturned,
            &[(Order, "UPDATE orders SET status = 'SHIPPED' WHERE id = '$order'")],
            Rule::Returned,
            "it is SHIPPED, but there are returns of it",
        ),
        Row::of(
            "a return without a saga",
            PartlyReturned,
            &[
                (Order, "ALTER TABLE saga_log DISABLE TRIGGER append_only"),
                (
                    Order,
                    "DELETE FROM saga_log WHERE saga_id IN (SELECT saga_id FROM returns WHERE order_id = '$order')",
                ),
                (
                    Order,
                    "DELETE FROM sagas WHERE id IN (SELECT saga_id FROM returns WHERE order_id = '$order')",
                ),
                (Payment, "UPDATE refunds SET saga_id = '$saga' WHERE order_id = '$order'"),
                (Inventory, "UPDATE restocks SET saga_id = '$saga' WHERE order_id = '$order'"),
            ],
            Rule::Returned,
            "has no saga",
        ),
        Row::of(
            "a saga without a return",
            Completed,
            &[(
                Order,
                "INSERT INTO sagas (id, subject, data, type, definition_version, status, version, correlation_id)
                 SELECT '$unknown', subject, data, 'return_order', definition_version, status, version, correlation_id
                 FROM sagas WHERE id = '$saga';
                 INSERT INTO saga_log (saga_id, seq, event, step, details)
                 SELECT '$unknown', seq, event, step, details FROM saga_log WHERE saga_id = '$saga'",
            )],
            Rule::Returned,
            "is of no return",
        ),
        Row::of(
            "a return that is PENDING after its saga",
            PartlyReturned,
            &[(Order, "UPDATE returns SET status = 'PENDING' WHERE order_id = '$order'")],
            Rule::Returned,
            "is PENDING, but the saga of it is COMPLETED",
        ),
    ]
}
