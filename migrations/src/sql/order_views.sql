-- What operators may build on: see docs/SQL.md. Columns are only ever added, behind the others, by
-- CREATE OR REPLACE VIEW.
CREATE SCHEMA saga_v1;

CREATE VIEW saga_v1.sagas AS
SELECT id AS saga_id, type, definition_version, subject, split_part(subject, '/', 1) AS subject_kind,
       substr(subject, strpos(subject, '/') + 1) AS subject_id, status, current_step, attempt AS attempts, reason,
       last_error, version, correlation_id, created_at, updated_at, deadline_at, expires_at,
       CASE WHEN status IN ('COMPLETED', 'COMPENSATED') THEN updated_at END AS ended_at, overruled
FROM sagas;

CREATE VIEW saga_v1.timeline AS
SELECT saga_id, seq, at, event, step,
       CASE WHEN legible ->> 'attempt' ~ '^[0-9]{1,9}$' THEN (legible ->> 'attempt')::integer END AS attempt,
       legible ->> 'reason' AS reason,
       COALESCE(legible ->> 'detail', legible ->> 'note', legible ->> 'problem', legible ->> 'reply') AS text, details,
       legible ->> 'actor' AS actor
FROM saga_log, LATERAL (
    -- What others say may have a NUL in it, which no text of PostgreSQL can: nothing is read out of that.
    SELECT CASE WHEN strpos(details::text, '\u0000') = 0 THEN details ELSE '{}' END AS legible) AS l;

-- One row for each step that its saga has come to. A step that it has not come to is in no log.
CREATE VIEW saga_v1.steps AS
SELECT saga_id, step,
       CASE (array_agg(event ORDER BY seq DESC) FILTER (
                 WHERE event IN ('ACTION_SENT', 'STEP_SUCCEEDED', 'STEP_REJECTED', 'COMPENSATION_SENT', 'STEP_UNDONE',
                               'SKIP_REQUESTED')))[1]
           WHEN 'ACTION_SENT' THEN 'SENT' WHEN 'STEP_SUCCEEDED' THEN 'SUCCEEDED' WHEN 'STEP_REJECTED' THEN 'REJECTED'
           WHEN 'COMPENSATION_SENT' THEN 'UNDOING' WHEN 'STEP_UNDONE' THEN 'UNDONE'
           WHEN 'SKIP_REQUESTED' THEN 'SKIPPED' END AS status,
       count(*) FILTER (WHERE event = 'ACTION_SENT')::integer AS attempts,
       count(*) FILTER (WHERE event = 'COMPENSATION_SENT')::integer AS compensation_attempts,
       min(at) FILTER (WHERE event = 'ACTION_SENT') AS started_at,
       max(at) FILTER (WHERE event IN ('STEP_SUCCEEDED', 'STEP_REJECTED')) AS done_at,
       max(at) FILTER (WHERE event = 'STEP_UNDONE') AS undone_at
FROM saga_log WHERE step IS NOT NULL GROUP BY saga_id, step;

-- The same as GET /sagas?stuck=true, and why.
CREATE VIEW saga_v1.stuck AS
SELECT id AS saga_id, type, subject, status, current_step, why, since, now() - since AS stuck_for, last_error, deadline_at
FROM sagas s, LATERAL (
    SELECT 'PARKED' AS why, updated_at AS since WHERE status = 'PARKED'
    UNION ALL
    SELECT 'UNSENT', o.created_at FROM outbox o
    WHERE s.deadline_at IS NOT NULL AND o.id = s.command_id AND o.created_at < now() - interval '1 minute'
    UNION ALL
    SELECT 'OVERDUE', s.deadline_at WHERE s.deadline_at < now() - interval '1 minute'
    LIMIT 1) AS stuck
WHERE s.deadline_at IS NOT NULL OR s.status = 'PARKED';
