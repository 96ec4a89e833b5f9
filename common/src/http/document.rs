//! The OpenAPI document of a program.
//!
//! Handlers document what is their own. What the frame does to every operation is written here once: its refusals, each
//! with a problem as it is really sent, and the correlation id.

use utoipa::{
    ToSchema,
    openapi::{
        Components, Content, ContentBuilder, Header, HeaderBuilder, InfoBuilder, LicenseBuilder,
        ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response, ServerBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        schema::{Schema, Type},
        tag::TagBuilder,
    },
};

use super::{
    ApiError, Problem, extract,
    origin::{self, CORRELATION_ID_MAX},
    problem::{CONTENT, types},
};
use crate::fleet::Program;

/// The tag of what every program has.
pub(super) const SYSTEM: &str = "system";
/// The name of the correlation id among the document's parameters and headers.
const CORRELATION_ID: &str = "CorrelationId";

/// An answer that has nothing to do with what an operation does.
struct Refusal {
    /// Its name among the document's responses.
    name: &'static str,
    description: &'static str,
    /// For example.
    error: fn() -> ApiError,
    /// Which operations may give it.
    concerns: fn(&Operation) -> bool,
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        name: "BadRequest",
        description: "A parameter or a header is wrong, or the body is not JSON; `errors` says where",
        error: || ApiError::bad_field("limit", "must be a number from 1 to 200"),
        concerns: |_| true,
    },
    Refusal {
        name: "MethodNotAllowed",
        description: "The path takes only the methods that `Allow` names",
        error: || {
            let detail = "PUT does not work here: see /api/docs".to_owned();
            ApiError::Refused(&types::METHOD_NOT_ALLOWED, detail)
        },
        concerns: |_| true,
    },
    Refusal {
        name: "RequestTimeout",
        description: "The body did not arrive in time",
        error: extract::too_slow,
        concerns: has_body,
    },
    Refusal {
        name: "PayloadTooLarge",
        description: "The body has more than 256 KiB",
        error: extract::too_large,
        concerns: has_body,
    },
    Refusal {
        name: "UnsupportedMediaType",
        description: "The body is not `application/json`",
        error: extract::no_json,
        concerns: has_body,
    },
    Refusal {
        name: "UnprocessableEntity",
        description: "Fields are wrong; `errors` names them",
        error: || ApiError::invalid("items[0].quantity", "must be from 1 to 10000"),
        concerns: has_body,
    },
    Refusal {
        name: "InternalServerError",
        description: "A fault, which has been logged",
        error: || ApiError::Internal(anyhow::anyhow!("a fault")),
        concerns: |_| true,
    },
];

/// What every operation answers that needs a database.
const UNAVAILABLE: Refusal = Refusal {
    name: "ServiceUnavailable",
    description: "The database is away, or too much is asked for at once: try again after `Retry-After` seconds",
    error: || ApiError::Unavailable(anyhow::anyhow!("the database is away")),
    concerns: |_| true,
};

fn has_body(operation: &Operation) -> bool {
    operation.request_body.is_some()
}

/// The beginning of the document of `program`: what it is, where it is, and what its tags are.
#[must_use]
pub fn describe(program: &Program, description: &str, tags: &[(&str, &str)]) -> OpenApi {
    let license = LicenseBuilder::new()
        .name(env!("CARGO_PKG_LICENSE"))
        .identifier(Some(env!("CARGO_PKG_LICENSE")));
    let info = InfoBuilder::new()
        .title(program.name)
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(description))
        .license(Some(license.build()));
    let here = ServerBuilder::new()
        .url("/")
        .description(Some("Where this document is"));
    let local = ServerBuilder::new()
        .url(format!("http://localhost:{}", program.port))
        .description(Some("`./dev up`, or Docker Compose"));
    let system = (SYSTEM, "Probes, metrics and documents");
    let tags = tags.iter().copied().chain([system]).map(|(name, text)| {
        let tag = TagBuilder::new().name(name).description(Some(text));
        tag.build()
    });
    OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([here.build(), local.build()]))
        .tags(Some(tags))
        .build()
}

/// The whole document of a program that has `routes`, and the `frame` that every program has.
pub(super) fn complete(mut routes: OpenApi, frame: OpenApi) -> OpenApi {
    for operation in operations(&mut routes) {
        UNAVAILABLE.add_to(operation);
    }
    routes.merge(frame);
    for operation in operations(&mut routes) {
        for refusal in REFUSALS {
            if (refusal.concerns)(operation) {
                refusal.add_to(operation);
            }
        }
        carry_correlation_id(operation);
        let responses = operation.responses.responses.iter_mut();
        for (status, response) in responses {
            if let RefOr::T(response) = response {
                finish(status, response);
            }
        }
    }
    share(routes.components.get_or_insert_default());
    routes
}

fn operations(document: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    let items = document.paths.paths.values_mut();
    items.flat_map(|item| {
        let PathItem {
            get,
            put,
            post,
            delete,
            patch,
            ..
        } = item;
        [get, put, post, delete, patch].into_iter().flatten()
    })
}

impl Refusal {
    fn status(&self) -> String {
        (self.error)().status().as_str().to_owned()
    }

    /// Adds it to `operation`, unless the operation says something of its own about this status.
    fn add_to(&self, operation: &mut Operation) {
        let responses = &mut operation.responses.responses;
        responses
            .entry(self.status())
            .or_insert_with(|| Ref::from_response_name(self.name).into());
    }

    fn response(&self) -> Response {
        let mut example = (self.error)().problem();
        "/orders".clone_into(&mut example.instance);
        "01976a3d-0000-7000-8000-000000000009".clone_into(&mut example.correlation_id);
        let example = serde_json::to_value(example).ok();
        let mut response = Response::new(self.description);
        response
            .content
            .insert(CONTENT.to_owned(), problem(example));
        finish(&self.status(), &mut response);
        response
    }
}

/// Adds what all answers have. One that refuses is a problem unless it says otherwise.
fn finish(status: &str, response: &mut Response) {
    if status >= "400" && response.content.is_empty() {
        response.content.insert(CONTENT.to_owned(), problem(None));
    }
    let headers = &mut response.headers;
    if status == "503" && response.content.contains_key(CONTENT) {
        let description = "Seconds after which it is worth trying again";
        headers.insert("Retry-After".to_owned(), header(Type::Integer, description));
    }
    if status == "415" {
        let description = "The media types that `PATCH` takes; only where the method is PATCH";
        headers.insert("Accept-Patch".to_owned(), header(Type::String, description));
    }
    if status == "405" {
        headers.insert(
            "Allow".to_owned(),
            header(Type::String, "The methods that the path takes"),
        );
    }
    let correlation_id = Ref::new(format!("#/components/headers/{CORRELATION_ID}"));
    headers.insert(
        origin::CORRELATION_ID.to_string(),
        RefOr::Ref(correlation_id),
    );
}

fn problem(example: Option<serde_json::Value>) -> RefOr<Content> {
    let schema = Ref::from_schema_name(Problem::name());
    let content = ContentBuilder::new().schema(Some(schema)).example(example);
    content.build().into()
}

fn header(of: Type, description: &str) -> RefOr<Header> {
    let schema = ObjectBuilder::new().schema_type(of);
    let header = HeaderBuilder::new().schema(Some(schema));
    header.description(Some(description)).build().into()
}

/// Every request may bring a correlation id.
fn carry_correlation_id(operation: &mut Operation) {
    let parameter = Ref::new(format!("#/components/parameters/{CORRELATION_ID}"));
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(RefOr::Ref(parameter));
}

/// Adds what operations refer to.
fn share(components: &mut Components) {
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    Problem::schemas(&mut schemas);
    schemas.push((
        Problem::name().into(),
        <Problem as utoipa::PartialSchema>::schema(),
    ));
    components.schemas.extend(schemas);
    for refusal in REFUSALS.iter().chain([&UNAVAILABLE]) {
        let response = refusal.response();
        components
            .responses
            .insert(refusal.name.to_owned(), response.into());
    }
    let given = "The request's correlation id, or a new one";
    let given = header(Type::String, given);
    components.headers.insert(CORRELATION_ID.to_owned(), given);
    components
        .parameters
        .insert(CORRELATION_ID.to_owned(), correlation_id().into());
}

fn correlation_id() -> Parameter {
    ParameterBuilder::new()
        .name(origin::CORRELATION_ID.as_str())
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Ties together all that this request causes. One is made where none is given",
        ))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some(1))
                .max_length(Some(CORRELATION_ID_MAX))
                .pattern(Some("^[ -~]+$")),
        ))
        .build()
}

#[cfg(test)]
mod tests {
    use utoipa_axum::{router::OpenApiRouter, routes};

    use super::*;

    #[utoipa::path(post, path = "/things", operation_id = "addThing", request_body = String,
        responses((status = 201, description = "Added"), (status = 409, description = "There is one")))]
    async fn add() {}

    #[utoipa::path(get, path = "/probe", operation_id = "getProbe",
        responses((status = 200, description = "Well")))]
    async fn probe() {}

    #[test]
    fn every_operation_has_the_answers_of_the_frame() {
        let things = OpenApiRouter::<()>::new().routes(routes!(add));
        let frame = OpenApiRouter::<()>::new().routes(routes!(probe));
        let document = complete(things.into_openapi(), frame.into_openapi());
        let document = serde_json::to_value(document).unwrap();
        let statuses = |operation: &str| -> Vec<String> {
            let responses = document.pointer(operation).unwrap()["responses"].as_object();
            responses.unwrap().keys().cloned().collect()
        };
        let all = [
            "201", "400", "405", "408", "409", "413", "415", "422", "500", "503",
        ];
        assert_eq!(statuses("/paths/~1things/post"), all);
        assert_eq!(statuses("/paths/~1probe/get"), ["200", "400", "405", "500"]);
        let answers = &document["paths"]["/things"]["post"]["responses"];
        assert!(answers["409"]["content"]["application/problem+json"].is_object());
        assert!(answers["201"]["content"].is_null());
        assert!(answers["201"]["headers"]["x-correlation-id"].is_object());
        let too_large = &document["components"]["responses"]["PayloadTooLarge"];
        let example = &too_large["content"]["application/problem+json"]["example"];
        assert_eq!(example["status"], 413);
        let away = &document["components"]["responses"]["ServiceUnavailable"];
        assert!(away["headers"]["Retry-After"].is_object());
    }
}
