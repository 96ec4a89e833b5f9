//! Configuration from the environment, parsed once into types.
//!
//! Each service has a `Config` that asks [`Vars`] for what it needs; a wrong value stops the start with a message
//! that names the variable. `.env.example` documents every variable.

use std::{collections::HashMap, fmt, fs, net::SocketAddr, str::FromStr, time::Duration};

use url::Url;

/// A variable with a value that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?}: expected {expected}")]
pub struct Error {
    name: String,
    value: String,
    expected: String,
}

impl Error {
    /// `name` is `value` but should be `expected`.
    #[must_use]
    pub fn new(name: &str, value: &str, expected: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        }
    }
}

/// The variables of a process, or of a test.
#[derive(Clone, Debug, Default)]
pub struct Vars(HashMap<String, String>);

impl Vars {
    /// The environment of this process.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    pub fn from_process() -> Self {
        Self(std::env::vars().collect())
    }

    /// The value of `name`; an empty value counts as none.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// The value of `name`, which must not be known to others, or else what is in the file that the variable `name`_FILE
    /// names, such as a secret of Docker or Kubernetes. A line break at its end does not count.
    ///
    /// # Errors
    /// Both variables are set, or there is nothing in that file.
    pub fn secret(&self, name: &str) -> Result<Option<String>, Error> {
        let value = self.optional(name);
        let file_variable = format!("{name}_FILE");
        let Some(file) = self.optional(&file_variable) else {
            return Ok(value);
        };
        let wrong = |expected: &str| Error::new(&file_variable, &file, expected);
        if value.is_some() {
            return Err(wrong(&format!("either this variable or {name}, not both")));
        }
        let content = fs::read_to_string(&file)
            .map_err(|error| wrong(&format!("a file that can be read, but: {error}")))?;
        match content.trim_end_matches(['\r', '\n']) {
            "" => Err(wrong(&format!(
                "a file with the value of {name}, but it is empty"
            ))),
            secret => Ok(Some(secret.to_owned())),
        }
    }

    /// The value of `name`, or `default`.
    ///
    /// # Errors
    /// The value is not `expected`.
    pub fn parse<T: FromStr>(&self, name: &str, default: T, expected: &str) -> Result<T, Error> {
        match self.optional(name) {
            Some(value) => value
                .parse()
                .map_err(|_| Error::new(name, &value, expected)),
            None => Ok(default),
        }
    }

    /// The value of `name`, or `default`, where `is_valid` accepts only some values.
    ///
    /// # Errors
    /// The value is not `expected`, or `is_valid` says no.
    pub fn parse_if<T: FromStr + Copy>(
        &self,
        name: &str,
        default: T,
        expected: &str,
        is_valid: impl Fn(T) -> bool,
    ) -> Result<T, Error> {
        let value = self.parse(name, default, expected)?;
        if is_valid(value) {
            Ok(value)
        } else {
            Err(Error::new(
                name,
                &self.optional(name).unwrap_or_default(),
                expected,
            ))
        }
    }

    /// Where to listen for HTTP.
    ///
    /// # Errors
    /// The value is no address.
    pub fn http_addr(&self, name: &str, default_port: u16) -> Result<SocketAddr, Error> {
        let default = SocketAddr::from(([0, 0, 0, 0], default_port));
        self.parse(name, default, "an address such as 0.0.0.0:3001")
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Vars {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        Self(
            vars.into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
    }
}

/// A value that must not appear in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A service's PostgreSQL database.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// Where it is: `postgres://user:password@host:5432/order_db`.
    pub url: Secret,
    /// Connections that this process opens at most.
    pub max_connections: u32,
}

impl DatabaseConfig {
    /// Reads `url_variable`, with a default for `database` on this machine.
    ///
    /// # Errors
    /// A value cannot be used.
    pub fn from_vars(vars: &Vars, url_variable: &str, database: &str) -> Result<Self, Error> {
        let url = postgres_url(vars, url_variable, || {
            format!("postgres://postgres:postgres@localhost:5432/{database}")
        })?;
        let is_enough = |n| n >= 4;
        let max_connections = vars.parse_if(
            "DATABASE_MAX_CONNECTIONS",
            16,
            "a number of connections, at least 4",
            is_enough,
        )?;
        Ok(Self {
            url,
            max_connections,
        })
    }
}

/// The URL of a PostgreSQL database: the value of `variable`, or `default`.
///
/// # Errors
/// The value is no such URL; the error does not show it, for there may be a password in it.
pub fn postgres_url(
    vars: &Vars,
    variable: &str,
    default: impl FnOnce() -> String,
) -> Result<Secret, Error> {
    let url = vars.secret(variable)?.unwrap_or_else(default);
    let is_postgres = Url::parse(&url).is_ok_and(|parsed| {
        // Several hosts would be taken for the name of one.
        let one_host = !parsed.host_str().unwrap_or_default().contains(',');
        let scheme = parsed.scheme();
        matches!(scheme, "postgres" | "postgresql") && parsed.path().len() > 1 && one_host
    });
    if is_postgres {
        Ok(Secret::new(url))
    } else {
        let expected = "postgres://user:password@host:5432/database";
        Err(Error::new(variable, "[redacted]", expected))
    }
}

/// RabbitMQ, and how messages are put on it.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// AMQP URLs of the nodes; one is used at a time.
    pub nodes: Vec<Secret>,
    /// Events in one AMQP message at most; 1 turns batching off.
    pub message_batch_max: usize,
    /// Commands that may wait in a participant's queue; the outbox keeps the others.
    pub commands_waiting_max: u32,
}

impl BrokerConfig {
    /// Reads `RABBITMQ_URL`, `MESSAGE_BATCH_MAX` and `COMMANDS_WAITING_MAX`.
    ///
    /// # Errors
    /// A value cannot be used.
    pub fn from_vars(vars: &Vars) -> Result<Self, Error> {
        let urls = vars
            .secret("RABBITMQ_URL")?
            .unwrap_or_else(|| "amqp://guest:guest@localhost:5672/%2f".to_owned());
        let nodes = urls
            .split(',')
            .map(|url| amqp_url(url.trim()))
            .collect::<Result<_, _>>()?;
        let message_batch_max =
            vars.parse_if("MESSAGE_BATCH_MAX", 64, "a number from 1 to 256", |n| {
                (1..=256).contains(&n)
            })?;
        let commands_waiting_max = vars.parse_if(
            "COMMANDS_WAITING_MAX",
            2000,
            "a number of commands, at least 1",
            |n| n > 0,
        )?;
        Ok(Self {
            nodes,
            message_batch_max,
            commands_waiting_max,
        })
    }
}

/// Adds what a URL leaves open. A node that hangs closes no connection: it is noticed when nothing has come for two heartbeats
/// and a half, and until then the sagas on its connections stand still.
fn amqp_url(text: &str) -> Result<Secret, Error> {
    let invalid = || {
        let expected = "amqp://user:password@host:5672/%2f, or several, with commas between them";
        Error::new("RABBITMQ_URL", "[redacted]", expected)
    };
    let mut url = Url::parse(text).map_err(|_| invalid())?;
    if !matches!(url.scheme(), "amqp" | "amqps") || url.host_str().is_none_or(str::is_empty) {
        return Err(invalid());
    }
    for (name, value) in [("heartbeat", "4"), ("connection_timeout", "5000")] {
        if !url.query_pairs().any(|(key, _)| key == name) {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    Ok(Secret::new(url))
}

/// A duration given as a number of milliseconds.
///
/// # Errors
/// The value is no number.
pub fn millis(vars: &Vars, name: &str, default: u64) -> Result<Duration, Error> {
    vars.parse(name, default, "a number of milliseconds")
        .map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_named() {
        let vars = Vars::from_iter([("MESSAGE_BATCH_MAX", "0")]);
        let error = BrokerConfig::from_vars(&vars).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"MESSAGE_BATCH_MAX="0": expected a number from 1 to 256"#
        );
    }

    #[test]
    fn several_nodes_are_separated_by_commas() {
        let vars = Vars::from_iter([("RABBITMQ_URL", "amqp://a:1/%2f, amqp://b:2/%2f")]);
        assert_eq!(BrokerConfig::from_vars(&vars).unwrap().nodes.len(), 2);
        for wrong in ["http://a", "amqp://", "amqp://a,,amqp://b", "nonsense"] {
            let vars = Vars::from_iter([("RABBITMQ_URL", wrong)]);
            assert!(BrokerConfig::from_vars(&vars).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_database_has_one_host() {
        let url = |url| {
            postgres_url(&Vars::default(), "X", || {
                format!("postgres://u:p,w@{url}/d")
            })
        };
        assert!(url("a:1").is_ok());
        for wrong in ["a,b", "a,b:1", "a:1,b:2"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    /// A file of this test's own with `content`, removed when it is dropped.
    struct File(std::path::PathBuf);

    impl File {
        fn with(content: &str) -> Self {
            let path = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
            fs::write(&path, content).unwrap();
            Self(path)
        }

        fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn urls_are_read_from_files() {
        let database = File::with("postgres://u:p@h/d\n");
        let broker = File::with("amqp://u:p@a,amqps://u:p@b\r\n");
        let vars = Vars::from_iter([
            ("ORDER_DATABASE_URL_FILE", database.path()),
            ("RABBITMQ_URL_FILE", broker.path()),
        ]);
        let config = DatabaseConfig::from_vars(&vars, "ORDER_DATABASE_URL", "order_db").unwrap();
        assert_eq!(config.url.expose(), "postgres://u:p@h/d");
        assert_eq!(BrokerConfig::from_vars(&vars).unwrap().nodes.len(), 2);
    }

    #[test]
    fn a_file_that_says_nothing_is_named() {
        let secret = |vars: &[(&str, &str)]| {
            let vars: Vars = vars.iter().copied().collect();
            vars.secret("X").map_err(|error| error.to_string())
        };
        let (full, empty) = (File::with("topsecret"), File::with("\n"));
        assert_eq!(secret(&[("X_FILE", "")]), Ok(None));
        assert_eq!(
            secret(&[("X", "other"), ("X_FILE", "")]),
            Ok(Some("other".to_owned()))
        );
        for (vars, reason) in [
            (
                [("X", "other"), ("X_FILE", full.path())],
                "either this variable or X, not both",
            ),
            ([("X", ""), ("X_FILE", empty.path())], "it is empty"),
            ([("X", ""), ("X_FILE", "/not/there")], "No such file"),
        ] {
            let error = secret(&vars).unwrap_err();
            assert!(error.starts_with("X_FILE="), "{error}");
            assert!(error.contains(reason), "{error}");
            assert!(
                !error.contains("other") && !error.contains("topsecret"),
                "{error}"
            );
        }
    }

    #[test]
    fn secrets_stay_out_of_logs() {
        let vars = Vars::from_iter([("ORDER_DATABASE_URL", "postgres://u:topsecret@h/d")]);
        let config = DatabaseConfig::from_vars(&vars, "ORDER_DATABASE_URL", "order_db").unwrap();
        assert!(!format!("{config:?}").contains("topsecret"));
    }
}
