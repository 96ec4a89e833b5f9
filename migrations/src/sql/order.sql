CREATE TABLE orders (
    id                  uuid PRIMARY KEY,
    saga_id             uuid        NOT NULL UNIQUE,
    customer_id         text        NOT NULL,
    status              text        NOT NULL
        CHECK (status IN ('PENDING', 'COMPLETED', 'SHIPPED', 'DELIVERED', 'CANCELLED')),
    cancellation_reason text,
    items               json        NOT NULL,    -- [{"productId","quantity","unitPrice"}]
    currency            text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    total_minor         bigint      NOT NULL CHECK (total_minor > 0),
    payment_method      text,
    customer_email      text,
    idempotency_key     text,
    request_hash        bytea,                   -- of the body that came with the key
    event_sequence      integer     NOT NULL,    -- of the last public event
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CHECK (status <> 'CANCELLED' OR cancellation_reason IS NOT NULL),
    CHECK ((idempotency_key IS NULL) = (request_hash IS NULL))
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX orders_idempotency_key ON orders (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX orders_customer ON orders (customer_id, id DESC);

-- A saga's state: what folding its log gives, kept at hand.
CREATE TABLE sagas (
    id                 uuid PRIMARY KEY,
    order_id           uuid        NOT NULL REFERENCES orders (id),
    type               text        NOT NULL,
    definition_version integer     NOT NULL,
    status             text        NOT NULL
        CHECK (status IN ('RUNNING', 'COMPENSATING', 'COMPLETED', 'COMPENSATED', 'PARKED')),
    current_step       text,                     -- the step that is executed or undone
    attempt            integer     NOT NULL DEFAULT 0,
    reason             text,                     -- why it is undone
    version            integer     NOT NULL,     -- seq of its last log entry
    command_id         uuid,                     -- the last command sent: while it is in the outbox, time stands still
    correlation_id     text        NOT NULL,
    traceparent        text,
    deadline_at        timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    -- Nothing is silently stuck.
    CONSTRAINT open_sagas_have_a_deadline
        CHECK ((status IN ('COMPLETED', 'COMPENSATED', 'PARKED')) = (deadline_at IS NULL)),
    CONSTRAINT open_sagas_have_a_step
        CHECK ((status IN ('COMPLETED', 'COMPENSATED')) = (current_step IS NULL)),
    CONSTRAINT undoing_has_a_reason
        CHECK ((status IN ('RUNNING', 'COMPLETED')) = (reason IS NULL))
) WITH (fillfactor = 85);
CREATE INDEX sagas_deadline ON sagas (deadline_at) WHERE deadline_at IS NOT NULL;
CREATE INDEX sagas_parked ON sagas (id) WHERE status = 'PARKED';
CREATE INDEX sagas_order ON sagas (order_id);

-- Every decision, in order. The truth; the row in sagas is its cache.
CREATE TABLE saga_log (
    saga_id uuid        NOT NULL REFERENCES sagas (id),
    seq     integer     NOT NULL CHECK (seq > 0),
    at      timestamptz NOT NULL DEFAULT now(),
    event   text        NOT NULL,
    step    text,
    details json        NOT NULL,
    PRIMARY KEY (saga_id, seq)
);

CREATE FUNCTION saga_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'saga_log is append-only';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON saga_log
    FOR EACH STATEMENT EXECUTE FUNCTION saga_log_is_append_only();
