-- Goods that came back and are on the shelf again. One for each step of a saga that puts some back.
CREATE TABLE restocks (
    id         uuid PRIMARY KEY,
    saga_id    uuid        NOT NULL,
    step       text        NOT NULL,             -- the saga's step that it belongs to
    order_id   uuid        NOT NULL,
    return_id  uuid        NOT NULL,
    items      json        NOT NULL,             -- [{"productId","quantity"}], each product once, by product
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (saga_id, step)
);
CREATE INDEX restocks_order ON restocks (order_id, id);
