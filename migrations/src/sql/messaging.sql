-- Messages that a transaction wants to say, until the broker has them. Mostly empty.
CREATE TABLE outbox (
    id          uuid PRIMARY KEY,                -- the message's id: UUID v7, so keys arrive in order
    exchange    text        NOT NULL,
    routing_key text        NOT NULL,
    message     json        NOT NULL,            -- a CloudEvent, byte for byte as it is sent
    attempts    integer     NOT NULL DEFAULT 0,  -- times that it was published in vain
    last_error  text,
    -- Until then, the process that wrote the row publishes it; after that, any replica may.
    lease_until timestamptz NOT NULL DEFAULT now() + interval '10 s',
    created_at  timestamptz NOT NULL DEFAULT now()
) WITH (
    -- Rows live for milliseconds: vacuum by count, and without pauses.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);

-- What was done already, and what was answered.
CREATE TABLE idempotency (
    saga_id     uuid        NOT NULL,
    step        text        NOT NULL,
    direction   text        NOT NULL CHECK (direction IN ('ACTION', 'COMPENSATION')),
    message_id  uuid        NOT NULL,
    outcome     json,                            -- a participant's answer, which is given again when asked again
    tombstone   boolean     NOT NULL DEFAULT false CHECK (NOT tombstone OR direction = 'ACTION'),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (saga_id, step, direction)
);
