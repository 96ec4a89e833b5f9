INSERT INTO payments (id, saga_id, step, order_id, customer_id, amount_minor, currency, payment_method, status,
                      gateway_id, decline_code, created_at, updated_at)
SELECT payment_id, saga_id, 'payment', order_id, customer, 1999, 'USD', 'pm_any',
       CASE fate WHEN 'COMPLETED' THEN 'CAPTURED' WHEN 'OUT_OF_STOCK' THEN 'REFUNDED' ELSE 'DECLINED' END,
       CASE WHEN fate <> 'PAYMENT_DECLINED' THEN 'sim_' || left(md5(payment_id::text), 24) END,
       CASE WHEN fate = 'PAYMENT_DECLINED' THEN 'generic_decline' END, at, at
FROM part;

INSERT INTO idempotency (saga_id, step, direction, message_id, outcome, recorded_at)
SELECT saga_id, 'payment', 'ACTION', paid_id,
       CASE fate WHEN 'PAYMENT_DECLINED' THEN
           pg_temp.outcome(part, paid_id, 'payment-service', 'payment.failed.v1', 'payment', 1,
               format('"paymentId":"%s","amount":"19.99","currency":"USD","reason":"PAYMENT_DECLINED",'
                      '"detail":"generic_decline"', payment_id))
       ELSE
           pg_temp.outcome(part, paid_id, 'payment-service', 'payment.processed.v1', 'payment', 1,
               format('"paymentId":"%s","amount":"19.99","currency":"USD"', payment_id))
       END, at
FROM part
UNION ALL
SELECT saga_id, 'payment', 'COMPENSATION', refunded_id,
       pg_temp.outcome(part, refunded_id, 'payment-service', 'payment.refunded.v1', 'payment', 2,
           format('"paymentId":"%s","amount":"19.99","currency":"USD","reason":"OUT_OF_STOCK"', payment_id)),
       at + interval '30 ms'
FROM part WHERE fate = 'OUT_OF_STOCK'
