//! The facts about a saga in one sentence, for somebody who was woken up at three in the morning. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use common::outbox::{Held, Unsent};

use super::facts::{CauseKind, DeadLetters, Facts, Next, Parked, Queue, Undone, Unreadable, Waits};

/// A saga that nobody has looked at for so long after its deadline is overdue.
const OVERDUE: TimeDelta = TimeDelta::seconds(10);

/// The sentence.
pub(super) fn explanation(facts: &Facts) -> String {
    let sentence = match (facts.unreadable, &facts.waits, &facts.parked) {
        (Some(Unreadable::UnknownDefinition), ..) => of_unknown_definition(facts),
        (_, _, Some(parked)) => of_parked(facts, parked),
        (Some(Unreadable::Damaged), ..) => of_damaged(facts),
        (None, Some(waits), None) => of_waiting(facts, waits),
        (None, None, None) => of_ended(facts),
    };
    let mut letters = sentence.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let end = if sentence.ends_with('?') { "" } else { "." };
    first.unwrap_or_default() + letters.as_str() + end
}

fn of_unknown_definition(facts: &Facts) -> String {
    let Facts {
        kind,
        definition_version,
        status,
        ..
    } = facts;
    let begin = format!(
        "is {status}, and this program does not have its definition, {kind} v{definition_version}"
    );
    match facts.deadline_at {
        Some(at) => format!(
            "{begin}: only a release that has it can say more and go on with it, when a reply comes or at {}",
            clock(facts.at, at)
        ),
        None => format!("{begin}, so it cannot say more"),
    }
}

fn of_damaged(facts: &Facts) -> String {
    let (status, step) = (&facts.status, facts.step.as_deref().unwrap_or("none"));
    let begin = format!("has a row that makes no sense (status {status}, step {step})");
    match facts.deadline_at {
        Some(at) => format!(
            "{begin}: it is parked at {}, and then the row has to be mended before POST /sagas/{}/retry",
            clock(facts.at, at),
            facts.saga_id
        ),
        None => {
            format!("{begin}: somebody has changed it, and it stays as it is until it is mended")
        }
    }
}

fn of_parked(facts: &Facts, parked: &Parked) -> String {
    let since = duration(facts.at - parked.since);
    let step = facts.step.as_deref().unwrap_or("its step");
    let who = parked.participant.as_deref().unwrap_or("its participant");
    let retry = format!("POST /sagas/{}/retry", facts.saga_id);
    let again = match parked.undoing {
        true => format!("goes on with undoing {step}"),
        false => format!("asks {who} again"),
    };
    if let Some(problem) = &parked.problem {
        return format!(
            "has been parked for {since}, because its row or its log makes no sense: {}; mend that, and {retry} {again}",
            plain(problem)
        );
    }
    if parked.expired {
        return format!(
            "has been parked for {since}, because it was not through in time and {step} cannot be undone; \
             {retry} {again}"
        );
    }
    let times = parked
        .attempts
        .map_or("many".to_owned(), |times| times.to_string());
    let what = match parked.undoing {
        true => format!("asked {who} to undo {step} {times} times"),
        false => format!("asked {who} to do {step}, which nothing undoes, {times} times"),
    };
    let why = facts
        .undone
        .as_ref()
        .map(|undone| format!(", after {}", cause(undone)));
    format!(
        "has been parked for {since}{}: it {what} without a reply{}; when {who} works again, {retry} {again}",
        why.unwrap_or_default(),
        letters(facts)
    )
}

fn of_waiting(facts: &Facts, waits: &Waits) -> String {
    let who = &waits.participant;
    let step = facts.step.as_deref().unwrap_or(who);
    let to_do = match (&facts.undone, step == who) {
        (Some(_), _) => format!("{who} to undo {step}"),
        (None, true) => who.clone(),
        (None, false) => format!("{who} to do {step}"),
    };
    let begin = match &facts.undone {
        Some(undone) => format!("is being undone after {}, and has", cause(undone)),
        None => "has".to_owned(),
    };
    let waited = duration(facts.at - waits.since);
    let (attempt, attempts) = (waits.attempt, waits.attempts);
    let why = match &waits.unsent {
        Some(unsent) => unsent_because(facts.at, waits, unsent),
        None => silent_because(facts.at, waits),
    };
    let next = facts
        .next
        .as_ref()
        .map(|next| after_that(facts, waits, next));
    format!(
        "{begin} waited for {to_do} for {waited} (attempt {attempt} of {attempts}): {why}{}{}",
        letters(facts),
        next.unwrap_or_default()
    )
}

/// Why a command is in the outbox.
fn unsent_because(now: DateTime<Utc>, waits: &Waits, unsent: &Unsent) -> String {
    let who = &waits.participant;
    let held = duration(now - unsent.since);
    let stays = format!("its command has been in the outbox for {held},");
    match (waits.broker_connected, waits.held, &unsent.last_error) {
        (_, Some(Held::Paused), _) => {
            format!(
                "{stays} because an operator has paused {who} (POST /participants/{who}/resume lets it go)"
            )
        }
        (false, ..) => {
            format!("{stays} because RabbitMQ cannot be reached")
        }
        (true, Some(Held::Absent), _) => {
            format!(
                "{stays} because nobody consumes the queue of {who}{}",
                content(waits)
            )
        }
        (true, Some(Held::Full), _) => {
            format!(
                "{stays} because the queue of {who} is full{}",
                content(waits)
            )
        }
        (true, Some(Held::Behind), _) => {
            format!("{stays} behind older ones, which {who} is taking now")
        }
        (true, None, _) if !unsent.is_waiting => "its command is being sent now".to_owned(),
        (true, None, Some(error)) => format!(
            "{stays} for it could not be published {} (the last time: {})",
            times(unsent.attempts.unsigned_abs()),
            plain(error)
        ),
        (true, None, None) => format!("{stays} and goes out with the next sweep"),
    }
}

fn content(waits: &Waits) -> String {
    let content = waits.queue.as_ref();
    let content = content.map(|queue| format!(" ({} in {})", messages(queue.messages), queue.name));
    content.unwrap_or_default()
}

/// Why a command that was sent is not answered.
fn silent_because(now: DateTime<Utc>, waits: &Waits) -> String {
    let (who, sent) = (&waits.participant, duration(now - waits.asked_at));
    let Some(Queue {
        name,
        messages: count,
        consumers,
    }) = &waits.queue
    else {
        let why = match waits.broker_connected {
            true => "RabbitMQ does not tell how its queue is",
            false => "RabbitMQ cannot be reached, so nobody can tell how its queue is",
        };
        return format!("its command was sent {sent} ago, and {why}");
    };
    let count = messages(*count);
    match (
        waits.queue.as_ref().map_or(0, |queue| queue.messages),
        consumers,
    ) {
        (0, 0) => format!(
            "its command was sent {sent} ago, its queue {name} is empty, and nobody consumes it: {who} does not run, and \
             whoever took the command is gone"
        ),
        (_, 0) => {
            format!("its queue {name} holds {count} and nobody consumes it: {who} does not run")
        }
        (0, _) => format!(
            "its command was sent {sent} ago and taken out of {name}, and no reply has come"
        ),
        (_, 1) => format!("its queue {name} holds {count} for one consumer, which is behind"),
        (_, many) => {
            format!("its queue {name} holds {count} for {many} consumers, which are behind")
        }
    }
}

/// Where else its command or the reply may be.
fn letters(facts: &Facts) -> String {
    let mut queues = facts.dead_letters.iter().flatten();
    let Some(first) = queues.next() else {
        return String::new();
    };
    let holds = |one: &DeadLetters| match one.messages {
        1 => format!("{} holds a dead letter", one.queue),
        many => format!("{} holds {many} dead letters", one.queue),
    };
    let others: String = queues.map(|one| format!(" and {}", holds(one))).collect();
    format!(
        "; {}{others}, where its command or the reply may be (GET /dead-letters/{}?sagaId={})",
        holds(first),
        first.queue,
        facts.saga_id
    )
}

/// What follows.
fn after_that(facts: &Facts, waits: &Waits, next: &Next) -> String {
    let gives_up = match &next.then_undone {
        None => "it is parked for an operator".to_owned(),
        Some(steps) if steps.is_empty() => "the saga ends, for there is nothing to undo".to_owned(),
        Some(steps) => format!("{} undone", list(steps)),
    };
    let expires = facts.expires_at.filter(|at| *at != next.at);
    let expires = expires.map_or(String::new(), |at| {
        format!("; all of it must be through at {}", clock(facts.at, at))
    });
    let at = clock(facts.at, next.at);
    if waits.unsent.is_some() && facts.expires_at != Some(next.at) {
        return format!("; no attempt is used up before it has left{expires}");
    }
    let late = facts.at - next.at;
    if late > OVERDUE {
        return format!(
            "; its deadline passed {} ago and nobody has looked at it: does an order service run that can?",
            duration(late)
        );
    }
    if facts.expires_at == Some(next.at) {
        return format!("; its time is over at {at}, and then {gives_up}");
    }
    let who = &waits.participant;
    match next.again {
        0 => format!("; if no reply comes by {at}, {gives_up}{expires}"),
        1 => format!("; {who} is asked once more at {at}, and then {gives_up}{expires}"),
        more => format!(
            "; {who} is asked again at {at}, at most {more} times, and then {gives_up}{expires}"
        ),
    }
}

fn of_ended(facts: &Facts) -> String {
    let took = duration(facts.updated_at - facts.created_at);
    let ago = duration(facts.at - facts.updated_at);
    let said = facts.overruled.as_ref().map(|by| {
        let actor = by.actor.as_deref().unwrap_or("an operator");
        let note = by.note.as_deref().map(plain).unwrap_or_default();
        format!(", as {} said ({}: {note})", plain(actor), by.verb)
    });
    let said = said.unwrap_or_default();
    match &facts.undone {
        None if !said.is_empty() => {
            format!(
                "was completed {ago} ago, {took} after it began{said}: not every step need be done"
            )
        }
        None => format!("was completed {ago} ago, {took} after it began: every step is done"),
        Some(undone) => {
            let what = match &undone.steps[..] {
                [] if facts.log_dropped => "nothing of any step is left".to_owned(),
                [] => "there was nothing to undo".to_owned(),
                steps => format!(
                    "{} undone",
                    list(steps).replace(" is", " was").replace(" are", " were")
                ),
            };
            let dropped = match facts.log_dropped {
                true => " (its log is older than RETENTION_DAYS, and dropped)",
                false => "",
            };
            format!(
                "ended {ago} ago, {took} after it began, after {}{said}: {what}{dropped}",
                cause(undone)
            )
        }
    }
}

/// Why a saga is or was undone, as something that it happened after.
fn cause(undone: &Undone) -> String {
    let reason = &undone.reason;
    let Some(cause) = &undone.cause else {
        return format!("something that its log does not tell ({reason})");
    };
    let step = cause.step.as_deref().unwrap_or("a step");
    let text = cause.text.as_deref();
    let text = text.map_or(String::new(), |text| format!(": {}", plain(text)));
    match cause.kind {
        CauseKind::Rejected => format!("{step} was refused ({reason}{text})"),
        CauseKind::Silent => {
            let times = times(cause.attempts.unwrap_or(1));
            format!("{step} was tried {times} without a reply ({reason})")
        }
        CauseKind::Expired => format!("its time was over ({reason})"),
        CauseKind::Cancelled => format!("it was cancelled ({reason}{text})"),
    }
}

fn messages(count: u32) -> String {
    match count {
        1 => "1 message".to_owned(),
        many => format!("{many} messages"),
    }
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        many => format!("{many} times"),
    }
}

/// `a is`, `a and b are`, `a, b and c are`.
fn list(steps: &[String]) -> String {
    match steps {
        [] => String::new(),
        [one] => format!("{one} is"),
        [others @ .., last] => format!("{} and {last} are", others.join(", ")),
    }
}

/// What somebody else wrote, on one line and not for ever.
fn plain(text: &str) -> String {
    const MAX: usize = 200;
    let mut plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX)
        .collect();
    if text.chars().count() > MAX {
        plain.push('…');
    }
    plain.trim().trim_end_matches('.').to_owned()
}

/// A time of day, with its date where it is another day's.
fn clock(now: DateTime<Utc>, at: DateTime<Utc>) -> String {
    let form = match now.date_naive() == at.date_naive() {
        true => "%H:%M:%S UTC",
        false => "%Y-%m-%d %H:%M:%S UTC",
    };
    at.format(form).to_string()
}

/// A duration in the unit that says enough. What is less than nothing is the drift of a clock.
fn duration(of: TimeDelta) -> String {
    let seconds = of.num_seconds();
    match seconds {
        ..1 => "less than a second".to_owned(),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
