INSERT INTO reservations (id, saga_id, step, order_id, items, status, created_at, updated_at)
SELECT held_id, saga_id, 'inventory', order_id, format('[{"quantity": 1, "productId": "%s"}]', product)::json,
       'RESERVED', at + interval '20 ms', at + interval '20 ms'
FROM part WHERE fate = 'COMPLETED';

UPDATE inventory_items AS i SET reserved_quantity = reserved_quantity + held, updated_at = now()
FROM (SELECT product, count(*) AS held FROM part WHERE fate = 'COMPLETED' GROUP BY product) AS new
WHERE i.product_id = product;

INSERT INTO idempotency (saga_id, step, direction, message_id, outcome, recorded_at)
SELECT saga_id, 'inventory', 'ACTION', held_id,
       CASE fate WHEN 'COMPLETED' THEN
           pg_temp.outcome(part, held_id, 'inventory-service', 'inventory.reserved.v1', 'inventory', 1,
               format('"items":[{"productId":"%s","quantity":1}]', product))
       ELSE
           pg_temp.outcome(part, held_id, 'inventory-service', 'inventory.reservation_failed.v1', 'inventory', 1,
               format('"items":[{"productId":"%s","quantity":1}],"reason":"OUT_OF_STOCK","detail":"%1$s"', product))
       END, at + interval '20 ms'
FROM part WHERE fate <> 'PAYMENT_DECLINED'
