-- What was given back of a payment: the sum of its refunds, or all of it where the payment was undone.
ALTER TABLE payments ADD COLUMN refunded_minor bigint NOT NULL DEFAULT 0;
UPDATE payments SET refunded_minor = amount_minor WHERE status = 'REFUNDED';
ALTER TABLE payments ADD CONSTRAINT no_more_is_refunded_than_was_paid
    CHECK (refunded_minor BETWEEN 0 AND amount_minor);

-- Parts of payments that were given back. One for each step of a saga that gives a part back.
CREATE TABLE refunds (
    id           uuid PRIMARY KEY,
    saga_id      uuid        NOT NULL,
    step         text        NOT NULL,           -- the saga's step that it belongs to
    payment_id   uuid        NOT NULL,
    order_id     uuid        NOT NULL,
    return_id    uuid        NOT NULL,
    amount_minor bigint      NOT NULL CHECK (amount_minor > 0),
    currency     text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (saga_id, step)
);
CREATE INDEX refunds_order ON refunds (order_id, id);
