//! What was decided, as statements: new sagas, changed ones, and their log.

use common::db::Writes;

use crate::{decision::Decision, transition::Deadline};

/// One column of what was decided about several sagas.
fn column<'d, T>(decisions: &'d [Decision], of: impl Fn(&'d Decision) -> T) -> Vec<T> {
    decisions.iter().map(of).collect()
}

/// Binds the columns of `sagas` that every decision sets, as parameters 1 to 9.
fn bind_state<'w>(
    statement: &'w mut Writes,
    decisions: &[Decision],
    deadline_scale: f64,
) -> &'w mut Writes {
    statement
        .bind(column(decisions, |d| d.saga.id.0))
        .bind(column(decisions, |d| {
            <&str>::from(d.transition.state.status())
        }))
        .bind(column(decisions, |d| d.transition.state.step()))
        .bind(column(decisions, |d| {
            d.transition.state.attempt().cast_signed()
        }))
        .bind(column(decisions, |d| {
            d.transition.state.reason().map(|reason| reason.to_string())
        }))
        .bind(column(decisions, Decision::version))
        .bind(column(decisions, |d| d.command_id))
        .bind(column(decisions, |d| d.seconds(deadline_scale)))
}

/// Adds the rows and the first log entries of new sagas to `writes`. `deadline_scale` multiplies all deadlines.
pub fn insert(writes: &mut Writes, decisions: &[Decision], deadline_scale: f64) {
    if decisions.is_empty() {
        return;
    }
    let statement = writes.add(
        "INSERT INTO sagas (id, status, current_step, attempt, reason, version, command_id, deadline_at, expires_at,
                            subject, data, type, definition_version, correlation_id, traceparent,
                            tracestate)
         SELECT id, status, current_step, attempt, reason, version, command_id,
                now() + make_interval(secs => LEAST(seconds, life)), now() + make_interval(secs => life),
                subject, data::json, type, definition_version, correlation_id, traceparent, tracestate
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::int[], $7::uuid[], $8::float8[],
                     $9::float8[], $10::text[], $11::text[], $12::text[], $13::int[], $14::text[], $15::text[],
                     $16::text[])
              AS s (id, status, current_step, attempt, reason, version, command_id, seconds,
                    life, subject, data, type, definition_version, correlation_id, traceparent, tracestate)",
    );
    let life = |d: &Decision| {
        let life = d.saga.definition.expires_after();
        life.map(|life| life.as_secs_f64() * deadline_scale)
    };
    bind_state(statement, decisions, deadline_scale)
        .bind(column(decisions, life))
        .bind(column(decisions, |d| d.saga.subject.as_str()))
        .bind(column(decisions, |d| d.saga.data.get()))
        .bind(column(decisions, |d| d.saga.definition.name()))
        .bind(column(decisions, |d| d.saga.definition.version()))
        .bind(column(decisions, |d| d.saga.origin.correlation_id.as_str()))
        .bind(column(decisions, |d| {
            Some(d.saga.origin.trace.as_ref()?.parent())
        }))
        .bind(column(decisions, |d| d.saga.origin.trace.as_ref()?.state()));
    append(writes, decisions);
}

/// Adds what was decided about locked sagas to `writes`: their rows, and their new log entries.
pub fn update(writes: &mut Writes, decisions: &[Decision], deadline_scale: f64) {
    if decisions.is_empty() {
        return;
    }
    let statement = writes.add(
        "UPDATE sagas s
         SET status = n.status, current_step = n.current_step, attempt = n.attempt, reason = n.reason,
             version = n.version, command_id = COALESCE(n.command_id, s.command_id), updated_at = now(),
             expires_at = CASE WHEN n.may_expire THEN s.expires_at END,
             last_error = COALESCE(n.last_error, s.last_error),
             deadline_at = CASE WHEN n.keep_deadline THEN s.deadline_at
                                WHEN n.seconds IS NOT NULL
                                THEN LEAST(now() + make_interval(secs => n.seconds),
                                           CASE WHEN n.may_expire THEN s.expires_at END) END
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::int[], $7::uuid[],
                     $8::float8[], $9::bool[], $10::bool[], $11::text[])
              AS n (id, status, current_step, attempt, reason, version, command_id, seconds, keep_deadline, may_expire,
                    last_error)
         WHERE s.id = n.id",
    );
    bind_state(statement, decisions, deadline_scale)
        .bind(column(decisions, |d| {
            d.transition.deadline == Deadline::Unchanged
        }))
        .bind(column(decisions, |d| d.transition.may_expire()))
        .bind(column(decisions, Decision::last_error));
    append(writes, decisions);
}

fn append(writes: &mut Writes, decisions: &[Decision]) {
    let entries: Vec<_> = decisions
        .iter()
        .flat_map(|decision| {
            let numbered = (decision.saga.version + 1..).zip(&decision.transition.log);
            numbered.map(|(seq, entry)| (decision.saga.id.0, seq, entry))
        })
        .collect();
    let (events, details): (Vec<_>, Vec<_>) = entries
        .iter()
        .map(|(_, _, entry)| entry.to_columns())
        .unzip();
    writes
        .add(
            "INSERT INTO saga_log (saga_id, seq, event, step, details)
             SELECT saga_id, seq, event, step, details::json
             FROM UNNEST($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[])
                  AS e (saga_id, seq, event, step, details)",
        )
        .bind(entries.iter().map(|(saga, _, _)| *saga).collect::<Vec<_>>())
        .bind(entries.iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>())
        .bind(events)
        .bind(
            entries
                .iter()
                .map(|(_, _, entry)| entry.step)
                .collect::<Vec<_>>(),
        )
        .bind(details);
}
