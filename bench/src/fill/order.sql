INSERT INTO orders (id, saga_id, customer_id, status, cancellation_reason, items, currency, total_minor, payment_method,
                    event_sequence, created_at, updated_at)
SELECT pg_temp.id('order', n), pg_temp.id('saga', n), 'customer-' || n / 20 % 1020,
       CASE fate WHEN 'COMPLETED' THEN 'COMPLETED' ELSE 'CANCELLED' END, NULLIF(fate, 'COMPLETED'),
       format('[{"quantity": 1, "productId": "%s", "unitPrice": "19.99"}]', pg_temp.product(n))::json, 'USD', 1999,
       'pm_any', CASE fate WHEN 'COMPLETED' THEN 2 ELSE 3 END, pg_temp.at(n, 0), pg_temp.at(n, 30)
FROM generate_series($1::bigint, $2) AS n, pg_temp.fate(n) AS fate;

INSERT INTO sagas (id, order_id, type, definition_version, status, attempt, reason, version, command_id, correlation_id,
                   traceparent, created_at, updated_at)
SELECT pg_temp.id('saga', n), pg_temp.id('order', n), 'create_order', 1,
       CASE fate WHEN 'COMPLETED' THEN 'COMPLETED' ELSE 'COMPENSATED' END, 0, NULLIF(fate, 'COMPLETED'),
       CASE fate WHEN 'COMPLETED' THEN 6 WHEN 'OUT_OF_STOCK' THEN 9 ELSE 5 END, pg_temp.id('command', n),
       pg_temp.id('correlation', n), format('00-%s-%s-01', md5('trace' || n), left(md5('span' || n), 16)),
       pg_temp.at(n, 0), pg_temp.at(n, 30)
FROM generate_series($1::bigint, $2) AS n, pg_temp.fate(n) AS fate;

INSERT INTO saga_log (saga_id, seq, at, event, step, details)
SELECT pg_temp.id('saga', n), seq, pg_temp.at(n, seq * 5 - 5), event, step,
       replace(details, '{product}', pg_temp.product(n))::json
FROM generate_series($1::bigint, $2) AS n, pg_temp.fate(n) AS actual JOIN (VALUES
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
) AS log (fate, seq, event, step, details) ON fate = actual;

INSERT INTO idempotency (saga_id, step, direction, message_id, recorded_at)
SELECT pg_temp.id('saga', n), step, direction, pg_temp.id(what, n), pg_temp.at(n, 20)
FROM generate_series($1::bigint, $2) AS n, pg_temp.fate(n) AS fate, (VALUES
    ('payment', 'ACTION', 'paid'), ('inventory', 'ACTION', 'held'), ('payment', 'COMPENSATION', 'refunded')
) AS replies (step, direction, what)
WHERE what = 'paid' OR (what = 'held' AND fate <> 'PAYMENT_DECLINED') OR (what = 'refunded' AND fate = 'OUT_OF_STOCK')
