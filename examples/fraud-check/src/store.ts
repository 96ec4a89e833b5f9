/** The idempotency table: what was decided, and with which words it was said. */
import type { Pool } from "pg";
import { reply, type Command, type Reply } from "./messages.js";

export const SCHEMA = `CREATE TABLE IF NOT EXISTS idempotency (
  saga_id uuid, step text, direction text CHECK (direction IN ('ACTION', 'COMPENSATION')),
  message_id uuid NOT NULL, type text NOT NULL, reply text NOT NULL, tombstone boolean NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (saga_id, step, direction))`;

// Who inserts a key first has decided. All others find that row: other replicas, and the same command again.
const DECIDE = `INSERT INTO idempotency AS had VALUES ($1, $2, $3, $4, $5, $6, $7)
  ON CONFLICT (saga_id, step, direction) DO UPDATE SET reply = had.reply
  RETURNING message_id AS id, type, reply AS json, tombstone`;

/** The stored reply to `command`, which is decided and committed now if it is new. */
export async function answer(db: Pool, command: Command): Promise<Reply> {
  const decide = async (direction: string, { id, type, json }: Reply, tombstone = false) => {
    const row = [command.saga, command.step, direction, id, type, json, tombstone];
    return (await db.query<Reply & { tombstone: boolean }>(DECIDE, row)).rows[0]!;
  };
  const refused = (sequence: number, why: object) => reply(command, "fraud.refused.v1", sequence, why);
  if (command.direction === "ACTION") {
    const why = { reason: "FRAUD_SUSPECTED", detail: command.suspicion };
    return decide("ACTION", why.detail ? refused(1, why) : reply(command, "fraud.passed.v1", 1));
  }
  // The tombstone comes first: after a crash in between, no check can slip in, and this command comes again.
  const action = await decide("ACTION", refused(2, { reason: "ALREADY_COMPENSATED" }), true);
  return decide("COMPENSATION", reply(command, "fraud.forgotten.v1", action.tombstone ? 1 : 2));
}
