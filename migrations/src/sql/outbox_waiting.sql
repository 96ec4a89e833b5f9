-- Rows of the outbox that no process is publishing: for those who are away, confirm nothing, or take no more. What is asked
-- of outbox is asked of both.
CREATE TABLE outbox_waiting (
    PRIMARY KEY (id)
) INHERITS (outbox) WITH (
    fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);
-- Each destination's rows as they are due, so that a backlog of one is in nobody else's way.
CREATE INDEX outbox_waiting_due ON outbox_waiting (exchange, routing_key, lease_until, id);
