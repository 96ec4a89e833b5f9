//! What a collector of OpenTelemetry gets to see: real programs send their spans to one that the test plays.

use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{contract::topology, fleet};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value as Attribute,
    trace::v1::{Span, status::StatusCode},
};
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{Environment, PATIENCE, eventually, servers::free_ports, wait_until};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};
use tonic::{Request, Response, Status, transport::Server};

use crate::harness::{Api, Participants, order, processed, text};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const OTHER: &str = "1af7651916cd43dd8448eb211c80319c";
const VERB: &str = "2af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// How long spans may be on their way.
const TREE_PATIENCE: Duration = Duration::from_secs(20);

/// A collector, and what it has.
#[derive(Clone, Default)]
struct Collector {
    /// Each span with the `service.name` of who sent it.
    spans: Arc<Mutex<Vec<(String, Span)>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for from in request.into_inner().resource_spans {
            let resource = from.resource.unwrap_or_default();
            let service = attribute(&resource.attributes, "service.name").unwrap_or_default();
            let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| (service.clone(), span));
            self.spans.lock().unwrap().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// One that listens, and where.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let port = free_ports(1).unwrap()[0];
        let address = format!("127.0.0.1:{port}");
        let serving = Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve(address.parse().unwrap());
        tokio::spawn(serving);
        (collector, format!("http://{address}"))
    }

    /// The spans of a trace.
    fn of(&self, trace: &str) -> Vec<(String, Span)> {
        let spans = self.spans.lock().unwrap();
        let of_trace = |(_, span): &&(String, Span)| hex(&span.trace_id) == trace;
        spans.iter().filter(of_trace).cloned().collect()
    }

    /// The spans of a trace as a tree, below what the span `parent` is: who, and what, in order of names. At the end, those
    /// whose parents nobody sent.
    fn tree(&self, trace: &str, parent: &str) -> String {
        let mut children: HashMap<String, Vec<(String, String)>> = HashMap::new();
        for (service, span) in self.of(trace) {
            let line = format!("{service}: {}", span.name);
            let siblings = children.entry(hex(&span.parent_span_id)).or_default();
            siblings.push((line, hex(&span.span_id)));
        }
        let mut lines = String::new();
        draw(&mut children, parent, 0, &mut lines);
        for (parent, orphans) in children {
            lines.push_str(&format!(
                "below {parent}, which is not there: {orphans:?}\n"
            ));
        }
        lines
    }

    /// Waits until the tree is the `expected` one.
    async fn until_tree(&self, (trace, parent): (&str, &str), expected: &str) {
        let is_there = || async { self.tree(trace, parent) == expected };
        let waiting = wait_until(PATIENCE, "the tree", is_there);
        if timeout(TREE_PATIENCE, waiting).await.is_err() {
            assert_eq!(self.tree(trace, parent), expected);
        }
    }
}

/// The spans of an order, below its client's, as the documentation shows them.
fn documented() -> &'static str {
    let document = include_str!("../../../docs/TRACING.md");
    let (_, behind) = document
        .split_once("<!-- one-order -->\n```text\n")
        .unwrap();
    behind.split_once("```").unwrap().0
}

/// Takes the children of `parent` out, and draws them.
fn draw(
    children: &mut HashMap<String, Vec<(String, String)>>,
    parent: &str,
    depth: usize,
    lines: &mut String,
) {
    let mut siblings = children.remove(parent).unwrap_or_default();
    siblings.sort();
    for (line, id) in siblings {
        lines.push_str(&format!("{}{line}\n", "  ".repeat(depth)));
        draw(children, &id, depth + 1, lines);
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(
    attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue],
    name: &str,
) -> Option<String> {
    let of_name = attributes.iter().find(|one| one.key == name)?;
    match of_name.value.clone()?.value? {
        Attribute::StringValue(text) => Some(text),
        Attribute::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A program of its own, which sends its spans to the collector at `endpoint`.
struct Running {
    _process: Child,
    api: Api,
    /// The lines of its log.
    log: Arc<Mutex<Vec<Value>>>,
}

fn start(environment: &Environment, name: &str, endpoint: &str, more: &[(&str, &str)]) -> Running {
    let program = fleet::programs()
        .find(|program| program.name == name)
        .unwrap();
    let port = free_ports(1).unwrap()[0];
    let address = format!("127.0.0.1:{port}");
    // The others are beside it: the whole workspace is built for tests.
    let binary = Path::new(env!("CARGO_BIN_EXE_order-service")).with_file_name(name);
    let mut overrides = vec![
        (program.http_variable, &*address),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    overrides.extend(more);
    let mut process = Command::new(&binary)
        .envs(environment.pairs(&overrides))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let log = Arc::<Mutex<Vec<Value>>>::default();
    let written = Arc::clone(&log);
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            written
                .lock()
                .unwrap()
                .push(serde_json::from_str(&line).unwrap());
        }
    });
    Running {
        _process: process,
        api: Api::at(address.parse().unwrap()),
        log,
    }
}

/// Asks for something in a trace.
async fn ask(api: &Api, trace: &str, flags: &str, path: &str, body: &Value) -> Value {
    let answer = api
        .request(Method::POST, path)
        .header("traceparent", format!("00-{trace}-{CALLER}-{flags}"))
        .header("tracestate", "vendor=kept")
        .header("x-correlation-id", "of-a-test")
        .header("x-actor", "ada")
        .header("if-match", "*")
        .json(body)
        .send()
        .await
        .unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

async fn until(api: &Api, order: &Value, status: &str) {
    let path = format!("/orders/{}", text(order, "orderId"));
    let has_status = |order: &Value| order["status"] == status;
    eventually(status, || api.json(&path), has_status).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_is_one_trace_through_all_services() {
    let (collector, endpoint) = Collector::start().await;
    let environment = Environment::new().await;
    let [orders, payments, inventory] = ["order-service", "payment-service", "inventory-service"]
        .map(|name| start(&environment, name, &endpoint, &[]));
    for service in [&orders, &payments, &inventory] {
        service.api.until_ready().await;
    }
    let item = json!({ "productId": "prod-1", "quantity": 100 });
    assert_eq!(inventory.api.post("/inventory", &item).await.status(), 201);

    let body = order("prod-1", 1, "pm_card_visa");
    let placed = ask(&orders.api, TRACE, "01", "/orders", &body).await;
    until(&orders.api, &placed, "COMPLETED").await;
    collector.until_tree((TRACE, CALLER), documented()).await;

    for (service, span) in collector.of(TRACE) {
        assert_eq!(span.trace_state, "vendor=kept", "{service}: {span:?}");
        let status = span.status.clone().unwrap_or_default();
        assert_ne!(status.code(), StatusCode::Error, "{service}: {span:?}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        let conversation = attribute(&span.attributes, "messaging.message.conversation_id");
        assert_eq!(
            conversation.as_deref(),
            Some("of-a-test"),
            "{service}: {span:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_verbs_and_batches_find_their_places() {
    let (collector, endpoint) = Collector::start().await;
    let environment = Environment::new().await;
    let orders = start(&environment, "order-service", &endpoint, &[]);
    orders.api.until_ready().await;
    let participants = Participants::of(&environment).await;
    let mut replies = Vec::new();
    let mut placed = Vec::new();
    for trace in [TRACE, OTHER] {
        let body = order("prod-1", 1, "pm_card_visa");
        placed.push(ask(&orders.api, trace, "01", "/orders", &body).await);
        let command = participants.command("payment").await;
        let mut reply = processed(&command);
        reply["traceparent"] = command["traceparent"].clone();
        replies.push(reply);
    }
    participants.reply(&replies).await;
    let queue = topology::INVENTORY_COMMANDS.name;
    participants.amqp.next_events(queue, placed.len()).await;
    let saga = text(&placed[0], "sagaId");
    let passed = sqlx::query("UPDATE sagas SET deadline_at = now() WHERE id = $1::uuid")
        .bind(saga)
        .execute(&environment.pool("order").await)
        .await;
    assert_eq!(passed.unwrap().rows_affected(), 1);
    participants.command("inventory").await;
    let why = json!({ "reason": "a test" });
    ask(
        &orders.api,
        VERB,
        "01",
        &format!("/sagas/{saga}/abort"),
        &why,
    )
    .await;
    participants.command("inventory").await;

    let of_order = "\
order-service: POST /orders
  order-service: create saga.commands:payment
    order-service: process order.saga.replies
      order-service: create saga.commands:inventory
        order-service: send saga.commands:inventory
    order-service: send saga.commands:payment
  order-service: create saga.events:order.created.v1
    order-service: send saga.events:order.created.v1
";
    collector.until_tree((OTHER, CALLER), of_order).await;
    let and_deadline = format!(
        "{of_order}  order-service: deadline create_order
    order-service: create saga.commands:inventory
      order-service: send saga.commands:inventory
"
    );
    collector.until_tree((TRACE, CALLER), &and_deadline).await;
    let of_verb = "\
order-service: POST /sagas/{sagaId}/abort
  order-service: abort create_order
    order-service: create saga.commands:inventory
      order-service: send saga.commands:inventory
";
    collector.until_tree((VERB, CALLER), of_verb).await;

    let verb = collector.of(VERB);
    let (_, verb) = verb
        .iter()
        .find(|(_, span)| span.name == "abort create_order")
        .unwrap();
    let linked: Vec<_> = verb.links.iter().map(|link| hex(&link.trace_id)).collect();
    assert_eq!(
        linked,
        [TRACE],
        "the verb is linked to the saga's own trace"
    );
    let count = "messaging.batch.message_count";
    let all = collector.spans.lock().unwrap().clone();
    let together = all
        .iter()
        .find(|(_, span)| attribute(&span.attributes, count).is_some());
    let (_, together) = together.expect("two replies were handled together");
    let mut linked: Vec<_> = together
        .links
        .iter()
        .map(|link| hex(&link.trace_id))
        .collect();
    linked.sort();
    assert_eq!(linked, [TRACE, OTHER]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_is_not_collected_and_says_so_to_others() {
    let (collector, endpoint) = Collector::start().await;
    let environment = Environment::new().await;
    let orders = start(&environment, "order-service", &endpoint, &[]);
    orders.api.until_ready().await;
    let participants = Participants::of(&environment).await;
    let body = order("prod-1", 1, "pm_card_visa");
    ask(&orders.api, TRACE, "00", "/orders", &body).await;
    let command = participants.command("payment").await;
    let parent = text(&command, "traceparent");
    assert!(
        parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-00"),
        "{parent}"
    );
    assert_eq!(command["tracestate"], "vendor=kept");
    let stranger = orders.api.request(Method::POST, "/orders");
    let stranger = stranger.header("tracestate", "of=nothing").json(&body);
    assert_eq!(stranger.send().await.unwrap().status(), 201);
    let command = participants.command("payment").await;
    assert_eq!(command["tracestate"], Value::Null, "a state of no trace");
    // What comes afterwards is there when this one would be, too.
    ask(&orders.api, OTHER, "01", "/orders", &body).await;
    let sent = || async {
        let spans = collector.of(OTHER);
        spans
            .iter()
            .any(|(_, span)| span.name == "send saga.commands:payment")
    };
    wait_until(PATIENCE, "another order is collected", sent).await;
    assert!(collector.of(TRACE).is_empty(), "{:?}", collector.of(TRACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_debug_each_message_has_its_lines() {
    let environment = Environment::new().await;
    let debug = [("LOG_LEVEL", "info,common=debug,saga=debug")];
    let [orders, payments] =
        ["order-service", "payment-service"].map(|name| start(&environment, name, "", &debug));
    for service in [&orders, &payments] {
        service.api.until_ready().await;
    }
    let body = order("prod-1", 1, "pm_card_visa");
    let placed = ask(&orders.api, TRACE, "01", "/orders", &body).await;
    let says = |service: &Running, what: &str, step: &str| {
        let log = service.log.lock().unwrap();
        log.iter().any(|line| {
            line["msg"].as_str().is_some_and(|msg| msg.contains(what))
                && line["saga.id"] == placed["sagaId"]
                && line["saga.step"] == step
                && line["correlation_id"] == "of-a-test"
        })
    };
    for (service, what, step) in [
        (&payments, "taken", "payment"),
        (&payments, "answered", "payment"),
        (&payments, "done", "payment"),
        (&orders, "taken", "payment"),
        (&orders, "decided", "inventory"),
        (&orders, "done", "payment"),
    ] {
        wait_until(PATIENCE, what, || async { says(service, what, step) }).await;
    }
}
