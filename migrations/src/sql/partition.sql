-- Makes {table} a table with one partition for each day (UTC) on which sagas began. Their ids are UUID v7, so a range
-- of ids is a range of time, the primary key stays what it is, and a key that comes again is found whatever the day.
-- A partition is named after the last day in it. The rows until now are the first one, together with tomorrow's.
DO $$
DECLARE
    tomorrow date := (now() AT TIME ZONE 'UTC')::date + 1;
    first    text := '{table}_' || to_char(tomorrow, 'YYYYMMDD');
BEGIN
    EXECUTE format('ALTER TABLE {table} RENAME TO %I', first);
    EXECUTE format('ALTER INDEX {table}_pkey RENAME TO %I', first || '_pkey');
    EXECUTE format('CREATE TABLE {table} (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
                    PARTITION BY RANGE (saga_id)', first);
    ALTER TABLE {table} ADD PRIMARY KEY ({key});
    -- For ids of no day: they are not v7, or their day is long over.
    CREATE TABLE {table}_default PARTITION OF {table} DEFAULT;
    EXECUTE format('WITH others AS (DELETE FROM %I WHERE saga_id >= first_id(%L) RETURNING *)
                    INSERT INTO {table} SELECT * FROM others', first, tomorrow + 1);
    EXECUTE format('ALTER TABLE {table} ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (first_id(%L))',
                   first, tomorrow + 1);
END $$;
