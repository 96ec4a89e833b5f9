//! Services for one test, and the program that is tested.

use std::{net::SocketAddr, process::Stdio};

use order_service::app::{App, Config, PRODUCT};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use test_support::{Environment, PATIENCE, eventually, wait_until};
use tokio::{process::Command, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// The order service, and the participants where the test wants them.
pub(crate) struct System {
    // Dropped first: the environment must not go while services use it.
    running: JoinSet<anyhow::Result<()>>,
    pub(crate) environment: Environment,
    pub(crate) url: String,
    inventory: Option<String>,
    stop: CancellationToken,
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl System {
    /// Only the order service: nobody answers its commands.
    pub(crate) async fn alone() -> Self {
        let environment = Environment::new().await;
        let config = Config::from_vars(&environment.vars(&[])).unwrap();
        let app = App::build(&config, PRODUCT).await.unwrap();
        let url = url(app.address().unwrap());
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(app.run(stop.clone()));
        until_ready(&url).await;
        Self {
            environment,
            running,
            url,
            inventory: None,
            stop,
        }
    }

    /// All services, with ten of `prod-1` in stock.
    pub(crate) async fn whole() -> Self {
        let mut system = Self::alone().await;
        let vars = system.environment.vars(&[]);
        let payment = payment_service::app::Config::from_vars(&vars).unwrap();
        let payment = payment_service::app::App::build(&payment).await.unwrap();
        let inventory = inventory_service::app::Config::from_vars(&vars).unwrap();
        let inventory = inventory_service::app::App::build(&inventory)
            .await
            .unwrap();
        let at = url(inventory.address().unwrap());
        let urls = [url(payment.address().unwrap()), at.clone()];
        system.running.spawn(payment.run(system.stop.clone()));
        system.running.spawn(inventory.run(system.stop.clone()));
        for url in urls {
            until_ready(&url).await;
        }
        system.inventory = Some(at);
        system.stock("prod-1", 10).await;
        system
    }

    async fn stock(&self, product: &str, quantity: u32) {
        let inventory = self.inventory.as_ref().unwrap();
        let item = json!({ "productId": product, "quantity": quantity });
        let request = Client::new()
            .post(format!("{inventory}/inventory"))
            .json(&item);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::CREATED);
    }

    /// Places an order of `quantity` of `product`, and returns the id of its saga.
    pub(crate) async fn place(&self, product: &str, quantity: u32) -> String {
        let order = json!({
            "customerId": "customer-1",
            "items": [{ "productId": product, "quantity": quantity, "unitPrice": 19.99 }],
            "paymentMethod": "pm_card_visa"
        });
        let request = Client::new()
            .post(format!("{}/orders", self.url))
            .json(&order);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        let order: Value = answer.json().await.unwrap();
        order["sagaId"].as_str().unwrap().to_owned()
    }

    /// The answer to a GET.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        answer.json().await.unwrap()
    }

    /// Asks for something, which must be done.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: &Value) {
        let request = Client::new().request(method, format!("{}{path}", self.url));
        let answer = request.json(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// The saga, as soon as it has `status`.
    pub(crate) async fn until(&self, saga: &str, status: &str) -> Value {
        let path = format!("/sagas/{saga}");
        let is = |saga: &Value| saga["status"] == status;
        eventually(&format!("the saga is {status}"), || self.get(&path), is).await
    }

    /// Runs the program against this system.
    pub(crate) async fn sagactl(&self, arguments: &[&str]) -> Ended {
        sagactl(&self.url, arguments).await
    }

    /// Runs the program, which must succeed.
    pub(crate) async fn done(&self, arguments: &[&str]) -> String {
        let ended = self.sagactl(arguments).await;
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    }

    /// The JSON that the program answers with, which must succeed.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let out = self.done(&[&["-o", "json"], arguments].concat()).await;
        serde_json::from_str(&out).unwrap()
    }

    /// Stops all services, which must end well.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap().unwrap();
        }
    }
}

/// The program with nothing of this process's environment, against the order service at `url`.
pub(crate) fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sagactl"));
    command
        .env_clear()
        .env("SAGACTL_URL", url)
        .env("SAGACTL_ACTOR", "ada");
    command.args(arguments).kill_on_drop(true);
    command
}

/// Runs the program, where nobody can be asked.
pub(crate) async fn sagactl(url: &str, arguments: &[&str]) -> Ended {
    ended(command(url, arguments)).await
}

pub(crate) async fn ended(mut command: Command) -> Ended {
    let output = command.stdin(Stdio::null()).output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .unwrap()
        .unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

async fn until_ready(url: &str) {
    let url = format!("{url}/health/ready");
    wait_until(PATIENCE, "the service is ready", || async {
        let answer = reqwest::get(&url).await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
    })
    .await;
}
