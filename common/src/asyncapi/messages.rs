//! Every message: who says it to whom, and an example.

use chrono::{DateTime, Utc};
use schemars::{Schema, SchemaGenerator};
use uuid::Uuid;

use crate::{
    contract::{
        Command, Envelope, Message, Money, OrderId, PaymentId, Reason, ReturnId, SagaId,
        dead_letters as d, inventory as i, order as o, payment as p, saga as s, topology,
    },
    fleet,
};

/// A message as the documents show it.
pub(super) struct Documented {
    pub(super) kind: &'static str,
    pub(super) role: Role,
    /// The schema of its data, or a reference to it, as the generator is set up.
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
    pub(super) example: Envelope,
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Asks this participant for a step of a saga.
    Command(&'static str),
    /// What came of a command: a reply, and also a public event.
    Outcome,
    /// A public event and nothing else.
    Event,
    /// A public event about what needs an operator. Nobody numbers these.
    Notice,
    /// Asks this participant something, as anybody may.
    Question(&'static str),
    /// Answers a question.
    Answer,
}

impl Documented {
    /// The service that says it; of a question, the one that is asked.
    pub(super) fn service(&self) -> &'static fleet::Service {
        let whose = match self.role {
            Role::Command(_) | Role::Notice => return &fleet::ORDER,
            Role::Outcome | Role::Event | Role::Question(_) | Role::Answer => self.family(),
        };
        let is_whose = |service: &&fleet::Service| service.database.short_name() == whose;
        let mut services = fleet::SERVICES.into_iter();
        services
            .find(is_whose)
            .expect("a type begins with the name of its service")
    }

    /// The first word of its type: who does it or tells it.
    pub(super) fn family(&self) -> &'static str {
        self.kind.split('.').next().unwrap_or_default()
    }

    /// Attributes that it always has, beside those that every message has.
    pub(super) fn required(&self) -> &'static [&'static str] {
        match self.role {
            Role::Command(_) => &["sagaid", "sagastep", "replyto"],
            Role::Outcome => &["sagaid", "sagastep", "causationid", "sequence"],
            Role::Event => &["sequence"],
            Role::Notice if self.family() == "saga" => &["sagaid"],
            Role::Notice => &[],
            Role::Question(_) => &[],
            Role::Answer => &["causationid"],
        }
    }
}

/// The name of a message in the document, where keys have no dots, for most tools cannot cope with them.
pub(super) fn id(kind: &str) -> String {
    kind.replace('.', "_")
}

const fn uuid(last: u128) -> Uuid {
    Uuid::from_u128(0x0197_6a3e_7c00_7000_8000_0000_0000_0000 | last)
}

const ORDER: OrderId = OrderId(uuid(1));
const PAYMENT: PaymentId = PaymentId(uuid(2));
const RETURN: ReturnId = ReturnId(uuid(3));
const SAGA: SagaId = SagaId(uuid(4));
const TOTAL: Money = Money::from_minor(3998);
const PRICE: Money = Money::from_minor(1999);

/// Every message, in the order of the flow.
pub(super) fn all() -> Vec<Documented> {
    let (customer_id, currency) = (|| "customer-1".to_owned(), || "USD".to_owned());
    let items = |quantity| {
        let product_id = "prod-1".to_owned();
        vec![i::StockItem {
            product_id,
            quantity,
        }]
    };
    let order = |status: &str, reason| o::OrderSnapshot {
        order_id: ORDER,
        customer_id: customer_id(),
        status: status.to_owned(),
        items: vec![o::OrderItem {
            product_id: "prod-1".to_owned(),
            quantity: 2,
            unit_price: PRICE,
        }],
        currency: currency(),
        total_amount: TOTAL,
        customer_email: Some("customer@example.com".to_owned()),
        reason,
    };
    let level = |quantity, reserved_quantity| i::StockLevel {
        product_id: "prod-1".to_owned(),
        quantity,
        reserved_quantity,
        available_quantity: quantity - reserved_quantity,
    };
    let out_of_stock = Some(i::OUT_OF_STOCK);
    vec![
        event(&o::OrderCreated(order("PENDING", None))),
        command(&p::ProcessPayment {
            order_id: ORDER,
            customer_id: customer_id(),
            amount: TOTAL,
            currency: currency(),
            payment_method: Some("pm_card_visa".to_owned()),
        }),
        outcome(&p::PaymentProcessed {
            order_id: ORDER,
            payment_id: PAYMENT,
            amount: TOTAL,
            currency: currency(),
        }),
        outcome(&p::PaymentFailed {
            order_id: ORDER,
            payment_id: Some(PAYMENT),
            amount: Some(TOTAL),
            currency: Some(currency()),
            reason: p::PAYMENT_DECLINED,
            detail: Some("insufficient_funds".to_owned()),
        }),
        command(&i::ReserveStock {
            order_id: ORDER,
            items: items(2),
        }),
        outcome(&i::StockReserved {
            order_id: ORDER,
            items: items(2),
        }),
        outcome(&i::StockReservationFailed {
            order_id: ORDER,
            items: items(2),
            reason: i::OUT_OF_STOCK,
            detail: Some("prod-1".to_owned()),
        }),
        event(&o::OrderCompleted(order("COMPLETED", None))),
        event(&o::OrderFailed(order("PENDING", out_of_stock))),
        command(&i::ReleaseStock {
            order_id: ORDER,
            reason: Reason::CUSTOMER_REQUEST,
        }),
        outcome(&i::StockReleased {
            order_id: ORDER,
            items: items(2),
            reason: Reason::CUSTOMER_REQUEST,
        }),
        command(&p::RefundPayment {
            order_id: ORDER,
            reason: i::OUT_OF_STOCK,
        }),
        outcome(&p::PaymentRefunded {
            order_id: ORDER,
            payment_id: Some(PAYMENT),
            amount: Some(TOTAL),
            currency: Some(currency()),
            reason: i::OUT_OF_STOCK,
        }),
        event(&o::OrderCancelled(order("CANCELLED", out_of_stock))),
        command(&i::CommitStock { order_id: ORDER }),
        outcome(&i::StockCommitted {
            order_id: ORDER,
            items: items(2),
        }),
        event(&o::OrderShipped(order("SHIPPED", None))),
        event(&o::OrderDelivered(order("DELIVERED", None))),
        command(&i::Restock {
            order_id: ORDER,
            return_id: RETURN,
            items: items(1),
        }),
        outcome(&i::Restocked {
            order_id: ORDER,
            return_id: RETURN,
            items: items(1),
        }),
        command(&p::RefundPart {
            order_id: ORDER,
            return_id: RETURN,
            amount: PRICE,
            currency: currency(),
            reason: Reason::CUSTOMER_REQUEST,
        }),
        outcome(&p::PartRefunded {
            order_id: ORDER,
            payment_id: PAYMENT,
            return_id: RETURN,
            amount: PRICE,
            currency: currency(),
            reason: Reason::CUSTOMER_REQUEST,
        }),
        event(&o::OrderReturned {
            order: order("DELIVERED", None),
            return_id: RETURN,
            returned_items: items(1),
            refund_amount: PRICE,
        }),
        question("inventory", &i::ValidateStock { items: items(2) }),
        answer(&i::StockValidated {
            available: true,
            items: vec![i::StockAvailability {
                product_id: "prod-1".to_owned(),
                requested: 2,
                available: Some(98),
            }],
        }),
        event(&i::InventoryUpdated(level(100, 2))),
        event(&i::LowStock(level(11, 2))),
        event(&i::BackInStock(level(100, 0))),
        documented(
            Role::Notice,
            &s::SagaParked {
                saga_id: SAGA,
                definition: "create_order".to_owned(),
                subject: format!("order/{ORDER}"),
                step: Some("payment".to_owned()),
                reason: out_of_stock,
                last_error: Some("payment: no reply to attempt 10 of the compensation".to_owned()),
                parked_at: said_at(),
            },
        ),
        documented(
            Role::Notice,
            &d::DeadLettersGrowing {
                queue: topology::dead_letter_queue(topology::PAYMENT_COMMANDS.name),
                working_queue: topology::PAYMENT_COMMANDS.name.to_owned(),
                letters: 3,
                told_before: 1,
                seen_at: said_at(),
            },
        ),
    ]
}

fn command<M: Command>(data: &M) -> Documented {
    documented(Role::Command(M::PARTICIPANT), data)
}

fn outcome<M: Message>(data: &M) -> Documented {
    documented(Role::Outcome, data)
}

fn event<M: Message>(data: &M) -> Documented {
    documented(Role::Event, data)
}

fn question<M: Message>(of: &'static str, data: &M) -> Documented {
    documented(Role::Question(of), data)
}

fn answer<M: Message>(data: &M) -> Documented {
    documented(Role::Answer, data)
}

fn documented<M: Message>(role: Role, data: &M) -> Documented {
    let mut message = Documented {
        kind: M::TYPE,
        role,
        schema: |generator| generator.subschema_for::<M>(),
        example: Envelope::new("", "", data),
    };
    complete(&mut message);
    message
}

/// When the examples are said.
fn said_at() -> DateTime<Utc> {
    DateTime::<Utc>::from_timestamp_secs(1_795_255_200).unwrap_or_default()
}

/// Says in the example who says it, and what about.
fn complete(message: &mut Documented) {
    let is_of_a_saga = matches!(message.role, Role::Command(_) | Role::Outcome);
    let source = match message.role {
        Role::Question(_) => "shop",
        _ => message.service().program.name,
    };
    let is_about_stock = message.role == Role::Event && message.family() == "inventory";
    let is_about_saga = message.family() == "saga";
    let causes = matches!(
        message.role,
        Role::Command(_) | Role::Outcome | Role::Answer
    );
    let is_counted = matches!(message.role, Role::Outcome | Role::Event);
    let step = match message.role {
        Role::Command(participant) => participant,
        _ => message.family(),
    };
    message.example = Envelope {
        id: uuid(5),
        source: source.to_owned(),
        subject: match message.role {
            Role::Notice if is_about_saga => SAGA.to_string(),
            Role::Notice => topology::dead_letter_queue(topology::PAYMENT_COMMANDS.name),
            _ if is_about_stock => "prod-1".to_owned(),
            _ => ORDER.to_string(),
        },
        time: said_at(),
        sagaid: (is_of_a_saga || is_about_saga || message.family() == "order").then_some(SAGA),
        sagastep: is_of_a_saga.then(|| step.to_owned()),
        correlationid: (message.family() != "dead_letters").then(|| "request-1".to_owned()),
        causationid: causes.then_some(uuid(6)),
        sequence: is_counted.then_some(1),
        traceparent: (message.family() != "dead_letters")
            .then(|| "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        replyto: matches!(message.role, Role::Command(_)).then(|| "order".to_owned()),
        ..message.example.clone()
    };
}
