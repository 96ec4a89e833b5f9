//! Messages survive the wire, and those of released versions are still read.
//!
//! `released/` has one example of each message as a released version wrote it. Never change one: a type that can no
//! longer read its example must get a new version beside the old one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, path::Path};

use chrono::DateTime;
use common::contract::{
    Envelope, Message, Money, OrderId, PaymentId, Reason, ReturnId, SagaId, dead_letters as d,
    inventory as i, order as o, payment as p, saga as s,
};
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

/// Any values for the fields of messages.
#[derive(Clone, Debug)]
struct Fields {
    id: Uuid,
    text: String,
    option: Option<String>,
    minor: i64,
    quantity: u32,
    level: u64,
    reason: Reason,
    items: usize,
}

fn fields() -> impl Strategy<Value = Fields> {
    let reasons = [
        p::PAYMENT_DECLINED,
        i::OUT_OF_STOCK,
        i::UNKNOWN_PRODUCT,
        Reason::TIMEOUT,
        Reason::CUSTOMER_REQUEST,
        Reason::OPERATOR,
        Reason::ALREADY_COMPENSATED,
    ];
    let ids = any::<u128>().prop_map(Uuid::from_u128);
    let numbers = (
        any::<i64>().prop_map(|n| n / 2),
        any::<u32>(),
        any::<u64>(),
        0..4_usize,
    );
    (
        ids,
        any::<String>(),
        any::<Option<String>>(),
        numbers,
        prop::sample::select(reasons.to_vec()),
    )
        .prop_map(
            |(id, text, option, (minor, quantity, level, items), reason)| Fields {
                id,
                text,
                option,
                minor,
                quantity,
                level,
                reason,
                items,
            },
        )
}

impl Fields {
    fn items(&self) -> Vec<i::StockItem> {
        let item = i::StockItem {
            product_id: self.text.clone(),
            quantity: self.quantity,
        };
        vec![item; self.items]
    }

    fn snapshot(&self) -> o::OrderSnapshot {
        let item = o::OrderItem {
            product_id: self.text.clone(),
            quantity: self.quantity,
            unit_price: Money::from_minor(self.minor),
        };
        o::OrderSnapshot {
            order_id: OrderId(self.id),
            customer_id: self.text.clone(),
            status: self.text.clone(),
            items: vec![item; self.items],
            currency: self.text.clone(),
            total_amount: Money::from_minor(self.minor),
            customer_email: self.option.clone(),
            reason: self.option.as_ref().map(|_| self.reason),
        }
    }

    fn level(&self) -> i::StockLevel {
        i::StockLevel {
            product_id: self.text.clone(),
            quantity: self.level,
            reserved_quantity: self.level / 2,
            available_quantity: self.level - self.level / 2,
        }
    }
}

/// Calls `check` with each message, filled with these fields.
fn every_message(fields: &Fields, mut check: impl FnMut(Checked)) {
    let f = || fields.clone();
    let (order_id, reason) = (OrderId(fields.id), fields.reason);
    let payment_id = PaymentId(fields.id);
    let return_id = ReturnId(fields.id);
    let amount = Money::from_minor(fields.minor);
    let some = fields.option.is_some();
    check(Checked::of(&p::ProcessPayment {
        order_id,
        customer_id: f().text,
        amount,
        currency: f().text,
        payment_method: f().option,
    }));
    check(Checked::of(&p::RefundPayment { order_id, reason }));
    check(Checked::of(&p::PaymentProcessed {
        order_id,
        payment_id,
        amount,
        currency: f().text,
    }));
    check(Checked::of(&p::PaymentFailed {
        order_id,
        payment_id: some.then_some(payment_id),
        amount: some.then_some(amount),
        currency: f().option,
        reason,
        detail: f().option,
    }));
    check(Checked::of(&p::PaymentRefunded {
        order_id,
        payment_id: some.then_some(payment_id),
        amount: some.then_some(amount),
        currency: f().option,
        reason,
    }));
    check(Checked::of(&p::RefundPart {
        order_id,
        return_id,
        amount,
        currency: f().text,
        reason,
    }));
    check(Checked::of(&p::PartRefunded {
        order_id,
        payment_id,
        return_id,
        amount,
        currency: f().text,
        reason,
    }));
    let items = fields.items();
    check(Checked::of(&i::ReserveStock {
        order_id,
        items: items.clone(),
    }));
    check(Checked::of(&i::ReleaseStock { order_id, reason }));
    check(Checked::of(&i::ValidateStock {
        items: items.clone(),
    }));
    check(Checked::of(&i::StockValidated {
        available: some,
        items: vec![i::StockAvailability {
            product_id: f().text,
            requested: fields.level,
            available: some.then_some(fields.level),
        }],
    }));
    check(Checked::of(&i::StockReserved {
        order_id,
        items: items.clone(),
    }));
    check(Checked::of(&i::StockReservationFailed {
        order_id,
        items: items.clone(),
        reason,
        detail: f().option,
    }));
    check(Checked::of(&i::StockReleased {
        order_id,
        items: items.clone(),
        reason,
    }));
    check(Checked::of(&i::CommitStock { order_id }));
    check(Checked::of(&i::StockCommitted {
        order_id,
        items: items.clone(),
    }));
    check(Checked::of(&i::Restock {
        order_id,
        return_id,
        items: items.clone(),
    }));
    check(Checked::of(&i::Restocked {
        order_id,
        return_id,
        items: items.clone(),
    }));
    check(Checked::of(&o::OrderReturned {
        order: fields.snapshot(),
        return_id,
        returned_items: items,
        refund_amount: amount,
    }));
    check(Checked::of(&i::InventoryUpdated(fields.level())));
    check(Checked::of(&i::LowStock(fields.level())));
    check(Checked::of(&i::BackInStock(fields.level())));
    check(Checked::of(&o::OrderCreated(fields.snapshot())));
    check(Checked::of(&o::OrderCompleted(fields.snapshot())));
    check(Checked::of(&o::OrderFailed(fields.snapshot())));
    check(Checked::of(&o::OrderCancelled(fields.snapshot())));
    check(Checked::of(&o::OrderShipped(fields.snapshot())));
    check(Checked::of(&o::OrderDelivered(fields.snapshot())));
    check(Checked::of(&s::SagaParked {
        saga_id: SagaId(fields.id),
        definition: f().text,
        subject: f().text,
        step: f().option,
        reason: some.then_some(reason),
        last_error: f().option,
        parked_at: DateTime::from_timestamp_secs(i64::from(fields.quantity)).unwrap(),
    }));
    check(Checked::of(&d::DeadLettersGrowing {
        queue: f().text,
        working_queue: f().text,
        letters: fields.level,
        told_before: fields.level / 2,
        seen_at: DateTime::from_timestamp_secs(i64::from(fields.quantity)).unwrap(),
    }));
}

/// A message in its envelope, and how its type reads it and writes it again.
struct Checked {
    envelope: Envelope,
    rewrite: fn(&Envelope) -> Value,
}

impl Checked {
    fn of<M: Message>(data: &M) -> Self {
        let mut envelope = Envelope::new("a-service", "a subject", data);
        envelope.sagaid = Some(SagaId::generate());
        envelope.sequence = Some(1);
        Self {
            envelope,
            rewrite: |envelope| serde_json::to_value(envelope.data::<M>().unwrap()).unwrap(),
        }
    }
}

proptest! {
    #[test]
    fn every_message_survives_the_wire(fields in fields()) {
        let mut messages = 0;
        every_message(&fields, |Checked { envelope, rewrite }| {
            messages += 1;
            let read = Envelope::parse(envelope.to_json().as_bytes()).unwrap();
            assert_eq!(read.to_json(), envelope.to_json());
            let sent: Value = serde_json::from_str(envelope.data.get()).unwrap();
            assert_eq!(rewrite(&read), sent);
        });
        assert_eq!(messages, common::asyncapi::schemas().len());
    }

    #[test]
    fn nothing_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::parse(&bytes);
    }
}

#[test]
fn messages_of_released_versions_are_still_read() {
    let released = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released");
    let fields = Fields {
        id: Uuid::nil(),
        text: "text".to_owned(),
        option: Some("option".to_owned()),
        minor: 3998,
        quantity: 2,
        level: 10,
        reason: i::OUT_OF_STOCK,
        items: 1,
    };
    every_message(&fields, |Checked { envelope, rewrite }| {
        let file = released.join(format!("{}.json", envelope.kind));
        let text = fs::read_to_string(&file).unwrap_or_else(|_| {
            panic!(
                "a new message needs an example in {}, such as\n{}",
                file.display(),
                envelope.to_json()
            )
        });
        let old = Envelope::parse(text.as_bytes()).unwrap();
        assert_eq!(old.kind, envelope.kind);
        // Every field that the released version wrote is understood.
        let (before, now): (Value, Value) =
            (serde_json::from_str(old.data.get()).unwrap(), rewrite(&old));
        for (name, value) in before.as_object().unwrap() {
            assert_eq!(&now[name], value, "{} of {}", name, old.kind);
        }
    });
}

#[test]
fn fields_that_a_later_version_adds_are_passed_over() {
    let json = r#"{"specversion":"1.0","id":"01976a3e-7c00-7000-8000-000000000001","source":"s","type":"payment.refund.v1",
        "subject":"x","time":"2026-11-20T10:00:00Z","newattribute":"n",
        "data":{"orderId":"01976a3e-7c00-7000-8000-000000000001","reason":"TIMEOUT","newField":1}}"#;
    let envelope = Envelope::parse(json.as_bytes()).unwrap();
    assert_eq!(
        envelope.data::<p::RefundPayment>().unwrap().reason,
        Reason::TIMEOUT
    );
}
