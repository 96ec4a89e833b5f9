INSERT INTO outbox (id, exchange, routing_key, message, attempts, last_error, lease_until, created_at)
    SELECT id, exchange, routing_key, message, attempts, last_error, lease_until, created_at FROM outbox_waiting 
    ON CONFLICT (id) DO NOTHING;
DROP TABLE outbox_waiting;
