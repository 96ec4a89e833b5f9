-- Charges that the gateway may be making at this moment, where it does not refuse a key that was refunded. A row goes when
-- its outcome is recorded, in the same transaction.
CREATE TABLE intents (
    saga_id        uuid        NOT NULL,
    step           text        NOT NULL,         -- the saga's step that pays
    amount_minor   bigint      CHECK (amount_minor > 0), -- none where no charge was ever asked for
    currency       text,
    payment_method text,
    closed         boolean     NOT NULL DEFAULT false,   -- a refund is under way: the gateway is not asked to charge any more
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (saga_id, step),
    CHECK ((amount_minor IS NULL) = (currency IS NULL)),
    CHECK (closed OR amount_minor IS NOT NULL)
) WITH (
    -- Rows live for as long as a call: vacuum by count, and without pauses.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);
