//! Chromium, which a test drives as a person would.

use std::{env::temp_dir, fs, path::PathBuf, process::Stdio, time::Duration};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use test_support::PATIENCE;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use uuid::Uuid;

/// A browser with one window.
pub(crate) struct Browser {
    client: Client,
    driver: Driver,
    /// The service that it looks at.
    base: String,
}

/// What drives the browser. Both end with it.
struct Driver {
    process: Child,
    address: String,
    /// Where the browser keeps what it keeps.
    directory: PathBuf,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Driver {
    async fn start() -> Self {
        let missing = "chromedriver is missing: run `apt-get install chromium-driver` as root";
        let directory = temp_dir().join(format!("order-saga-{}", Uuid::now_v7()));
        fs::create_dir(&directory).unwrap();
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", &directory)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect(missing);
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next_line().await.unwrap().expect("it says its port");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        let address = format!("http://127.0.0.1:{port}");
        Self {
            process,
            address,
            directory,
        }
    }
}

impl Browser {
    /// Opens a browser that looks at the service at `base`.
    pub(crate) async fn open(base: &str) -> Self {
        let driver = Driver::start().await;
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--window-size=1280,1000",
        ];
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" }
        });
        let Value::Object(capabilities) = capabilities else {
            unreachable!()
        };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&driver.address)
            .await
            .unwrap();
        Self {
            client,
            driver,
            base: format!("http://{base}"),
        }
    }

    pub(crate) async fn go(&self, path: &str) {
        let address = format!("{}{path}", self.base);
        self.client.goto(&address).await.unwrap();
    }

    /// Where it is.
    pub(crate) async fn path(&self) -> String {
        self.client.current_url().await.unwrap().path().to_owned()
    }

    /// What is on the page, as soon as it has all these words.
    pub(crate) async fn until(&self, words: &[&str]) -> String {
        let read = || async {
            // While a page is being loaded, there may be none.
            let main = self.client.find(Locator::Css("main")).await.ok()?;
            main.text().await.ok()
        };
        let has_all = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            words.iter().all(|word| text.contains(word))
        };
        let said = format!("the page says {words:?}");
        test_support::eventually(&said, read, has_all)
            .await
            .unwrap()
    }

    async fn element(&self, search: Locator<'_>) -> Element {
        let found = self.client.wait().at_most(PATIENCE);
        let found = found.every(Duration::from_millis(50)).for_element(search);
        found.await.unwrap()
    }

    /// Clicks what has this text: a link or a button.
    pub(crate) async fn click(&self, text: &str) {
        let link = format!("//main//*[(self::a or self::button) and normalize-space()='{text}']");
        self.element(Locator::XPath(&link))
            .await
            .click()
            .await
            .unwrap();
    }

    /// Types into the field with this label.
    pub(crate) async fn fill(&self, label: &str, text: &str) {
        let field = format!("//*[@id=//label[normalize-space()='{label}']/@for]");
        let field = self.element(Locator::XPath(&field)).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Chooses what has this label.
    pub(crate) async fn choose(&self, label: &str) {
        let label = format!("//main//label[normalize-space()='{label}']");
        self.element(Locator::XPath(&label))
            .await
            .click()
            .await
            .unwrap();
    }

    /// What a script on the page returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap()
    }

    /// Ends it, and asserts that it had nothing to complain of: no script failed, and nothing was refused.
    pub(crate) async fn close(self) {
        let session = self.client.session_id().await.unwrap().unwrap();
        let log = format!("{}/session/{session}/se/log", self.driver.address);
        let request = reqwest::Client::new()
            .post(log)
            .json(&json!({ "type": "browser" }));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let log: Value = answer.json().await.unwrap();
        assert_eq!(log["value"], json!([]));
        self.client.close().await.unwrap();
    }
}
