//! What an operator's verb would do, before it does it.

use common::amqp::Message;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{http::orders::OrderView, orders::Order};

/// What an operator's verb would send, and make of the order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Preview {
    commands: Vec<CommandView>,
    /// The types of the public events.
    #[schema(example = json!(["order.cancelled.v1"]))]
    events: Vec<String>,
    /// The order as it would be, if the saga is about one.
    order: Option<OrderView>,
}

/// A command that would be sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Command)]
struct CommandView {
    #[schema(example = "payment")]
    participant: String,
    #[serde(rename = "type")]
    #[schema(example = "payment.refund.v1")]
    kind: String,
    #[schema(value_type = Object)]
    data: Value,
}

impl Preview {
    /// What `messages` would tell whom, and what the order would be.
    pub(super) fn of(messages: &[Message], order: Option<Order>) -> Self {
        let (mut commands, mut events) = (Vec::new(), Vec::new());
        for message in messages {
            let mut event: Value = serde_json::from_str(message.json()).unwrap_or_default();
            let kind = event["type"].as_str().unwrap_or_default().to_owned();
            match message.destination().participant() {
                Some(participant) => commands.push(CommandView {
                    participant: participant.to_owned(),
                    kind,
                    data: event["data"].take(),
                }),
                None => events.push(kind),
            }
        }
        Self {
            commands,
            events,
            order: order.map(OrderView::from),
        }
    }
}
