//! How several messages become one AMQP message.

use lapin::BasicProperties;

use super::{
    Destination, Message, Outgoing, Raw,
    properties::{batch_properties, message_properties},
};
use crate::telemetry::{Span, messaging};

/// Bytes of messages that share an AMQP message. RabbitMQ 4 takes 16 MiB at most, and whoever reads has all of it in memory.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// An AMQP message that carries one or several of a batch.
#[derive(Debug)]
pub(super) struct Frame {
    /// Which line it takes: for a message, where it goes.
    pub(super) line: Destination,
    pub(super) message: AmqpMessage,
    /// Which messages of the batch it carries, by position, and that they are being sent.
    pub(super) carries: Vec<(usize, Span)>,
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

/// What shares an AMQP message, each with its position.
enum Group<'a> {
    Raw(usize, &'a Raw),
    Messages(Vec<(usize, &'a Message)>),
}

/// Puts `outgoing` into as few AMQP messages as the contract allows, in order for each destination.
pub(super) fn frames(outgoing: &[Outgoing], batch_max: usize) -> Vec<Frame> {
    let mut groups = Vec::new();
    for (position, one) in outgoing.iter().enumerate() {
        match one {
            Outgoing::Raw(raw) => groups.push(Group::Raw(position, raw)),
            Outgoing::Message(message) => match group_of(message, &mut groups, batch_max) {
                Some(group) => group.push((position, message)),
                None => groups.push(Group::Messages(vec![(position, message)])),
            },
        }
    }
    groups
        .iter()
        .map(|group| match group {
            Group::Raw(position, raw) => frame_of_raw(*position, raw),
            Group::Messages(messages) => frame_of_messages(messages),
        })
        .collect()
}

/// The group that `message` may join. Few destinations are batchable, so a look at the newest groups finds it.
fn group_of<'g, 'a>(
    message: &Message,
    groups: &'g mut [Group<'a>],
    batch_max: usize,
) -> Option<&'g mut Vec<(usize, &'a Message)>> {
    if !message.batchable() {
        return None;
    }
    let same_destination = groups.iter_mut().rev().find_map(|group| match group {
        Group::Messages(messages) if messages[0].1.destination() == message.destination() => {
            Some(messages)
        }
        Group::Messages(_) | Group::Raw(..) => None,
    });
    let has_room = |group: &Vec<(usize, &Message)>| {
        let bytes = group.iter().map(|(_, message)| message.json().len());
        group.len() < batch_max && bytes.sum::<usize>() + message.json().len() <= BATCH_BYTES_MAX
    };
    same_destination.filter(|group| has_room(group))
}

fn frame_of_raw(position: usize, raw: &Raw) -> Frame {
    Frame {
        line: raw.line(),
        message: AmqpMessage {
            exchange: raw.exchange().to_owned(),
            routing_key: raw.routing_key().to_owned(),
            mandatory: raw.mandatory(),
            properties: raw.properties().clone(),
            payload: raw.body().to_vec(),
        },
        carries: vec![(position, Span::default())],
    }
}

fn frame_of_messages(messages: &[(usize, &Message)]) -> Frame {
    let first = messages[0].1;
    let (properties, payload) = if messages.len() == 1 {
        (
            message_properties(first.envelope()),
            first.json().as_bytes().to_vec(),
        )
    } else {
        (batch_properties(first.envelope()), batch_payload(messages))
    };
    Frame {
        line: first.destination().clone(),
        message: AmqpMessage {
            exchange: first.destination().exchange().to_owned(),
            routing_key: first.destination().routing_key().to_owned(),
            mandatory: first.mandatory(),
            properties,
            payload,
        },
        carries: messages
            .iter()
            .map(|(position, one)| (*position, send(one)))
            .collect(),
    }
}

fn send(message: &Message) -> Span {
    let to = message.destination();
    messaging::send((to.exchange(), to.routing_key()), message.envelope())
}

fn batch_payload(messages: &[(usize, &Message)]) -> Vec<u8> {
    let json = messages.iter().map(|(_, message)| message.json());
    let mut payload =
        Vec::with_capacity(json.clone().map(|json| json.len() + 1).sum::<usize>() + 1);
    for json in json {
        payload.push(if payload.is_empty() { b'[' } else { b',' });
        payload.extend_from_slice(json.as_bytes());
    }
    payload.push(b']');
    payload
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Lane, properties::MANY},
        *,
    };
    use crate::contract::{
        Envelope, OrderId, Reason, inventory::ReleaseStock, payment::RefundPayment,
    };

    fn refund() -> Envelope {
        let data = RefundPayment {
            order_id: OrderId::generate(),
            reason: Reason::TIMEOUT,
        };
        Envelope::new("order-service", "an order", &data)
    }

    fn command() -> Outgoing {
        Message::command("payment", refund()).into()
    }

    fn event() -> Outgoing {
        Message::event(refund()).into()
    }

    #[test]
    fn commands_for_one_participant_share_a_message_up_to_the_limit() {
        let messages: Vec<_> = (0..5).map(|_| command()).collect();
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

    /// The positions of what each AMQP message carries.
    fn carried(messages: &[Outgoing]) -> Vec<Vec<usize>> {
        let frames = frames(messages, 64).into_iter();
        let positions = |frame: Frame| frame.carries.into_iter().map(|(position, _)| position);
        frames.map(|frame| positions(frame).collect()).collect()
    }

    #[test]
    fn large_commands_share_a_message_only_as_far_as_it_can_be_taken() {
        let large = || {
            let mut envelope = refund();
            envelope.data = serde_json::value::to_raw_value(&"x".repeat(400_000)).unwrap();
            Message::command("payment", envelope).into()
        };
        let messages = [large(), large(), large(), command(), large()];
        assert_eq!(carried(&messages), [vec![0, 1], vec![2, 3, 4]]);
    }

    #[test]
    fn a_batch_is_an_array_of_the_same_events() {
        let commands: Vec<_> = (0..2)
            .map(|_| Message::command("payment", refund()))
            .collect();
        let outgoing: Vec<_> = commands.iter().cloned().map(Outgoing::from).collect();
        let [batch] = &frames(&outgoing, 64)[..] else {
            panic!("one frame")
        };
        let events: Vec<Envelope> = serde_json::from_slice(&batch.message.payload).unwrap();
        assert_eq!(
            events.iter().map(|e| e.id).collect::<Vec<_>>(),
            commands.iter().map(Message::id).collect::<Vec<_>>()
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
            command(),
            Message::command("inventory", Envelope::new("order-service", "x", &release)).into(),
            command(),
            event(),
            event(),
        ];
        assert_eq!(carried(&messages), [vec![0, 2], vec![1], vec![3], vec![4]]);
    }

    #[test]
    fn only_what_may_have_no_listener_is_not_mandatory() {
        let outgoing = [
            command(),
            event(),
            Raw::response("a client", None, &refund()).into(),
            Raw::dead_letter("a queue", Vec::new(), BasicProperties::default()).into(),
        ];
        let mandatory: Vec<_> = frames(&outgoing, 64)
            .into_iter()
            .map(|frame| frame.message.mandatory)
            .collect();
        assert_eq!(mandatory, [true, false, false, true]);
    }

    #[test]
    fn only_events_take_the_lane_of_events() {
        let outgoing = [
            command(),
            event(),
            Raw::response("a client", None, &refund()).into(),
        ];
        let lanes: Vec<_> = frames(&outgoing, 64)
            .into_iter()
            .map(|frame| frame.line.lane())
            .collect();
        assert_eq!(lanes, [Lane::Saga, Lane::Events, Lane::Saga]);
    }
}
