//! HTTP, as far as it is needed: requests to one service, plain or over TLS, and answers that come bit by bit.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, HeaderMap, HeaderValue, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use percent_encoding::percent_decode_str;
use rustls::crypto::ring;
use url::Url;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// An answer that has begun.
pub(crate) type Answer = Response<Incoming>;
/// What went wrong on the way.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Connections to one service.
#[derive(Debug)]
pub(crate) struct Http(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Http {
    /// Connections to `service`. Over TLS, its certificate must come from whom the system trusts, or from whom the file does
    /// that `SSL_CERT_FILE` names.
    ///
    /// # Errors
    /// The system trusts nobody.
    pub(crate) fn new(service: &Url) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.enforce_http(false);
        let (tls, provider) = (HttpsConnectorBuilder::new(), ring::default_provider());
        let tls = match service.scheme() {
            "https" => tls.with_provider_and_native_roots(provider)?,
            // Nobody is asked for a certificate.
            _ => tls.with_provider_and_webpki_roots(provider)?,
        };
        let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Sends a request. A name and a password in `url` go into the header that they belong in.
    ///
    /// # Errors
    /// It cannot be sent, or is not answered.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        body: Vec<u8>,
    ) -> Result<Answer, Error> {
        let mut plain = url.clone();
        // They fail where there can be none, and then there are none.
        let _ = (plain.set_username(""), plain.set_password(None));
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = plain.as_str().parse()?;
        *request.headers_mut() = headers.clone();
        let agent = concat!("sagactl/", env!("CARGO_PKG_VERSION"));
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(credentials) = credentials(url) {
            headers.insert(AUTHORIZATION, credentials);
        }
        Ok(self.0.request(request).await?)
    }
}

/// The header for the name and the password in `url`, if there are any.
fn credentials(url: &Url) -> Option<HeaderValue> {
    let (name, password) = (url.username(), url.password().unwrap_or_default());
    if name.is_empty() && password.is_empty() {
        return None;
    }
    let name = percent_decode_str(name).collect::<Vec<_>>();
    let password = percent_decode_str(password).collect();
    let encoded = BASE64_STANDARD.encode([name, password].join(&b':'));
    let mut header = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// The next part of the body, when it comes; none at its end.
///
/// # Errors
/// The connection broke.
pub(crate) async fn next(answer: &mut Answer) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = answer.body_mut().frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_password_become_a_header() {
        let of = |url: &str| credentials(&url.parse().unwrap());
        assert_eq!(of("http://localhost:3001"), None);
        // As RFC 7617 has it.
        assert_eq!(
            of("https://Aladdin:open%20sesame@localhost").unwrap(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert_eq!(of("https://ada@localhost").unwrap(), "Basic YWRhOg==");
    }
}
