-- What follows from a saga's number alone, in all three databases. {first_ms}, {span_ms} and {count} are filled in.
-- STABLE, as what they call: only then are they inlined, which makes them a hundred times as fast.
CREATE FUNCTION pg_temp.at(n bigint) RETURNS timestamptz STABLE LANGUAGE sql AS
    'SELECT to_timestamp(({first_ms} + n * {span_ms} / {count}) / 1000.0)';
-- A UUID v7 of that time.
CREATE FUNCTION pg_temp.id(what text, n bigint) RETURNS uuid STABLE LANGUAGE sql AS $$
    SELECT (lpad(to_hex({first_ms} + n * {span_ms} / {count}), 12, '0') || '7' || substr(md5(what || n), 1, 3)
            || '8' || substr(md5(what || n), 4, 15))::uuid $$;
CREATE FUNCTION pg_temp.fate(n bigint) RETURNS text STABLE LANGUAGE sql AS $$
    SELECT CASE WHEN n % 10 = 3 THEN 'PAYMENT_DECLINED' WHEN n % 20 = 7 THEN 'OUT_OF_STOCK' ELSE 'COMPLETED' END $$;

-- A part of the sagas, from which the rows of all tables are made.
CREATE TEMP TABLE part (
    fate text, at timestamptz, order_id uuid, saga_id uuid, payment_id uuid, command_id uuid, correlation_id uuid,
    paid_id uuid, held_id uuid, refunded_id uuid, customer text, product text, traceparent text);
CREATE PROCEDURE pg_temp.make_part(first bigint, last bigint) LANGUAGE sql AS $$
    TRUNCATE pg_temp.part;
    INSERT INTO pg_temp.part
    SELECT pg_temp.fate(n), pg_temp.at(n), pg_temp.id('order', n), pg_temp.id('saga', n), pg_temp.id('payment', n),
           pg_temp.id('command', n), pg_temp.id('correlation', n), pg_temp.id('paid', n), pg_temp.id('held', n),
           pg_temp.id('refunded', n), 'customer-' || n / 20 % 1020,
           'product-' || CASE WHEN pg_temp.fate(n) = 'OUT_OF_STOCK' THEN 1000 + n / 20 % 20 ELSE n / 20 % 1000 END,
           '00-' || md5('trace' || n) || '-' || left(md5('span' || n), 16) || '-01'
    FROM generate_series(first, last) AS n $$;

-- What a participant answered: the CloudEvent that is stored with the idempotency row.
CREATE FUNCTION pg_temp.outcome(part, id uuid, source text, type text, step text, sequence integer, data text)
    RETURNS json STABLE LANGUAGE sql AS $$
    SELECT format('{"specversion":"1.0","id":"%s","source":"%s","type":"%s","subject":"%s","time":"%s",'
                  '"datacontenttype":"application/json","sagaid":"%s","sagastep":"%s","correlationid":"%s",'
                  '"causationid":"%s","sequence":%s,"traceparent":"%s","data":{"orderId":"%s",%s}}',
                  id, source, type, $1.order_id, to_char($1.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"000Z"'),
                  $1.saga_id, step, $1.correlation_id, $1.command_id, sequence, $1.traceparent, $1.order_id, data
           )::json $$;

-- Rows that are right by construction, and that the audit looks at: foreign keys need not.
SET session_replication_role = replica
