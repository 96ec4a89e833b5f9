-- Requests to send dead letters again, which any replica carries out: a row for each, also when it is done.
CREATE TABLE redrives (
    id               uuid PRIMARY KEY,
    queue            text        NOT NULL,             -- the dead-letter queue
    selection        json        NOT NULL,             -- {"messageIds","group","sagaId"}: which letters; all, without any
    force            boolean     NOT NULL,             -- also those whose saga has ended
    letters          integer     NOT NULL CHECK (letters >= 0), -- that were in the queue when it was asked for
    letters_max      integer     NOT NULL CHECK (letters_max >= 0), -- no more than so many are sent again
    per_second       integer     CHECK (per_second > 0),
    actor            text        NOT NULL,
    reason           text        NOT NULL,
    status           text        NOT NULL DEFAULT 'PENDING'
        CHECK (status IN ('PENDING', 'RUNNING', 'DONE', 'CANCELLED')),
    redriven         integer     NOT NULL DEFAULT 0,
    refused          integer     NOT NULL DEFAULT 0,   -- letters that stay, of those that were looked at last
    refusals         json        NOT NULL DEFAULT '[]',-- the first of them: [{"messageId","why"}]
    last_batch       json        NOT NULL DEFAULT '[]',-- letters that are sent and noted last: if still there, to be acked
    last_error       text,
    cancel_requested boolean     NOT NULL DEFAULT false,
    cancelled_by     text,
    worker           uuid,                             -- who carries it out, ...
    lease_until      timestamptz,                      -- ... until then; after that, any replica may
    idempotency_key  text,
    request_hash     bytea,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz,
    CHECK ((status IN ('DONE', 'CANCELLED')) = (finished_at IS NOT NULL)),
    CHECK ((idempotency_key IS NULL) = (request_hash IS NULL))
);
CREATE UNIQUE INDEX redrives_idempotency_key ON redrives (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX redrives_open ON redrives (id) WHERE finished_at IS NULL;

-- Dead letters that were taken out of their queue for good, as they were there.
CREATE TABLE kept_letters (
    id              uuid PRIMARY KEY,
    queue           text        NOT NULL,              -- the dead-letter queue
    message_id      text        NOT NULL,
    action          text        NOT NULL CHECK (action IN ('EDITED', 'DELETED')),
    headers         json        NOT NULL,
    content_type    text,
    body            bytea       NOT NULL,
    edited_id       uuid,                              -- the id of the message that goes out instead
    edited_body     json,
    actor           text        NOT NULL,
    reason          text        NOT NULL,
    idempotency_key text,
    request_hash    bytea,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CHECK ((action = 'EDITED') = (edited_id IS NOT NULL)),
    CHECK ((edited_id IS NULL) = (edited_body IS NULL)),
    CHECK ((idempotency_key IS NULL) = (request_hash IS NULL))
);
CREATE UNIQUE INDEX kept_letters_idempotency_key ON kept_letters (idempotency_key) WHERE idempotency_key IS NOT NULL;
