//! Create an order: check it for fraud, take the money, then hold the stock.

use common::contract::{
    inventory::{ReleaseStock, ReserveStock, StockReleased, StockReservationFailed, StockReserved},
    payment::{PaymentFailed, PaymentProcessed, PaymentRefunded, ProcessPayment, RefundPayment},
};
use order_service::{
    app::Sagas,
    sagas::{
        CREATE_ORDER, OrderSaga, PlacedOrder, RETURN_ORDER, SHIP_ORDER,
        create_order::{self, process_payment, refund_payment, release_stock, reserve_stock},
        return_order, ship_order,
    },
};
use saga::{Action, Compensation, Definition, Step};

use crate::messages::{CheckFraud, FraudPassed, FraudRefused};

/// The next version of the product's saga, with a step before its own.
pub const CHECKED_ORDER: Definition<PlacedOrder> = Definition::new(
    "create_order",
    2,
    &[
        // A check leaves nothing behind, so nothing has to undo it.
        Step::new(
            "fraud",
            Action::of::<CheckFraud, FraudPassed, FraudRefused>(&check_fraud),
        ),
        Step::new(
            "payment",
            Action::of::<ProcessPayment, PaymentProcessed, PaymentFailed>(&process_payment),
        )
        .undone_by(Compensation::of::<RefundPayment, PaymentRefunded>(
            &refund_payment,
        )),
        Step::new(
            "inventory",
            Action::of::<ReserveStock, StockReserved, StockReservationFailed>(&reserve_stock),
        )
        .undone_by(Compensation::of::<ReleaseStock, StockReleased>(
            &release_stock,
        )),
    ],
);

/// The product's sagas, with orders that are placed from now on checked. Those that are under way end as they began.
pub const SAGAS: Sagas = Sagas {
    placing: &CHECKED_ORDER,
    all: &[
        OrderSaga::new(&CHECKED_ORDER, create_order::follow),
        OrderSaga::new(&CREATE_ORDER, create_order::follow),
        OrderSaga::new(&SHIP_ORDER, ship_order::follow),
        OrderSaga::new(&RETURN_ORDER, return_order::follow),
    ],
};

/// The command of the step `fraud`.
pub fn check_fraud(order: &PlacedOrder) -> CheckFraud {
    CheckFraud {
        order_id: order.order_id,
        customer_id: order.customer_id.clone(),
        amount: order.total,
        currency: order.currency.clone(),
    }
}
