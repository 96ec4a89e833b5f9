// Places orders, follows them to their ends, ships and returns one, and looks at it from every service, with nothing but what the documents in
// docs/openapi say. Every path, field and status below is checked by the compiler.

import createClient from "openapi-fetch";

import type { paths as Audit } from "./api/audit.js";
import type { paths as Inventory } from "./api/inventory-service.js";
import type { components, paths as Orders } from "./api/order-service.js";
import type { paths as Payments } from "./api/payment-service.js";

type Order = components["schemas"]["Order"];

const url = (name: string, port: number) => process.env[name] ?? `http://localhost:${port}`;
const orders = createClient<Orders>({ baseUrl: url("ORDER_URL", 3001) });
const payments = createClient<Payments>({ baseUrl: url("PAYMENT_URL", 3002) });
const inventory = createClient<Inventory>({ baseUrl: url("INVENTORY_URL", 3003) });
const audit = createClient<Audit>({ baseUrl: url("AUDIT_URL", 3009) });

const PATIENCE_MS = 60_000;
const POLL_MS = 100;

/** What was answered, or an error with the problem that was answered instead. */
function wanted<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data === undefined) {
    throw new Error(`${answer.response.status}: ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

function expect(holds: boolean, what: string) {
  if (!holds) throw new Error(`expected: ${what}`);
}

/** Every product that the orders ask for is there: added now, or before. */
async function stock(productId: string) {
  const added = await inventory.POST("/inventory", { body: { productId, quantity: 1000, price: 19.99 } });
  expect(added.response.status === 201 || added.response.status === 409, `${productId} is there`);
}

async function place(paymentMethod: string): Promise<Order> {
  const order = {
    customerId: "customer-1",
    items: [{ productId: "prod-1", quantity: 2, unitPrice: 19.99 }],
    currency: "USD",
    paymentMethod,
  };
  const header = { "Idempotency-Key": crypto.randomUUID() };
  const placed = await orders.POST("/orders", { params: { header }, body: order });
  const again = await orders.POST("/orders", { params: { header }, body: order });
  expect(again.response.headers.get("idempotency-replayed") === "true", "the same key is the same order");
  expect(wanted(again).orderId === wanted(placed).orderId, "the same order");
  return wanted(placed);
}

async function eventually<T>(ask: () => Promise<T | undefined>): Promise<T> {
  for (const until = Date.now() + PATIENCE_MS; Date.now() < until; ) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error(`it took more than ${PATIENCE_MS} ms`);
}

function ended(orderId: string): Promise<Order> {
  const path = { orderId };
  return eventually(async () => {
    const order = wanted(await orders.GET("/orders/{orderId}", { params: { path } }));
    return order.status === "PENDING" ? undefined : order;
  });
}

await stock("prod-1");
const good = await ended((await place("pm_card_visa")).orderId);
expect(good.status === "COMPLETED", "a good order is completed");
const declined = await ended((await place("pm_card_chargeDeclined")).orderId);
expect(declined.status === "CANCELLED", "a declined order is cancelled");

const path = { sagaId: good.sagaId };
const saga = wanted(await orders.GET("/sagas/{sagaId}", { params: { path } }));
expect(saga.steps.every((step) => step.status === "SUCCEEDED"), "every step succeeded");

const query = { orderId: good.orderId };
const payment = wanted(await payments.GET("/payments", { params: { query } })).items[0];
expect(payment?.status === "CAPTURED" && payment.amount === good.totalAmount, "it is paid in full");
const reservation = wanted(await inventory.GET("/reservations", { params: { query } })).items[0];
expect(reservation?.status === "RESERVED", "its stock is held");

// It is shipped, it arrives, and one of the two comes back.
const order = { orderId: good.orderId };
for (const status of ["SHIPPED", "DELIVERED"] as const) {
  const told = await orders.PATCH("/orders/{orderId}/status", { params: { path: order }, body: { status } });
  expect(wanted(told).status === status, `it is ${status}`);
}
const items = [{ productId: "prod-1", quantity: 1 }];
// As long as the saga that ships it is at work, a return is refused.
const accepted = await eventually(async () => {
  const answer = await orders.POST("/orders/{orderId}/returns", { params: { path: order }, body: { items } });
  return answer.response.status === 409 ? undefined : wanted(answer);
});
expect(accepted.refundAmount === 19.99, "exactly the price of what comes back is given back");

const nobody = { orderId: "01976a3e-7c00-7000-8000-000000000001" };
const missing = await orders.GET("/orders/{orderId}", { params: { path: nobody } });
expect(missing.error?.status === 404, "what is not there is a problem");

expect(wanted(await audit.GET("/audit")).clean, "every guarantee holds");
console.log(`✔ order ${good.orderId} is ${good.status}, order ${declined.orderId} is ${declined.status}`);
