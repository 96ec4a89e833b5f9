/** The words of fraud-check: the commands that it reads, its rule, and the replies that it makes. */
import { CloudEvent } from "cloudevents";

export type Command = ReturnType<typeof read>;
export type Reply = ReturnType<typeof reply>;
type Field = (name: string, form: RegExp) => string;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Nobody can answer this message, and trying again would not help: it becomes a dead letter. */
export class Unreadable extends Error {
  constructor(readonly kind: string, message: string) { super(message); }
}

/** Reads a command. What comes from outside is checked here and nowhere else. */
export function read(body: Buffer) {
  let event: Record<string, unknown>;
  try {
    event = { ...new CloudEvent(JSON.parse(body.toString())) };
  } catch (error) {
    throw new Unreadable("unreadable", `not a CloudEvents 1.0 message: ${error}`);
  }
  const fields = (kind: string, from: Record<string, unknown>): Field => (name, form) => {
    const value = from[name];
    if (typeof value === "string" && form.test(value)) return value;
    throw new Unreadable(kind, `"${name}" of ${event.type} is missing or invalid`);
  };
  const attribute = fields("missing-attribute", event);
  const data = fields("invalid-data", Object(event.data));
  const isCheck = event.type === "fraud.check.v1";
  if (!isCheck && event.type !== "fraud.forget.v1") throw new Unreadable("unknown-type", `unknown type ${event.type}`);
  return {
    id: attribute("id", UUID),
    saga: attribute("sagaid", UUID),
    step: attribute("sagastep", /^[\w.-]{1,100}$/),
    direction: isCheck ? "ACTION" : "COMPENSATION",
    replyTo: attribute("replyto", /^[\w.-]{1,200}$/),
    orderId: data("orderId", UUID),
    suspicion: isCheck ? suspicion(data) : undefined,
    trace: Object.fromEntries(["correlationid", "traceparent"].flatMap((a) => (event[a] ? [[a, `${event[a]}`]] : []))),
  };
}

/** The rule: why an order is refused, if it is. An amount is text with two decimal places. */
function suspicion(data: Field): string | undefined {
  const amount = `${data("amount", /^\d{1,12}\.\d\d$/)} ${data("currency", /^[A-Z]{3}$/)}`;
  if (data("customerId", /./).startsWith("fraudster")) return "the customer is known for fraud";
  return parseFloat(amount) > 500 ? `${amount} is more than 500.00` : undefined;
}

/** A reply is made once, with a new id, and stored: from then on its bytes stay the same. */
export function reply(to: Command, type: string, sequence: number, data: object = {}) {
  const { saga: sagaid, step: sagastep, id: causationid, orderId, trace } = to;
  const attributes = { source: "fraud-check", subject: orderId, sagaid, sagastep, causationid, sequence, ...trace };
  const event = new CloudEvent({ type, ...attributes, datacontenttype: "application/json", data: { orderId, ...data } });
  return { id: event.id, type, json: JSON.stringify(event) };
}
