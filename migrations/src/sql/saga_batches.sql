-- What operators do about many sagas at once, which any replica carries out: a row for each, also when it is done.
CREATE TABLE saga_batches (
    id              uuid PRIMARY KEY,
    verb            text        NOT NULL,
    delay_seconds   bigint      CHECK (delay_seconds >= 0),         -- of the verb reschedule
    filter          json        NOT NULL,                           -- which sagas, in the words of GET /sagas
    matched         integer     NOT NULL CHECK (matched >= 0),      -- how many there were when it was asked for, ...
    is_all          boolean     NOT NULL,                           -- ... or how many of them were counted
    per_second      integer     NOT NULL CHECK (per_second > 0),
    actor           text        NOT NULL,
    reason          text        NOT NULL,
    correlation_id  text        NOT NULL,
    traceparent     text,
    tracestate      text,
    status          text        NOT NULL DEFAULT 'RUNNING' CHECK (status IN ('RUNNING', 'DONE', 'CANCELLED')),
    done            integer     NOT NULL DEFAULT 0,
    refused         integer     NOT NULL DEFAULT 0,                 -- the verb made no sense any more
    last_refusal    text,
    after_id        uuid,                                           -- the saga that was looked at last; older ones follow
    cancelled_by    text,
    worker          uuid,                                           -- who carries it out, ...
    lease_until     timestamptz NOT NULL DEFAULT now(),             -- ... until then; after that, any replica may
    idempotency_key text,
    request_hash    bytea,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    CHECK ((status = 'RUNNING') = (finished_at IS NULL)),
    CHECK ((verb = 'reschedule') = (delay_seconds IS NOT NULL)),
    CHECK ((idempotency_key IS NULL) = (request_hash IS NULL))
);
CREATE UNIQUE INDEX saga_batches_idempotency_key ON saga_batches (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX saga_batches_running ON saga_batches (lease_until) WHERE status = 'RUNNING';
