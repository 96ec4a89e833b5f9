//! What sagas are found by: the last error, and indexes that only those pay for that went wrong or have ended.

use crate::stepwise::Stepwise;

pub(crate) const ORDER: Stepwise = Stepwise {
    name: "m20261122_000010_finding",
    up: &[
        "ALTER TABLE sagas ADD COLUMN IF NOT EXISTS last_error text",
        "DROP INDEX IF EXISTS sagas_reason",
        "CREATE INDEX CONCURRENTLY sagas_reason ON sagas (reason, id) WHERE reason IS NOT NULL",
        "DROP INDEX IF EXISTS sagas_error",
        "CREATE INDEX CONCURRENTLY sagas_error ON sagas (id) WHERE last_error IS NOT NULL",
        // One entry for each saga, written when it ends, at the end of the index.
        "DROP INDEX IF EXISTS sagas_ended",
        "CREATE INDEX CONCURRENTLY sagas_ended ON sagas (updated_at) WHERE deadline_at IS NULL",
    ],
    down: &[
        "DROP INDEX IF EXISTS sagas_reason, sagas_error, sagas_ended",
        "ALTER TABLE sagas DROP COLUMN IF EXISTS last_error",
    ],
};
