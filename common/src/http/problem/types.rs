//! The types of problems. Programs tell them apart by `type`; a released name never changes its meaning.
//!
//! Source: <https://www.rfc-editor.org/rfc/rfc9457#section-4>

use axum::http::StatusCode;

/// A type of problem: what went wrong, and what can be done about it.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemType {
    /// The last part of its URI.
    pub name: &'static str,
    /// The HTTP status that it comes with.
    pub status: StatusCode,
    /// What went wrong, in a few words: the same each time.
    pub title: &'static str,
    /// What it means, and what to do about it.
    pub advice: &'static str,
}

impl ProblemType {
    /// The URI that identifies it, relative to the service that says it.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("/problems/{}", self.name)
    }
}

/// Declares the types, and the list of them all.
macro_rules! problem_types {
    ($($constant:ident: $status:ident $name:literal, $title:literal, $advice:literal;)+) => {
        $(
            #[doc = $title]
            pub const $constant: ProblemType = ProblemType {
                name: $name,
                status: StatusCode::$status,
                title: $title,
                advice: $advice,
            };
        )+

        /// All of them, by status.
        pub const ALL: &[ProblemType] = &[$($constant),+];
    };
}

problem_types! {
    MALFORMED_REQUEST: BAD_REQUEST "malformed-request", "The request cannot be read",
        "A parameter, a header or the body is not what it must be; `errors` says which, and how. Correct it before you send it again.";
    NOT_FOUND: NOT_FOUND "not-found", "There is no such thing",
        "Nothing has this path or this id. Look at /api/docs for the paths, and at the answer that named the id.";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED "method-not-allowed", "The path does not take this method",
        "Use one of the methods that the header `Allow` names.";
    REQUEST_TIMEOUT: REQUEST_TIMEOUT "request-timeout", "The body did not arrive in time",
        "The connection was too slow, or it stalled. Nothing was done: send the request again.";
    ORDER_SHIPPED: CONFLICT "order-shipped", "The order is shipped",
        "It is too late to cancel it. When it is delivered, its goods can be returned: POST /orders/{orderId}/returns.";
    ORDER_STATUS: CONFLICT "order-status", "The order's status does not allow this",
        "A COMPLETED order can become SHIPPED, a SHIPPED one DELIVERED, and only a DELIVERED one can be returned. Read the order, and do what its status allows.";
    SAGA_AT_WORK: CONFLICT "saga-at-work", "Another saga of the order is at work",
        "What it does must end first. Ask again in a moment; where it takes long, look at the saga that `detail` names.";
    SAGA_VERB: CONFLICT "saga-verb", "The saga's state does not allow this",
        "What an operator can do depends on where the saga is: `detail` names what makes sense now, and `verbs` of the saga says it too.";
    SAGA_NOT_PARKED: CONFLICT "saga-not-parked", "The saga is not parked",
        "Only a parked saga waits for somebody to resume it. This one goes on by itself, or has ended: read it.";
    SAGA_NO_WAY_BACK: CONFLICT "saga-no-way-back", "The saga cannot be undone any more",
        "It has ended, or it has come to a step that only goes forward. What it did can be undone by a saga of its own, such as a return.";
    SAGA_UNREADABLE: CONFLICT "saga-unreadable", "The saga's log does not add up",
        "Something that is not Order Saga has changed its log or its state. Nothing is decided about it until its rows are repaired.";
    PRODUCT_EXISTS: CONFLICT "product-exists", "There is such a product already",
        "Change it with PATCH /inventory/{productId}, or choose another id.";
    PRODUCT_HELD: CONFLICT "product-held", "Orders hold the product",
        "There cannot be fewer pieces in the warehouse than orders hold, and a product that orders hold cannot be removed. Ship or cancel them first.";
    BATCH_DONE: CONFLICT "batch-done", "The batch is done",
        "There is nothing left to stop. What it did can be read at GET /sagas/batch/{batchId}, and in the logs of its sagas.";
    DEAD_LETTER_REFUSED: CONFLICT "dead-letter-refused", "The dead letter stays where it is",
        "`detail` says why, and what else can be done about it: send it with `force`, edit it, or delete it.";
    REDRIVE_DONE: CONFLICT "redrive-done", "The redrive is done",
        "Its letters have gone out, or stay where they are: read it.";
    AUDIT_RUNNING: CONFLICT "audit-running", "An audit is running",
        "One runs at a time. Ask again when it has ended.";
    PRECONDITION_FAILED: PRECONDITION_FAILED "precondition-failed", "It has changed since you looked",
        "`If-Match` names another version than the present one. Read it again, decide again, and send the new `ETag`.";
    PAYLOAD_TOO_LARGE: PAYLOAD_TOO_LARGE "payload-too-large", "The body is too large",
        "A body has at most 256 KiB. Send less at a time.";
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE "unsupported-media-type", "The body has another media type than is taken",
        "Send `application/json`; where the method is PATCH, `application/merge-patch+json` is taken too.";
    INVALID_FIELDS: UNPROCESSABLE_ENTITY "invalid-fields", "Some fields are wrong",
        "The body was read, and some of its fields cannot be what they are; `errors` says which, and how. Correct them.";
    IDEMPOTENCY_KEY_REUSED: UNPROCESSABLE_ENTITY "idempotency-key-reused", "The idempotency key came with another request before",
        "A key belongs to one request for ever. Use a new key for a new request, and the same body for the same key.";
    PRECONDITION_REQUIRED: PRECONDITION_REQUIRED "precondition-required", "Say which version you saw",
        "Read it, and send its `ETag` as `If-Match`, so that you decide about what you saw. `*` takes it as it is.";
    INTERNAL_ERROR: INTERNAL_SERVER_ERROR "internal-error", "The service has a fault",
        "It has been logged, with the correlation id. Whether anything was done is not known: ask, or send the request again with the same idempotency key.";
    DEPENDENCY_AWAY: SERVICE_UNAVAILABLE "dependency-away", "The service cannot reach what it needs",
        "Its database or RabbitMQ is away, or too slow. Send the request again, with the same idempotency key, after as many seconds as `Retry-After` says.";
    OVERLOADED: SERVICE_UNAVAILABLE "overloaded", "There is too much to do already",
        "Nothing was done. Send the request again after as many seconds as `Retry-After` says, and fewer at a time.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_that_can_stand_in_a_path() {
        let names: BTreeSet<_> = ALL.iter().map(|one| one.name).collect();
        assert_eq!(names.len(), ALL.len());
        for name in names {
            let fits = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(name.chars().all(fits), "{name}");
        }
        assert!(ALL.is_sorted_by_key(|one| one.status));
    }
}
