//! How several messages become one AMQP message.

use lapin::BasicProperties;

use super::{
    message::{Content, Outgoing},
    properties::{batch_properties, event_properties},
};

/// An AMQP message that carries one or several of a batch.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) message: AmqpMessage,
    /// Which messages of the batch it carries, by position.
    pub(super) carries: Vec<usize>,
}

/// What `basic.publish` takes.
#[derive(Debug)]
pub(super) struct AmqpMessage {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) mandatory: bool,
    pub(super) properties: BasicProperties,
    pub(super) payload: Vec<u8>,
}

/// Puts `messages` into as few AMQP messages as the contract allows, in order for each destination.
pub(super) fn frames(messages: &[Outgoing], batch_max: usize) -> Vec<Frame> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (position, message) in messages.iter().enumerate() {
        // Few destinations are batchable, so a look at the newest groups finds the one to join.
        let joined = message.batchable().then(|| {
            groups.iter_mut().rev().find(|group| {
                let first = &messages[group[0]];
                first.exchange == message.exchange && first.routing_key == message.routing_key
            })
        });
        match joined.flatten() {
            Some(group) if group.len() < batch_max => group.push(position),
            _ => groups.push(vec![position]),
        }
    }
    groups
        .into_iter()
        .map(|group| frame(messages, group))
        .collect()
}

fn frame(messages: &[Outgoing], carries: Vec<usize>) -> Frame {
    let first = &messages[carries[0]];
    let (properties, payload) = match &first.content {
        Content::Raw(body, properties) => (properties.as_ref().clone(), body.to_vec()),
        Content::Event(envelope, json) if carries.len() == 1 => {
            (event_properties(envelope), json.as_bytes().to_vec())
        }
        Content::Event(envelope, _) => (
            batch_properties(envelope),
            batch_payload(messages, &carries),
        ),
    };
    let message = AmqpMessage {
        exchange: first.exchange().to_owned(),
        routing_key: first.routing_key().to_owned(),
        mandatory: first.mandatory(),
        properties,
        payload,
    };
    Frame { message, carries }
}

fn batch_payload(messages: &[Outgoing], carries: &[usize]) -> Vec<u8> {
    let events = carries
        .iter()
        .filter_map(|&position| messages[position].json());
    let mut payload =
        Vec::with_capacity(events.clone().map(|json| json.len() + 1).sum::<usize>() + 1);
    for json in events {
        payload.push(if payload.is_empty() { b'[' } else { b',' });
        payload.extend_from_slice(json.as_bytes());
    }
    payload.push(b']');
    payload
}

#[cfg(test)]
mod tests {
    use super::{super::properties::MANY, *};
    use crate::contract::{
        Envelope, Message, OrderId, Reason,
        inventory::{ReleaseStock, ReserveStock},
        payment::RefundPayment,
    };

    fn refund() -> Envelope {
        let data = RefundPayment {
            order_id: OrderId::generate(),
            reason: Reason::TIMEOUT,
        };
        Envelope::new("order-service", "an order", &data)
    }

    #[test]
    fn commands_for_one_participant_share_a_message_up_to_the_limit() {
        let messages: Vec<_> = (0..5)
            .map(|_| Outgoing::command("payment", refund()))
            .collect();
        let sizes = |max| {
            frames(&messages, max)
                .iter()
                .map(|f| f.carries.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(64), [5]);
        assert_eq!(sizes(2), [2, 2, 1]);
        assert_eq!(sizes(1), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn a_batch_is_an_array_of_the_same_events() {
        let messages: Vec<_> = (0..2)
            .map(|_| Outgoing::command("payment", refund()))
            .collect();
        let [batch] = &frames(&messages, 64)[..] else {
            panic!("one frame")
        };
        let events: Vec<Envelope> = serde_json::from_slice(&batch.message.payload).unwrap();
        assert_eq!(
            events.iter().map(|e| Some(e.id)).collect::<Vec<_>>(),
            messages.iter().map(Outgoing::id).collect::<Vec<_>>()
        );
        assert_eq!(
            batch
                .message
                .properties
                .content_type()
                .as_ref()
                .map(|t| t.as_str()),
            Some(MANY)
        );
    }

    #[test]
    fn destinations_are_kept_apart_and_events_stay_single() {
        let release = ReleaseStock {
            order_id: OrderId::generate(),
            reason: Reason::TIMEOUT,
        };
        let messages = [
            Outgoing::command("payment", refund()),
            Outgoing::command("inventory", Envelope::new("order-service", "x", &release)),
            Outgoing::command("payment", refund()),
            Outgoing::event(refund()),
            Outgoing::event(refund()),
        ];
        let carried: Vec<_> = frames(&messages, 64)
            .into_iter()
            .map(|f| f.carries)
            .collect();
        assert_eq!(carried, [vec![0, 2], vec![1], vec![3], vec![4]]);
    }

    #[test]
    fn only_what_may_have_no_listener_is_not_mandatory() {
        let [command, event] = [
            Outgoing::command("payment", refund()),
            Outgoing::event(refund()),
        ];
        assert!(command.mandatory());
        assert!(!event.mandatory());
        assert_eq!(ReserveStock::TYPE, "inventory.reserve.v1");
    }
}
