/** From a delivery to its ack: read ► decide, which commits ► publish ► confirmed ► ack. Again and again, until SIGTERM. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { connect, type Channel, type ChannelModel, type ConsumeMessage, type Options } from "amqplib";
import pg from "pg";
import { read, Unreadable } from "./messages.js";
import { answer, SCHEMA } from "./store.js";

const { RABBITMQ_URL, FRAUD_DATABASE_URL: connectionString } = process.env;
if (!RABBITMQ_URL || !connectionString) throw new Error("RABBITMQ_URL and FRAUD_DATABASE_URL have to be set");
const QUEUE = "fraud.commands";
const nodes = RABBITMQ_URL.split(",");
const db = new pg.Pool({ connectionString, max: 8, connectionTimeoutMillis: 5_000, query_timeout: 10_000 });
const report = (error: Error) => console.error("lost a connection:", error.message);
db.on("error", report);
const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => stop.abort());

/** The product's topology, as far as it is needed. RabbitMQ refuses what differs from what exists. */
async function declare(channel: Channel): Promise<void> {
  for (const name of ["saga.commands", "saga.replies", "saga.dlx"]) await channel.assertExchange(name, "direct");
  await channel.assertExchange("saga.events", "topic");
  const queue = async (name: string, exchange: string, key: string, more: object) => {
    await channel.assertQueue(name, { arguments: { "x-queue-type": "quorum", ...more } });
    await channel.bindQueue(name, exchange, key);
  };
  await queue(`${QUEUE}.dlq`, "saga.dlx", QUEUE, { "x-delivery-limit": 1_000_000_000 });
  const deadLetters = { "x-dead-letter-exchange": "saga.dlx", "x-dead-letter-routing-key": QUEUE };
  const atLeastOnce = { "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish" };
  await queue(QUEUE, "saga.commands", "fraud", { ...deadLetters, ...atLeastOnce, "x-delivery-limit": 20 });
}

/** The events of a delivery. One that cannot be read dies alone, as the single message that it might have been. */
function events({ content, properties }: ConsumeMessage): Buffer[] {
  try {
    if (properties.contentType !== "application/cloudevents-batch+json") return [content];
    return (JSON.parse(content.toString()) as object[]).map((event) => Buffer.from(JSON.stringify(event)));
  } catch {
    return [content];
  }
}

/** Answers commands until the connection ends, or until SIGTERM, and then those that it has in hand. */
async function consume(connection: ChannelModel): Promise<void> {
  const over = new AbortController();
  const [channel, publisher] = [await connection.createChannel(), await connection.createConfirmChannel()];
  for (const part of [connection, channel, publisher] as Channel[]) {
    part.on("error", (error) => over.abort(error)).on("close", () => over.abort(new Error("the connection was lost")));
  }
  const send = promisify<string, string, Buffer, Options.Publish, unknown>(publisher.publish.bind(publisher));
  const returned = new Set<string>();
  let told = "";
  publisher.on("return", ({ properties }) => returned.add(properties.messageId));
  /** Tries until it works or the connection ends: while a dependency is away, messages wait here. None is given up. */
  const insist = <T>(attempt: () => Promise<T>, pause = 50): Promise<T> =>
    attempt().catch(async (error) => {
      over.signal.throwIfAborted();
      if (told !== (told = `${error}`)) console.error("trying again:", told);
      await sleep(pause);
      return insist(attempt, Math.min(2 * pause, 2_000));
    });
  /** Once it has returned, the broker has the message, and if that is `mandatory`, a queue has it. */
  const publish = (exchange: string, key: string, body: Buffer, messageId: string, more: Options.Publish) =>
    insist(async () => {
      const options = { persistent: true, contentType: "application/cloudevents+json", messageId, ...more };
      const late = sleep(10_000, undefined, { ref: false }).then(() => Promise.reject(new Error("no confirm came")));
      await Promise.race([send(exchange, key, body, options), late]);
      if (returned.delete(messageId)) throw new Error(`no queue is bound to ${exchange} for ${key}`);
    });
  const handle = async (body: Buffer): Promise<void> => {
    try {
      const command = read(body);
      const { id, type, json } = await insist(() => answer(db, command));
      await publish("saga.replies", command.replyTo, Buffer.from(json), id, { type, mandatory: true });
      await publish("saga.events", type, Buffer.from(json), id, { type });
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      const why = { "x-error-kind": error.kind, "x-error": error.message.slice(0, 1000), "x-attempts": 1 };
      const headers = { ...why, "x-failed-at": new Date().toISOString() };
      await publish("saga.dlx", QUEUE, body, randomUUID(), { headers, mandatory: true });
    }
  };
  await declare(channel);
  await channel.prefetch(32);
  const inHand = new Set<Promise<void>>();
  const { consumerTag } = await channel.consume(QUEUE, (delivery) => {
    if (!delivery) return over.abort(new Error("the queue was deleted"));
    const acked = Promise.all(events(delivery).map(handle)).then(() => channel.ack(delivery));
    const work = acked.catch((error) => over.abort(error)).finally(() => inHand.delete(work));
    inHand.add(work);
  });
  console.log(`consuming ${QUEUE}`);
  await Promise.race([stop, over].map(({ signal }) => signal.aborted || once(signal, "abort")));
  over.signal.throwIfAborted();
  await channel.cancel(consumerTag);
  await Promise.race([Promise.all(inHand), sleep(10_000, undefined, { ref: false })]);
  await channel.close(); // Closing the connection could overtake the last acks.
}

for (let turn = 0; !stop.signal.aborted; turn++) {
  try {
    await db.query(SCHEMA);
    const node = new URL(nodes[turn % nodes.length]!);
    node.searchParams.set("heartbeat", "10"); // A dead connection is noticed, and so every wait on it ends.
    const connection = (await connect(node.href, { noDelay: true, timeout: 5_000 })).on("error", report);
    await consume(connection).finally(() => connection.close().catch(() => {}));
  } catch (error) {
    console.error("connecting again:", `${error}`);
  }
  await sleep(500);
}
await db.end();
