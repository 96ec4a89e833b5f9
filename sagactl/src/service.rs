//! The service that is talked to: requests that are repeated without harm, and answers of bounded size.

use std::time::Duration;

use hyper::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use url::Url;
use uuid::Uuid;

use crate::{
    failure::{Failure, Problem},
    http::{self, Answer, Http},
};

/// The largest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 << 20;
/// How often a request is sent at most, ...
const TRIES: u32 = 4;
/// ... and how long after the first time it is sent for the second; then twice as long after that.
const PAUSE: Duration = Duration::from_millis(250);

/// A service, and who asks it.
#[derive(Debug)]
pub(crate) struct Service {
    http: Http,
    base: Url,
    patience: Duration,
    actor: Option<String>,
}

/// A request. All that are made here can be repeated without harm: they only read, or name a key, or say what shall be.
#[derive(Debug)]
pub(crate) struct Request<'s> {
    service: &'s Service,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Service {
    /// The service at `base`, which is asked by `actor`, and has `patience` for an answer.
    pub(crate) fn new(
        base: Url,
        actor: Option<String>,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let http = Http::new(&base).map_err(|error| {
            Failure::Away(format!(
                "no certificate can be checked here: {error}. SSL_CERT_FILE names a file with those to trust"
            ))
        })?;
        Ok(Self {
            http,
            base,
            patience,
            actor,
        })
    }

    /// Where it is, for people: without a password.
    pub(crate) fn name(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// A request that only reads. Each part of `path` is encoded.
    pub(crate) fn get(&self, path: &[&str]) -> Request<'_> {
        self.request(Method::GET, path, None)
    }

    /// A request with a body.
    pub(crate) fn post(&self, path: &[&str], body: &Value) -> Request<'_> {
        self.request(Method::POST, path, Some(body))
    }

    /// A request to take something away, with a body.
    pub(crate) fn delete(&self, path: &[&str], body: &Value) -> Request<'_> {
        self.request(Method::DELETE, path, Some(body))
    }

    fn request(&self, method: Method, path: &[&str], body: Option<&Value>) -> Request<'_> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut headers = HeaderMap::new();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Request {
            service: self,
            method,
            url,
            headers,
            body: body.map(|body| body.to_string().into_bytes()),
        }
    }
}

/// An answer as what it should be.
pub(crate) fn read<T: DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    T::deserialize(answer).map_err(|error| {
        Failure::Away(format!(
            "the answer is not what the API says: {error}. Is it the order service of another release?"
        ))
    })
}

impl<'s> Request<'s> {
    /// With parameters.
    #[must_use]
    pub(crate) fn query<K: AsRef<str>, V: AsRef<str>>(
        mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let mut pairs = pairs.into_iter().peekable();
        if pairs.peek().is_some() {
            self.url.query_pairs_mut().extend_pairs(pairs);
        }
        self
    }

    /// Only asking what would follow, if `is` so.
    #[must_use]
    pub(crate) fn dry_run(self, is: bool) -> Self {
        self.query(is.then_some(("dryRun", "true")))
    }

    /// In the name of whoever asks.
    ///
    /// # Errors
    /// Nobody knows who that is.
    pub(crate) fn by_actor(self) -> Result<Self, Failure> {
        let actor = self.service.actor.clone().ok_or_else(|| {
            let why = "say who you are, with --actor or SAGACTL_ACTOR: it is kept with what you do";
            Failure::Usage(why.to_owned())
        })?;
        self.header("x-actor", &actor)
    }

    /// Once, however often it is sent.
    pub(crate) fn once(self, key: Uuid) -> Result<Self, Failure> {
        self.header("idempotency-key", &format!("\"{key}\""))
    }

    /// Only if the saga's version is still this one.
    pub(crate) fn if_version(self, version: i64) -> Result<Self, Failure> {
        self.header(IF_MATCH.as_str(), &format!("\"{version}\""))
    }

    /// Answered as `media_type`.
    pub(crate) fn accept(self, media_type: &str) -> Result<Self, Failure> {
        self.header(ACCEPT.as_str(), media_type)
    }

    /// With another header.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Result<Self, Failure> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Failure::Usage(format!("{value:?} cannot be sent as {name}")))?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    /// The answer, as JSON.
    pub(crate) async fn json(self) -> Result<Value, Failure> {
        let name = self.service.name();
        let body = self.bytes().await?;
        serde_json::from_slice(&body)
            .map_err(|error| Failure::Away(format!("{name} did not answer in JSON: {error}")))
    }

    /// The answer, as text.
    pub(crate) async fn text(self) -> Result<String, Failure> {
        let body = self.bytes().await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn bytes(self) -> Result<Vec<u8>, Failure> {
        let (patience, too_slow) = (self.service.patience, self.too_slow());
        let answered = timeout(patience, self.answered()).await;
        answered.unwrap_or(Err(too_slow))
    }

    /// An answer that comes bit by bit, and ends when the service wants.
    ///
    /// # Errors
    /// The service does not begin to answer.
    pub(crate) async fn stream(self) -> Result<Answer, Failure> {
        let (patience, too_slow) = (self.service.patience, self.too_slow());
        let begun = timeout(patience, self.once_answered()).await;
        begun.unwrap_or(Err(too_slow))
    }

    async fn once_answered(self) -> Result<Answer, Failure> {
        let answer = self
            .send()
            .await
            .map_err(|error| self.unreachable(&*error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refusal(answer.status(), &whole(answer).await.unwrap_or_default()))
    }

    /// Sends it until it is answered.
    async fn answered(self) -> Result<Vec<u8>, Failure> {
        let (mut pause, mut left) = (PAUSE, TRIES);
        loop {
            left -= 1;
            let wait = match self.exchanged().await {
                Ok((status, _, body)) if status.is_success() => return Ok(body),
                Ok((StatusCode::SERVICE_UNAVAILABLE, wait, _)) if left > 0 => wait,
                Ok((status, _, body)) => return Err(self.refusal(status, &body)),
                Err(error) if left == 0 => return Err(self.unreachable(&*error)),
                Err(_) => None,
            };
            sleep(wait.unwrap_or(pause)).await;
            pause *= 2;
        }
    }

    /// Sends it once: the status, when to ask again, and the body of the answer.
    async fn exchanged(&self) -> Result<(StatusCode, Option<Duration>, Vec<u8>), http::Error> {
        let answer = self.send().await?;
        let (status, wait) = (answer.status(), retry_after(&answer));
        Ok((status, wait, whole(answer).await?))
    }

    async fn send(&self) -> Result<Answer, http::Error> {
        let body = self.body.clone().unwrap_or_default();
        let http = &self.service.http;
        http.send(self.method.clone(), &self.url, &self.headers, body)
            .await
    }

    fn too_slow(&self) -> Failure {
        let (name, seconds) = (self.service.name(), self.service.patience.as_secs());
        let why = format!("{name} did not answer within {seconds} s");
        if self.method == Method::GET {
            return Failure::Away(format!("{why}; --timeout gives it longer"));
        }
        Failure::Away(format!(
            "{why}. What was asked for may be done all the same: look before you ask again"
        ))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Failure {
        let name = self.service.name();
        let mut cause = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Failure::Away(format!(
            "cannot reach {name}: {cause}. Is the service up, and is this its address? --url and SAGACTL_URL name another one"
        ))
    }

    /// What an answer says that is no success.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> Failure {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => {
                Failure::Refused(problem)
            }
            Ok(problem) => Failure::Away(problem.to_string()),
            Err(_) => Failure::Away(format!(
                "{} answered {status}, and not as the API does. Is it the right service, of this release?",
                self.service.name()
            )),
        }
    }
}

fn retry_after(answer: &Answer) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(seconds.parse().ok()?))
}

/// The whole body, if it is not too large; what is larger is cut off, and so is no JSON any more.
async fn whole(mut answer: Answer) -> Result<Vec<u8>, http::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = http::next(&mut answer).await? {
        let room = ANSWER_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == ANSWER_MAX {
            break;
        }
    }
    Ok(body)
}
