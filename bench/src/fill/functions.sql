-- What is the same in all three databases, from a saga's number alone. {first_ms}, {span_ms} and {count} are filled in.
CREATE FUNCTION pg_temp.ms(n bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS
    'SELECT {first_ms} + n * {span_ms} / {count}';
CREATE FUNCTION pg_temp.at(n bigint, later_ms integer) RETURNS timestamptz IMMUTABLE LANGUAGE sql AS
    'SELECT to_timestamp((pg_temp.ms(n) + later_ms) / 1000.0)';
-- A UUID v7 of that time.
CREATE FUNCTION pg_temp.id(what text, n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$
    SELECT (lpad(to_hex(pg_temp.ms(n)), 12, '0') || '7' || substr(md5(what || n), 1, 3)
            || '8' || substr(md5(what || n), 4, 15))::uuid $$;
CREATE FUNCTION pg_temp.fate(n bigint) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE WHEN n % 10 = 3 THEN 'PAYMENT_DECLINED' WHEN n % 20 = 7 THEN 'OUT_OF_STOCK' ELSE 'COMPLETED' END $$;
CREATE FUNCTION pg_temp.product(n bigint) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT 'product-' || CASE WHEN n % 20 = 7 THEN 1000 + n / 20 % 20 ELSE n / 20 % 1000 END $$;
-- What a participant answered: the CloudEvent that is stored with the idempotency row.
CREATE FUNCTION pg_temp.outcome(n bigint, what text, source text, type text, step text, sequence integer, data text)
    RETURNS json IMMUTABLE LANGUAGE sql AS $$
    SELECT format('{"specversion":"1.0","id":"%s","source":"%s","type":"%s","subject":"%s","time":"%s",'
                  '"datacontenttype":"application/json","sagaid":"%s","sagastep":"%s","correlationid":"%s",'
                  '"causationid":"%s","sequence":%s,"traceparent":"00-%s-%s-01","data":%s}',
                  pg_temp.id(what, n), source, type, pg_temp.id('order', n),
                  to_char(pg_temp.at(n, 10) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"000Z"'),
                  pg_temp.id('saga', n), step, pg_temp.id('correlation', n), pg_temp.id('command', n), sequence,
                  md5('trace' || n), left(md5('span' || n), 16), data)::json $$;
