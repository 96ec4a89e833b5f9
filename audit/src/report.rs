//! What the audit found.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::orders::Order;

/// A guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Rule {
    /// Every order was placed by one saga; every other one is of a known kind, excludes no other open one, and has its
    /// order.
    OneSaga,
    /// An order is PENDING, completed or CANCELLED as its saga is open, COMPLETED or COMPENSATED.
    Status,
    /// The log has no gap and adds up to the saga's row.
    Log,
    /// An open saga has a deadline, which has not passed for more than a minute.
    Deadline,
    /// A completed order is paid once and in full, and holds exactly its items.
    Kept,
    /// A cancelled order holds neither money nor stock, and says why.
    Undone,
    /// What came back of an order is on the shelf and paid back, once and exactly, and no more than was bought.
    Returned,
    /// No payment, refund, reservation or restock is of an unknown order.
    Known,
    /// What is reserved of a product is what orders hold of it, and no more than there is.
    Stock,
    /// No message waits in an outbox for more than a minute.
    Outbox,
}

impl Rule {
    /// Each rule, what it says, and what it is counted in.
    pub const ALL: [(Self, &str, &str); 10] = [
        (
            Self::OneSaga,
            "every order has the one saga that placed it, and every saga its order",
            "orders",
        ),
        (
            Self::Status,
            "every order is what its saga says: under way, completed or cancelled",
            "orders",
        ),
        (
            Self::Log,
            "every saga log is gapless and adds up to the saga's state",
            "entries",
        ),
        (
            Self::Deadline,
            "every open saga has a deadline, and none is overdue",
            "open sagas",
        ),
        (
            Self::Kept,
            "completed orders are paid once and in full, and hold exactly their items",
            "orders",
        ),
        (
            Self::Undone,
            "cancelled orders hold neither money nor stock, and say why",
            "orders",
        ),
        (
            Self::Returned,
            "what came back is on the shelf and paid back, exactly once, and no more than was bought",
            "returns",
        ),
        (
            Self::Known,
            "no payment, refund, reservation or restock is without its order",
            "rows",
        ),
        (
            Self::Stock,
            "what is reserved is what orders hold, and no more than there is",
            "products",
        ),
        (
            Self::Outbox,
            "no message has waited in an outbox for more than a minute",
            "messages waiting",
        ),
    ];
}

/// What a violation is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// An order.
    OrderId(Uuid),
    /// A saga without an order.
    SagaId(Uuid),
    /// A product.
    ProductId(String),
    /// A message in an outbox.
    MessageId(Uuid),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OrderId(id) => write!(f, "order {id}"),
            Self::SagaId(id) => write!(f, "saga {id}"),
            Self::ProductId(id) => write!(f, "product {id}"),
            Self::MessageId(id) => write!(f, "message {id}"),
        }
    }
}

/// A guarantee that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// About what.
    #[serde(flatten)]
    pub subject: Subject,
    /// Which guarantee.
    pub rule: Rule,
    /// What is wrong, in words.
    pub detail: String,
}

impl Violation {
    pub(super) fn of_order(id: Uuid, rule: Rule, detail: impl Into<String>) -> Self {
        Self {
            subject: Subject::OrderId(id),
            rule,
            detail: detail.into(),
        }
    }

    /// The order that it is about, if it is about one.
    #[must_use]
    pub fn order(&self) -> Option<Uuid> {
        match self.subject {
            Subject::OrderId(id) => Some(id),
            _ => None,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.detail)
    }
}

/// A saga that waits for an operator. That is allowed, and to be known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    /// The saga.
    pub saga_id: Uuid,
    /// Its order.
    pub order_id: Uuid,
    /// The step that could not be done, or undone.
    pub step: Option<String>,
    /// Why it was to be undone; none on its way forward.
    pub reason: Option<String>,
}

/// What the audit found.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Orders that were looked at.
    pub orders: u64,
    /// How many orders there are of each status.
    pub by_status: BTreeMap<String, u64>,
    /// Orders of which an operator said that something is done or undone: what participants have of them need not fit, and
    /// is only looked at for what is there twice.
    pub overruled: u64,
    /// How much of what each rule is about was looked at; see [`Rule::ALL`].
    pub checked: BTreeMap<Rule, u64>,
    /// Guarantees that were not kept. Empty is good.
    pub violations: Vec<Violation>,
    /// Sagas that wait for an operator.
    pub parked: Vec<Parked>,
    /// Messages in each dead-letter queue, none where there is no such queue; absent when nobody asked the broker.
    pub dead_letters: Option<BTreeMap<String, Option<u32>>>,
    /// Why the broker could not be asked.
    pub broker_is_away: Option<String>,
    /// Messages that wait because the broker is away, which is what outboxes are for.
    pub held_back: Vec<Violation>,
}

impl Report {
    /// Whether every guarantee was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    pub(super) fn add(&mut self, rule: Rule, checked: usize) {
        *self.checked.entry(rule).or_default() += u64::try_from(checked).unwrap_or(u64::MAX);
    }

    pub(super) fn count(&mut self, order: &Order) {
        self.orders += 1;
        self.overruled += u64::from(order.is_overruled());
        *self.by_status.entry(order.status.clone()).or_default() += 1;
        self.add(Rule::OneSaga, 1);
        self.add(Rule::Status, 1);
        self.add(Rule::Returned, order.returns.len());
        match order.status.as_str() {
            "CANCELLED" => self.add(Rule::Undone, 1),
            "PENDING" => {}
            _ => self.add(Rule::Kept, 1),
        }
        for saga in &order.sagas {
            self.add(Rule::Log, saga.log.len());
            self.add(Rule::Deadline, usize::from(saga.state.is_open()));
            if saga.state.status == "PARKED" {
                self.parked.push(Parked {
                    saga_id: saga.id,
                    order_id: order.id,
                    step: saga.state.step.clone(),
                    reason: saga.state.reason.clone(),
                });
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_status: Vec<_> = self
            .by_status
            .iter()
            .map(|(status, n)| format!("{n} {status}"))
            .collect();
        writeln!(f, "{} orders: {}", self.orders, or_none(&by_status))?;
        for (rule, text, unit) in Rule::ALL {
            let checked = self.checked.get(&rule).copied().unwrap_or_default();
            let broken = self.violations.iter().filter(|v| v.rule == rule).count();
            if broken == 0 {
                writeln!(f, "✔ {text} ({checked} {unit})")?;
            } else {
                writeln!(f, "✘ {text} ({checked} {unit}, {broken} broken)")?;
            }
        }
        for violation in &self.violations {
            writeln!(f, "✘ {violation}")?;
        }
        self.noted(f)?;
        match self.violations.len() {
            0 => write!(f, "Every guarantee held."),
            1 => write!(f, "1 violation."),
            n => write!(f, "{n} violations."),
        }
    }
}

impl Report {
    /// What is no violation, but to be known.
    fn noted(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.overruled > 0 {
            let n = self.overruled;
            writeln!(
                f,
                "Overruled by an operator, so not compared with what participants did: {n}"
            )?;
        }
        writeln!(f, "Parked, waiting for an operator: {}", self.parked.len())?;
        for parked in &self.parked {
            let step = parked.step.as_deref().unwrap_or("?");
            let Parked {
                saga_id, order_id, ..
            } = parked;
            write!(
                f,
                "  saga {saga_id} of order {order_id}: {step} could not be "
            )?;
            match &parked.reason {
                Some(reason) => writeln!(f, "undone ({reason})")?,
                None => writeln!(f, "done, and there is no way back")?,
            }
        }
        if let Some(queues) = &self.dead_letters {
            let queues = queues.iter().filter_map(|(queue, n)| match n {
                Some(0) => None,
                Some(n) => Some(format!("{n} in {queue}")),
                None => Some(format!("{queue} does not exist yet")),
            });
            writeln!(
                f,
                "Dead letters: {}",
                or_none(&queues.collect::<Vec<String>>())
            )?;
        }
        if let Some(why) = &self.broker_is_away {
            let held = self.held_back.len();
            writeln!(
                f,
                "RabbitMQ is away ({why}): dead letters are unknown, and {held} messages wait for it"
            )?;
        }
        Ok(())
    }
}

fn or_none(texts: &[String]) -> String {
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join(", ")
    }
}
