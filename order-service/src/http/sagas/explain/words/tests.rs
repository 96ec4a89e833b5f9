//! A sentence for each state and cause that there is.

use chrono::TimeZone;

use super::*;
use crate::http::sagas::explain::facts::{Cause, Overruled};

fn at(seconds: i64) -> DateTime<Utc> {
    let now = Utc.with_ymd_and_hms(2026, 11, 22, 3, 12, 0).unwrap();
    now + TimeDelta::seconds(seconds)
}

/// A saga that waits for inventory: asked 240 s ago, asked again in 9 s.
fn waiting(change: impl FnOnce(&mut Facts, &mut Waits, &mut Next)) -> Facts {
    let mut facts = Facts {
        at: at(0),
        kind: "create_order".to_owned(),
        definition_version: 1,
        status: "RUNNING".to_owned(),
        step: Some("inventory".to_owned()),
        created_at: at(-250),
        updated_at: at(-240),
        deadline_at: Some(at(9)),
        ..Facts::default()
    };
    let mut waits = Waits {
        participant: "inventory".to_owned(),
        since: at(-240),
        attempt: 1,
        attempts: 3,
        asked_at: at(-240),
        broker_connected: true,
        queue: Some(queue(212, 0)),
        ..Waits::default()
    };
    let mut next = Next {
        at: at(9),
        again: 2,
        then_undone: Some(vec!["inventory".to_owned(), "payment".to_owned()]),
        ..Next::default()
    };
    change(&mut facts, &mut waits, &mut next);
    (facts.waits, facts.next) = (Some(waits), Some(next));
    facts
}

fn queue(messages: u32, consumers: u32) -> Queue {
    Queue {
        name: "inventory.commands".to_owned(),
        messages,
        consumers,
    }
}

fn letters(queue: &str, messages: u32) -> DeadLetters {
    DeadLetters {
        queue: queue.to_owned(),
        messages,
    }
}

fn unsent(attempts: i32, last_error: Option<&str>) -> Option<Unsent> {
    Some(Unsent {
        since: at(-100),
        attempts,
        last_error: last_error.map(str::to_owned),
        is_waiting: true,
    })
}

fn ended(status: &str, undone: Option<Undone>) -> Facts {
    Facts {
        at: at(0),
        status: status.to_owned(),
        created_at: at(-190_000),
        updated_at: at(-180_000),
        undone,
        ..Facts::default()
    }
}

fn parked(parked: Parked) -> Facts {
    Facts {
        at: at(0),
        status: "PARKED".to_owned(),
        step: Some("payment".to_owned()),
        parked: Some(Parked {
            since: at(-8000),
            participant: Some("payment".to_owned()),
            ..parked
        }),
        ..Facts::default()
    }
}

fn undone(cause: Option<Cause>, steps: &[&str]) -> Undone {
    Undone {
        reason: "WHY".to_owned(),
        cause,
        steps: steps.iter().map(|step| (*step).to_owned()).collect(),
    }
}

fn because(kind: CauseKind, text: Option<&str>) -> Option<Cause> {
    let is_step = matches!(kind, CauseKind::Rejected | CauseKind::Silent);
    Some(Cause {
        kind,
        step: is_step.then(|| "inventory".to_owned()),
        attempts: (kind == CauseKind::Silent).then_some(3),
        text: text.map(str::to_owned),
    })
}

fn overruled(verb: &str, facts: Facts) -> Facts {
    Facts {
        overruled: Some(Overruled {
            verb: verb.to_owned(),
            actor: Some("ada".to_owned()),
            note: Some("paid by hand".to_owned()),
        }),
        ..facts
    }
}

fn rejected(detail: &str) -> Option<Cause> {
    because(CauseKind::Rejected, Some(detail))
}

const NIL: &str = "00000000-0000-0000-0000-000000000000";

fn cases() -> Vec<(Facts, String)> {
    let says = |facts, words: &str| (facts, words.replace("$ID", NIL));
    let sent = "Has waited for inventory for 4 min (attempt 1 of 3): ";
    let then = "; inventory is asked again at 03:12:09 UTC, at most 2 times, and then inventory and payment are undone.";
    let is_sent = |why: &str, change: fn(&mut Facts, &mut Waits, &mut Next)| {
        says(waiting(change), &format!("{sent}{why}{then}"))
    };
    let still = "; no attempt is used up before it has left.";
    let is_unsent = |why: &str, change: fn(&mut Waits)| {
        let facts = waiting(|_, waits, _| {
            waits.unsent = unsent(0, None);
            change(waits);
        });
        says(facts, &format!("{sent}{why}{still}"))
    };
    vec![
        // The command was sent.
        is_sent(
            "its queue inventory.commands holds 212 messages and nobody consumes it: inventory does not run",
            |_, _, _| {},
        ),
        is_sent(
            "its queue inventory.commands holds 1 message for one consumer, which is behind",
            |_, waits, _| waits.queue = Some(queue(1, 1)),
        ),
        is_sent(
            "its queue inventory.commands holds 7 messages for 2 consumers, which are behind",
            |_, waits, _| waits.queue = Some(queue(7, 2)),
        ),
        is_sent(
            "its command was sent 4 min ago and taken out of inventory.commands, and no reply has come",
            |_, waits, _| waits.queue = Some(queue(0, 2)),
        ),
        is_sent(
            "its command was sent 4 min ago, its queue inventory.commands is empty, and nobody consumes it: inventory does \
             not run, and whoever took the command is gone",
            |_, waits, _| waits.queue = Some(queue(0, 0)),
        ),
        is_sent(
            "its command was sent 4 min ago, and RabbitMQ does not tell how its queue is",
            |_, waits, _| waits.queue = None,
        ),
        is_sent(
            "its command was sent 4 min ago, and RabbitMQ cannot be reached, so nobody can tell how its queue is",
            |_, waits, _| (waits.queue, waits.broker_connected) = (None, false),
        ),
        is_sent(
            "its command was sent 4 min ago and taken out of inventory.commands, and no reply has come; \
             inventory.commands.dlq holds 3 dead letters and order.saga.replies.dlq holds a dead letter, where its command or \
             the reply may be (GET /dead-letters/inventory.commands.dlq?sagaId=$ID)",
            |facts, waits, _| {
                waits.queue = Some(queue(0, 2));
                facts.dead_letters = Some(vec![
                    letters("inventory.commands.dlq", 3),
                    letters("order.saga.replies.dlq", 1),
                ]);
            },
        ),
        // It has not left.
        is_unsent(
            "its command has been in the outbox for 100 s, because RabbitMQ cannot be reached",
            |waits| (waits.queue, waits.broker_connected) = (None, false),
        ),
        is_unsent(
            "its command has been in the outbox for 100 s, because nobody consumes the queue of inventory (212 messages in \
             inventory.commands)",
            |waits| waits.held = Some(Held::Absent),
        ),
        is_unsent(
            "its command has been in the outbox for 100 s, because the queue of inventory is full (2000 messages in \
             inventory.commands)",
            |waits| (waits.held, waits.queue) = (Some(Held::Full), Some(queue(2000, 1))),
        ),
        is_unsent(
            "its command has been in the outbox for 100 s, behind older ones, which inventory is taking now",
            |waits| waits.held = Some(Held::Behind),
        ),
        is_unsent(
            "its command has been in the outbox for 100 s, for it could not be published 3 times (the last time: unroutable: \
             no queue is bound for it)",
            |waits| waits.unsent = unsent(3, Some("unroutable: no queue is bound for it")),
        ),
        is_unsent(
            "its command has been in the outbox for 100 s, and goes out with the next sweep",
            |_| {},
        ),
        is_unsent("its command is being sent now", |waits| {
            let unsent = waits.unsent.as_mut().unwrap();
            unsent.is_waiting = false;
        }),
        // What comes next.
        says(
            waiting(|facts, waits, next| {
                facts.step = Some("restock".to_owned());
                (waits.since, waits.asked_at) = (at(0), at(0));
                (waits.attempts, next.again, next.then_undone) = (10, 9, None);
                waits.queue = Some(queue(0, 1));
            }),
            "Has waited for inventory to do restock for less than a second (attempt 1 of 10): its command was sent less than a \
             second ago and taken out of inventory.commands, and no reply has come; inventory is asked again at 03:12:09 \
             UTC, at most 9 times, and then it is parked for an operator.",
        ),
        says(
            waiting(|_, waits, next| {
                (waits.attempt, next.again) = (2, 1);
                next.then_undone = Some(vec!["payment".to_owned()]);
            }),
            "Has waited for inventory for 4 min (attempt 2 of 3): its queue inventory.commands holds 212 messages and nobody \
             consumes it: inventory does not run; inventory is asked once more at 03:12:09 UTC, and then payment is undone.",
        ),
        says(
            waiting(|facts, waits, next| {
                (waits.attempt, next.again) = (3, 0);
                next.then_undone = Some(vec![]);
                facts.expires_at = Some(at(86_400));
            }),
            "Has waited for inventory for 4 min (attempt 3 of 3): its queue inventory.commands holds 212 messages and nobody \
             consumes it: inventory does not run; if no reply comes by 03:12:09 UTC, the saga ends, for there is nothing to \
             undo; all of it must be through at 2026-11-23 03:12:00 UTC.",
        ),
        says(
            waiting(|facts, _, next| {
                facts.expires_at = Some(next.at);
                (next.again, next.then_undone) = (0, None);
            }),
            "Has waited for inventory for 4 min (attempt 1 of 3): its queue inventory.commands holds 212 messages and nobody \
             consumes it: inventory does not run; its time is over at 03:12:09 UTC, and then it is parked for an operator.",
        ),
        says(
            waiting(|_, _, next| next.at = at(-300)),
            "Has waited for inventory for 4 min (attempt 1 of 3): its queue inventory.commands holds 212 messages and nobody \
             consumes it: inventory does not run; its deadline passed 5 min ago and nobody has looked at it: does an order \
             service run that can?",
        ),
        // The way back.
        says(
            waiting(|facts, waits, next| {
                facts.status = "COMPENSATING".to_owned();
                facts.step = Some("payment".to_owned());
                facts.undone = Some(undone(rejected("prod-1\nhas 3."), &[]));
                waits.participant = "payment".to_owned();
                (waits.attempts, next.again, next.then_undone) = (10, 9, None);
            }),
            "Is being undone after inventory was refused (WHY: prod-1 has 3), and has waited for payment to undo payment for \
             4 min (attempt 1 of 10): its queue inventory.commands holds 212 messages and nobody consumes it: payment does \
             not run; payment is asked again at 03:12:09 UTC, at most 9 times, and then it is parked for an operator.",
        ),
        // Parked.
        says(
            parked(Parked {
                undoing: true,
                attempts: Some(10),
                ..Parked::default()
            }),
            "Has been parked for 2 h: it asked payment to undo payment 10 times without a reply; when payment works again, \
             POST /sagas/$ID/retry goes on with undoing payment.",
        ),
        says(
            parked(Parked {
                attempts: Some(10),
                ..Parked::default()
            }),
            "Has been parked for 2 h: it asked payment to do payment, which nothing undoes, 10 times without a reply; when \
             payment works again, POST /sagas/$ID/retry asks payment again.",
        ),
        says(
            parked(Parked {
                expired: true,
                ..Parked::default()
            }),
            "Has been parked for 2 h, because it was not through in time and payment cannot be undone; \
             POST /sagas/$ID/retry asks payment again.",
        ),
        says(
            parked(Parked {
                problem: Some("saga 1 cannot be understood: its status is \"LOST\"".to_owned()),
                undoing: true,
                ..Parked::default()
            }),
            "Has been parked for 2 h, because its row or its log makes no sense: saga 1 cannot be understood: its status is \
             \"LOST\"; mend that, and POST /sagas/$ID/retry goes on with undoing payment.",
        ),
        // Ended.
        says(
            ended("COMPLETED", None),
            "Was completed 2 days ago, 2 h after it began: every step is done.",
        ),
        says(
            ended(
                "COMPENSATED",
                Some(undone(rejected("prod-1"), &["payment"])),
            ),
            "Ended 2 days ago, 2 h after it began, after inventory was refused (WHY: prod-1): payment was undone.",
        ),
        says(
            ended(
                "COMPENSATED",
                Some(undone(
                    because(CauseKind::Silent, None),
                    &["inventory", "payment"],
                )),
            ),
            "Ended 2 days ago, 2 h after it began, after inventory was tried 3 times without a reply (WHY): inventory \
             and payment were undone.",
        ),
        says(
            ended(
                "COMPENSATED",
                Some(undone(
                    because(CauseKind::Cancelled, Some("changed my mind")),
                    &["c", "b", "a"],
                )),
            ),
            "Ended 2 days ago, 2 h after it began, after it was cancelled (WHY: changed my mind): c, b and a were undone.",
        ),
        says(
            ended(
                "COMPENSATED",
                Some(undone(because(CauseKind::Expired, None), &[])),
            ),
            "Ended 2 days ago, 2 h after it began, after its time was over (WHY): there was nothing to undo.",
        ),
        says(
            Facts {
                log_dropped: true,
                ..ended("COMPENSATED", Some(undone(None, &[])))
            },
            "Ended 2 days ago, 2 h after it began, after something that its log does not tell (WHY): nothing of any step is \
             left (its log is older than RETENTION_DAYS, and dropped).",
        ),
        // An operator intervened.
        is_unsent(
            "its command has been in the outbox for 100 s, because an operator has paused inventory \
             (POST /participants/inventory/resume lets it go)",
            |waits| waits.held = Some(Held::Paused),
        ),
        says(
            overruled("force-complete", ended("COMPLETED", None)),
            "Was completed 2 days ago, 2 h after it began, as ada said (force-complete: paid by hand): not every step need be \
             done.",
        ),
        says(
            overruled(
                "skip",
                ended(
                    "COMPENSATED",
                    Some(undone(because(CauseKind::Expired, None), &["b"])),
                ),
            ),
            "Ended 2 days ago, 2 h after it began, after its time was over (WHY), as ada said (skip: paid by hand): b was \
             undone.",
        ),
        // What this program cannot read.
        says(
            Facts {
                unreadable: Some(Unreadable::UnknownDefinition),
                ..waiting(|facts, _, _| facts.definition_version = 9)
            },
            "Is RUNNING, and this program does not have its definition, create_order v9: only a release that has it can say \
             more and go on with it, when a reply comes or at 03:12:09 UTC.",
        ),
        says(
            Facts {
                unreadable: Some(Unreadable::UnknownDefinition),
                kind: "trip".to_owned(),
                ..ended("COMPLETED", None)
            },
            "Is COMPLETED, and this program does not have its definition, trip v0, so it cannot say more.",
        ),
        says(
            Facts {
                unreadable: Some(Unreadable::Damaged),
                deadline_at: Some(at(9)),
                step: Some("nonsense".to_owned()),
                ..ended("RUNNING", None)
            },
            "Has a row that makes no sense (status RUNNING, step nonsense): it is parked at 03:12:09 UTC, and then the row \
             has to be mended before POST /sagas/$ID/retry.",
        ),
        says(
            Facts {
                unreadable: Some(Unreadable::Damaged),
                ..ended("COMPLETED", None)
            },
            "Has a row that makes no sense (status COMPLETED, step none): somebody has changed it, and it stays as it is \
             until it is mended.",
        ),
    ]
}

#[test]
fn there_is_a_sentence_for_each_state_and_cause() {
    for (facts, expected) in cases() {
        let said = explanation(&facts);
        // A question ends with its own mark.
        assert_eq!(said, expected, "{facts:#?}");
        assert!(!said.contains("  ") && !said.contains("nknown"), "{said}");
    }
}

#[test]
fn what_others_wrote_is_short_and_on_one_line() {
    let long = "x\n".repeat(1000);
    let facts = ended("COMPENSATED", Some(undone(rejected(&long), &[])));
    let said = explanation(&facts);
    assert!(said.chars().count() < 400 && !said.contains('\n'), "{said}");
}
