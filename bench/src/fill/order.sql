INSERT INTO orders (id, saga_id, customer_id, status, cancellation_reason, items, currency, total_minor, payment_method,
                    event_sequence, created_at, updated_at)
SELECT order_id, saga_id, customer, CASE fate WHEN 'COMPLETED' THEN 'COMPLETED' ELSE 'CANCELLED' END,
       NULLIF(fate, 'COMPLETED'), format('[{"quantity": 1, "productId": "%s", "unitPrice": "19.99"}]', product)::json,
       'USD', 1999, 'pm_any', CASE fate WHEN 'COMPLETED' THEN 2 ELSE 3 END, at, at + interval '40 ms'
FROM part;

INSERT INTO sagas (id, order_id, type, definition_version, status, reason, version, command_id, correlation_id,
                   traceparent, created_at, updated_at)
SELECT saga_id, order_id, 'create_order', 1, CASE fate WHEN 'COMPLETED' THEN 'COMPLETED' ELSE 'COMPENSATED' END,
       NULLIF(fate, 'COMPLETED'), CASE fate WHEN 'COMPLETED' THEN 6 WHEN 'OUT_OF_STOCK' THEN 9 ELSE 5 END, command_id,
       correlation_id::text, traceparent, at, at + interval '40 ms'
FROM part;

INSERT INTO saga_log (saga_id, seq, at, event, step, details)
SELECT saga_id, seq, at + (seq - 1) * interval '5 ms', event, step, replace(details, '{product}', product)::json
FROM part JOIN (VALUES
    ('COMPLETED', 1, 'SAGA_STARTED', NULL, '{}'),
    ('COMPLETED', 2, 'ACTION_SENT', 'payment', '{"attempt":1}'),
    ('COMPLETED', 3, 'STEP_SUCCEEDED', 'payment', '{}'),
    ('COMPLETED', 4, 'ACTION_SENT', 'inventory', '{"attempt":1}'),
    ('COMPLETED', 5, 'STEP_SUCCEEDED', 'inventory', '{}'),
    ('COMPLETED', 6, 'SAGA_COMPLETED', NULL, '{}'),
    ('PAYMENT_DECLINED', 1, 'SAGA_STARTED', NULL, '{}'),
    ('PAYMENT_DECLINED', 2, 'ACTION_SENT', 'payment', '{"attempt":1}'),
    ('PAYMENT_DECLINED', 3, 'STEP_REJECTED', 'payment', '{"detail":"generic_decline","reason":"PAYMENT_DECLINED"}'),
    ('PAYMENT_DECLINED', 4, 'COMPENSATION_STARTED', NULL, '{"reason":"PAYMENT_DECLINED"}'),
    ('PAYMENT_DECLINED', 5, 'SAGA_COMPENSATED', NULL, '{}'),
    ('OUT_OF_STOCK', 1, 'SAGA_STARTED', NULL, '{}'),
    ('OUT_OF_STOCK', 2, 'ACTION_SENT', 'payment', '{"attempt":1}'),
    ('OUT_OF_STOCK', 3, 'STEP_SUCCEEDED', 'payment', '{}'),
    ('OUT_OF_STOCK', 4, 'ACTION_SENT', 'inventory', '{"attempt":1}'),
    ('OUT_OF_STOCK', 5, 'STEP_REJECTED', 'inventory', '{"detail":"{product}","reason":"OUT_OF_STOCK"}'),
    ('OUT_OF_STOCK', 6, 'COMPENSATION_STARTED', NULL, '{"reason":"OUT_OF_STOCK"}'),
    ('OUT_OF_STOCK', 7, 'COMPENSATION_SENT', 'payment', '{"attempt":1}'),
    ('OUT_OF_STOCK', 8, 'STEP_UNDONE', 'payment', '{}'),
    ('OUT_OF_STOCK', 9, 'SAGA_COMPENSATED', NULL, '{}')
) AS log (fate, seq, event, step, details) USING (fate);

INSERT INTO idempotency (saga_id, step, direction, message_id, recorded_at)
SELECT saga_id, 'payment', 'ACTION', paid_id, at + interval '20 ms' FROM part
UNION ALL
SELECT saga_id, 'inventory', 'ACTION', held_id, at + interval '30 ms' FROM part WHERE fate <> 'PAYMENT_DECLINED'
UNION ALL
SELECT saga_id, 'payment', 'COMPENSATION', refunded_id, at + interval '40 ms' FROM part WHERE fate = 'OUT_OF_STOCK'
