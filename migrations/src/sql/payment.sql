CREATE TABLE payments (
    id             uuid PRIMARY KEY,
    saga_id        uuid        NOT NULL,
    step           text        NOT NULL,         -- the saga's step that it belongs to
    order_id       uuid        NOT NULL,
    customer_id    text        NOT NULL,
    amount_minor   bigint      NOT NULL CHECK (amount_minor > 0),
    currency       text        NOT NULL,
    payment_method text,
    status         text        NOT NULL CHECK (status IN ('CAPTURED', 'DECLINED', 'REFUNDED')),
    gateway_id     text,                         -- the gateway's id of the charge
    decline_code   text,                         -- the gateway's reason
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (saga_id, step),
    CHECK ((status = 'DECLINED') = (decline_code IS NOT NULL)),
    CHECK (status = 'DECLINED' OR gateway_id IS NOT NULL)
) WITH (fillfactor = 85);
CREATE INDEX payments_order ON payments (order_id, id);
