-- Sagas are about a subject and have data of their own; what they mean for an order is the order service's business.
ALTER TABLE sagas
    ADD COLUMN subject    text,                    -- what it is about: order/<id>
    ADD COLUMN data       json,                    -- what its commands are made of
    ADD COLUMN expires_at timestamptz;             -- when the whole saga must be through, if it must
UPDATE sagas s
SET subject = 'order/' || s.order_id,
    data = json_build_object('orderId', o.id, 'customerId', o.customer_id, 'items', o.items, 'currency', o.currency,
                             'total', to_char(o.total_minor / 100.0, 'FM999999999999999990.00'),
                             'paymentMethod', o.payment_method)
FROM orders o WHERE o.id = s.order_id;
-- Of an order that is gone, nothing can be said: its saga cannot be understood, and is quarantined when it is due.
UPDATE sagas SET subject = 'order/' || order_id, data = 'null' WHERE subject IS NULL;
ALTER TABLE sagas
    ALTER COLUMN subject SET NOT NULL,
    ALTER COLUMN data SET NOT NULL,
    DROP COLUMN order_id,
    ADD CONSTRAINT subjects_have_a_kind_and_an_id CHECK (subject ~ '^[^/]+/.'),
    ADD CONSTRAINT only_what_runs_expires CHECK (expires_at IS NULL OR status = 'RUNNING'),
    -- What is parked may have been on its way forward.
    DROP CONSTRAINT undoing_has_a_reason,
    ADD CONSTRAINT undoing_has_a_reason
        CHECK (status = 'PARKED' OR (status IN ('RUNNING', 'COMPLETED')) = (reason IS NULL));
CREATE INDEX sagas_subject ON sagas (subject, id);

-- An index less for each order: that a saga is named by one order only is for the audit to see.
ALTER TABLE orders
    DROP CONSTRAINT orders_saga_id_key,
    DROP CONSTRAINT orders_status_check,
    ADD CONSTRAINT orders_status_check
        CHECK (status IN ('PENDING', 'COMPLETED', 'SHIPPED', 'DELIVERED', 'RETURNED', 'CANCELLED'));

-- What customers send back. Each is executed by a saga of its own.
CREATE TABLE returns (
    id              uuid PRIMARY KEY,
    order_id        uuid        NOT NULL,
    saga_id         uuid        NOT NULL,
    items           json        NOT NULL,         -- [{"productId","quantity"}], each product once
    amount_minor    bigint      NOT NULL CHECK (amount_minor > 0),
    currency        text        NOT NULL,
    reason          text,                         -- in the customer's words
    status          text        NOT NULL CHECK (status IN ('PENDING', 'COMPLETED')),
    idempotency_key text,
    request_hash    bytea,                        -- of the request that came with the key
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CHECK ((idempotency_key IS NULL) = (request_hash IS NULL))
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
        autovacuum_analyze_scale_factor = 0.01, autovacuum_analyze_threshold = 5000);
CREATE INDEX returns_order ON returns (order_id, id);
CREATE UNIQUE INDEX returns_idempotency_key ON returns (idempotency_key) WHERE idempotency_key IS NOT NULL;
