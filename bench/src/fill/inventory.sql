INSERT INTO reservations (id, saga_id, step, order_id, items, status, created_at, updated_at)
SELECT pg_temp.id('reservation', n), pg_temp.id('saga', n), 'inventory', pg_temp.id('order', n),
       format('[{"quantity": 1, "productId": "%s"}]', pg_temp.product(n))::json, 'RESERVED', pg_temp.at(n, 20),
       pg_temp.at(n, 20)
FROM generate_series($1::bigint, $2) AS n WHERE pg_temp.fate(n) = 'COMPLETED';

UPDATE inventory_items AS i SET reserved_quantity = reserved_quantity + held, updated_at = now()
FROM (SELECT pg_temp.product(n) AS product_id, count(*) AS held
      FROM generate_series($1::bigint, $2) AS n WHERE pg_temp.fate(n) = 'COMPLETED' GROUP BY 1) AS new
WHERE i.product_id = new.product_id;

INSERT INTO idempotency (saga_id, step, direction, message_id, outcome, recorded_at)
SELECT pg_temp.id('saga', n), 'inventory', 'ACTION', pg_temp.id('held', n),
       pg_temp.outcome(n, 'held', 'inventory-service',
           CASE fate WHEN 'OUT_OF_STOCK' THEN 'inventory.reservation_failed.v1' ELSE 'inventory.reserved.v1' END,
           'inventory', 1,
           format('{"orderId":"%s","items":[{"productId":"%s","quantity":1}]%s}', pg_temp.id('order', n),
                  pg_temp.product(n),
                  CASE fate WHEN 'OUT_OF_STOCK'
                       THEN format(',"reason":"OUT_OF_STOCK","detail":"%s"', pg_temp.product(n)) ELSE '' END)),
       pg_temp.at(n, 20)
FROM generate_series($1::bigint, $2) AS n, pg_temp.fate(n) AS fate WHERE fate <> 'PAYMENT_DECLINED'
