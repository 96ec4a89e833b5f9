-- The last sequence that was told of a product that is gone: if it comes back, its events go on from there.
CREATE TABLE removed_items (
    product_id text PRIMARY KEY,
    version    integer     NOT NULL,
    removed_at timestamptz NOT NULL DEFAULT now()
);
