//! The lists of metrics of all programs, as `docs/METRICS.md` has them.

use common::metrics::{ORCHESTRATOR, PROGRAM, SERVICE, Section};

/// All lists, in the order of the document.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        title: "Orders (order service)",
        list: order_service::metrics::LIST,
    },
    Section {
        title: "Sagas (order service)",
        list: saga::metrics::LIST,
    },
    Section {
        title: "The way to participants (order service)",
        list: ORCHESTRATOR,
    },
    Section {
        title: "Payments (payment service)",
        list: payment_service::metrics::LIST,
    },
    Section {
        title: "Stock (inventory service)",
        list: inventory_service::metrics::LIST,
    },
    Section {
        title: "Messages, outbox and database (every service)",
        list: SERVICE,
    },
    Section {
        title: "HTTP and process (every program)",
        list: PROGRAM,
    },
    Section {
        title: "The audit (audit)",
        list: audit::metrics::LIST,
    },
];
