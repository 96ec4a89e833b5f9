INSERT INTO payments (id, saga_id, step, order_id, customer_id, amount_minor, currency, payment_method, status,
                      gateway_id, decline_code, created_at, updated_at)
SELECT pg_temp.id('payment', n), pg_temp.id('saga', n), 'payment', pg_temp.id('order', n),
       'customer-' || n / 20 % 1020, 1999, 'USD', 'pm_any',
       CASE fate WHEN 'COMPLETED' THEN 'CAPTURED' WHEN 'OUT_OF_STOCK' THEN 'REFUNDED' ELSE 'DECLINED' END,
       CASE WHEN fate <> 'PAYMENT_DECLINED' THEN 'sim_' || left(md5('gateway' || n), 24) END,
       CASE WHEN fate = 'PAYMENT_DECLINED' THEN 'generic_decline' END, pg_temp.at(n, 10), pg_temp.at(n, 10)
FROM generate_series($1::bigint, $2) AS n, pg_temp.fate(n) AS fate;

INSERT INTO idempotency (saga_id, step, direction, message_id, outcome, recorded_at)
SELECT pg_temp.id('saga', n), 'payment', 'ACTION', pg_temp.id('paid', n),
       pg_temp.outcome(n, 'paid', 'payment-service',
           CASE fate WHEN 'PAYMENT_DECLINED' THEN 'payment.failed.v1' ELSE 'payment.processed.v1' END, 'payment', 1,
           format('{"orderId":"%s","paymentId":"%s","amount":"19.99","currency":"USD"%s}', pg_temp.id('order', n),
                  pg_temp.id('payment', n),
                  CASE fate WHEN 'PAYMENT_DECLINED'
                       THEN ',"reason":"PAYMENT_DECLINED","detail":"generic_decline"' ELSE '' END)),
       pg_temp.at(n, 10)
FROM generate_series($1::bigint, $2) AS n, pg_temp.fate(n) AS fate;

INSERT INTO idempotency (saga_id, step, direction, message_id, outcome, recorded_at)
SELECT pg_temp.id('saga', n), 'payment', 'COMPENSATION', pg_temp.id('refunded', n),
       pg_temp.outcome(n, 'refunded', 'payment-service', 'payment.refunded.v1', 'payment', 2,
           format('{"orderId":"%s","paymentId":"%s","amount":"19.99","currency":"USD","reason":"OUT_OF_STOCK"}',
                  pg_temp.id('order', n), pg_temp.id('payment', n))),
       pg_temp.at(n, 25)
FROM generate_series($1::bigint, $2) AS n WHERE pg_temp.fate(n) = 'OUT_OF_STOCK'
