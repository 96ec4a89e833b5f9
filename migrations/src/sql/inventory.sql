CREATE TABLE inventory_items (
    product_id          text PRIMARY KEY,
    product_name        text,
    description         text,
    price_minor         bigint CHECK (price_minor >= 0),
    quantity            bigint      NOT NULL,              -- in the warehouse
    reserved_quantity   bigint      NOT NULL DEFAULT 0,    -- of them, held by orders
    low_stock_threshold bigint      NOT NULL DEFAULT 10 CHECK (low_stock_threshold >= 0),
    version             integer     NOT NULL DEFAULT 1,    -- sequence of the last public event about it
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stock_is_never_negative CHECK (quantity >= 0),
    CONSTRAINT no_more_is_reserved_than_there_is CHECK (reserved_quantity BETWEEN 0 AND quantity)
) WITH (fillfactor = 70);

CREATE TABLE reservations (
    id         uuid PRIMARY KEY,
    saga_id    uuid        NOT NULL,
    step       text        NOT NULL,             -- the saga's step that it belongs to
    order_id   uuid        NOT NULL,
    items      json        NOT NULL,             -- [{"productId","quantity"}], each product once, by product
    status     text        NOT NULL CHECK (status IN ('RESERVED', 'COMMITTED', 'RELEASED')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (saga_id, step)
) WITH (fillfactor = 85);
CREATE INDEX reservations_order ON reservations (order_id, id);
