// Pays with the generated client: creates a payment, loses nothing, waits, refunds, reads what happened, handles an error by its code.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Payment = components["schemas"]["PaymentOut"];
type ErrorCode = components["schemas"]["ErrorCode"];

const [baseUrl, token] = process.argv.slice(2);
assert(baseUrl && token);
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

// Every status has a word for the cashier: a status that is missing here does not compile.
const shown: Record<Payment["status"], string> = {
  pending: "In progress",
  processing: "In progress",
  completed: "Paid",
  failed: "Not paid",
  cancelled: "Cancelled",
  refunded: "Refunded",
};
// Errors after which the same request is sent again: a code that does not exist does not compile.
const repeated: ErrorCode[] = ["RATE_LIMIT_EXCEEDED", "SERVICE_UNAVAILABLE", "INTERNAL_ERROR", "IDEMPOTENCY_KEY_IN_USE"];

const key = randomUUID();
const clientReference = `till-1/${key}`;
const body = { amount: 1200, method: { type: "qr", mode: "cpm" }, client_reference: clientReference } as const;
const header = { "Idempotency-Key": key };

const created = await client.POST("/api/v1/payments", { params: { header }, body });
assert(created.data, JSON.stringify(created.error));
assert.equal(created.response.status, 201);
assert(created.response.headers.get("X-Request-Id"));

// The answer was lost, say: the same again returns the same payment.
const again = await client.POST("/api/v1/payments", { params: { header }, body });
assert.equal(again.data?.id, created.data.id);
assert.equal(again.response.headers.get("Idempotent-Replayed"), "true");

let payment: Payment = created.data;
while (payment.status === "pending" || payment.status === "processing") {
  if (!payment.outcome_known) assert.equal(payment.advice, "do_not_charge_again");
  const newer = await client.GET("/api/v1/payments/{payment_id}", {
    params: { path: { payment_id: payment.id }, query: { wait: 10, since_version: payment.version } },
  });
  assert(newer.data, JSON.stringify(newer.error));
  payment = newer.data;
}
console.log("payment", payment.status, shown[payment.status], payment.captured_amount);

const asked = await client.POST("/api/v1/payments/{payment_id}/refund", {
  params: { path: { payment_id: payment.id }, header: { "Idempotency-Key": randomUUID() } },
  body: { amount: 200, reason: "one dish was cold", staff_code: "s-7" },
});
assert(asked.data, JSON.stringify(asked.error));
let refund = asked.data;
while (refund.status === "pending" || refund.status === "processing") {
  await new Promise((resolve) => setTimeout(resolve, 100));
  const newer = await client.GET("/api/v1/refunds/{refund_id}", { params: { path: { refund_id: refund.id } } });
  assert(newer.data, JSON.stringify(newer.error));
  refund = newer.data;
}
console.log("refund", refund.status, refund.amount);

const timeline = await client.GET("/api/v1/payments/{payment_id}/events", {
  params: { path: { payment_id: payment.id } },
});
assert(timeline.data, JSON.stringify(timeline.error));
const edges = timeline.data.data.flatMap((entry) =>
  entry.type === "transition" && !entry.refund_id ? [`${entry.from_status ?? "new"}>${entry.to_status}`] : [],
);
const references = timeline.data.data.flatMap((entry) => (entry.type === "attempt_sent" ? [entry.reference] : []));
assert(references.includes(`${payment.id}:1`));
console.log("events", edges.join(" "));

const found = await client.GET("/api/v1/payments", {
  params: { query: { client_reference: clientReference, status: "refunded" } },
});
assert(found.data, JSON.stringify(found.error));
console.log("found", found.data.data.length, found.data.data[0]?.refunded_amount, found.data.next_cursor);

const other = { ...body, amount: 1300 };
const refused = await client.POST("/api/v1/payments", { params: { header }, body: other });
assert(refused.error);
assert(!repeated.includes(refused.error.error.code));
switch (refused.error.error.code) {
  case "IDEMPOTENCY_KEY_REUSED":
    console.log("refused", refused.response.status, "look up the first one");
    break;
  default:
    throw new Error(refused.error.error.message);
}
