-- How many dead letters each queue had when everybody was told that they grow, or since then, if there are fewer now. A replica
-- that wants to tell changes the row first, so that only one of them does.
CREATE TABLE letter_notices (
    queue   text PRIMARY KEY,
    letters bigint      NOT NULL CHECK (letters >= 0),
    told_at timestamptz
);
