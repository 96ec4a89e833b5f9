//! What customers do with an order that is completed: it is shipped and delivered, and they send it back.
//!
//! While a saga of an order is open, it keeps others away with a 409: that is asked for again, but not for ever, because
//! a saga that is parked waits for the operator, who comes after the faults.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Load, Request};

/// How long a customer asks for what is refused because something else is under way, and how often.
const INSISTS: Duration = Duration::from_secs(45);
const AGAIN: Duration = Duration::from_millis(300);
/// How long an order is on its way, in milliseconds. For some it is shorter than their shipping saga takes.
const ON_ITS_WAY_MS: std::ops::Range<u64> = 0..1500;

/// How an order is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// In one parcel.
    Whole,
    /// A parcel of one piece.
    OnePiece,
    /// One product after the other.
    InTurn,
    /// Each piece in a parcel of its own, all at once.
    Pieces,
    /// Everything twice at once: one of them must be refused.
    Twice,
    /// One piece more than was bought.
    TooMany,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Whole,
        Self::OnePiece,
        Self::InTurn,
        Self::Pieces,
        Self::Twice,
        Self::TooMany,
    ];

    /// The parcels: the items of each.
    fn parcels(self, order: &Value) -> Vec<Value> {
        let lines = order["items"].as_array().map_or(&[][..], Vec::as_slice);
        let quantity = |line: &Value| line["quantity"].as_u64().unwrap_or_default();
        let of = |line: &Value, n: u64| json!({ "productId": line["productId"], "quantity": n });
        let whole = || lines.iter().map(|line| of(line, quantity(line))).collect();
        match self {
            Self::Whole => vec![whole()],
            Self::OnePiece => lines
                .iter()
                .take(1)
                .map(|line| json!([of(line, 1)]))
                .collect(),
            Self::InTurn => lines
                .iter()
                .map(|line| json!([of(line, quantity(line))]))
                .collect(),
            Self::Pieces => {
                let pieces = lines
                    .iter()
                    .flat_map(|line| (0..quantity(line)).map(move |_| json!([of(line, 1)])));
                pieces.collect()
            }
            Self::Twice => vec![whole(), whole()],
            Self::TooMany => {
                let more = lines.iter().map(|line| of(line, quantity(line) + 1));
                vec![more.collect()]
            }
        }
    }

    /// What the parcels may be answered, once nothing else is under way.
    fn may_be(self, answers: &[StatusCode]) -> bool {
        let count = |status| answers.iter().filter(|answer| **answer == status).count();
        let accepted = count(StatusCode::CREATED);
        // The second is refused as too many, or because all of it has come back.
        let refused = count(StatusCode::UNPROCESSABLE_ENTITY) + count(StatusCode::CONFLICT);
        match self {
            Self::Twice => accepted <= 1 && accepted + refused == answers.len(),
            Self::TooMany => answers == [StatusCode::UNPROCESSABLE_ENTITY],
            _ => accepted + count(StatusCode::CONFLICT) == answers.len(),
        }
    }
}

impl Load {
    /// Whether the order was shipped: it is not where it was cancelled, or is PENDING for long.
    pub(super) async fn ship(&self, n: u64, id: Uuid) -> Result<bool> {
        let path = format!("/orders/{id}/status");
        let request = Request {
            method: Method::PATCH,
            path: &path,
            key: None,
            body: Some(&json!({ "status": "SHIPPED" })),
            hang_up: None,
        };
        let status = self.insist(n, id, &request, "PENDING").await?;
        ensure!(
            [StatusCode::OK, StatusCode::CONFLICT].contains(&status),
            "shipping order {id} was answered {status}"
        );
        let is_shipped = status == StatusCode::OK;
        if is_shipped {
            self.seen.shipped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(is_shipped)
    }

    /// Has the order shipped and delivered, and sends it back.
    pub(super) async fn send_back(
        &self,
        n: u64,
        id: Uuid,
        order: &Value,
        random: &mut StdRng,
    ) -> Result<()> {
        let way = *Way::ALL.choose(random).expect("there are some");
        let on_its_way = Duration::from_millis(random.random_range(ON_ITS_WAY_MS));
        if !self.ship(n, id).await? {
            return Ok(());
        }
        sleep(on_its_way).await;
        let path = format!("/orders/{id}/status");
        let body = json!({ "status": "DELIVERED" });
        let status = self.change(n, Method::PATCH, &path, &body).await?;
        ensure!(
            status == StatusCode::OK,
            "delivering order {id} was answered {status}"
        );
        self.seen.delivered.fetch_add(1, Ordering::Relaxed);

        let parcels = way.parcels(order);
        let sent = parcels
            .iter()
            .enumerate()
            .map(|(parcel, items)| self.send_parcel(n, id, parcel, items));
        let answers = if way == Way::InTurn {
            let mut answers = Vec::new();
            for sent in sent {
                answers.push(sent.await?);
            }
            answers
        } else {
            try_join_all(sent).await?
        };
        ensure!(
            way.may_be(&answers),
            "sending order {id} back ({way:?}) was answered {answers:?}"
        );
        Ok(())
    }

    async fn send_parcel(
        &self,
        n: u64,
        id: Uuid,
        parcel: usize,
        items: &Value,
    ) -> Result<StatusCode> {
        let path = format!("/orders/{id}/returns");
        let request = Request {
            method: Method::POST,
            path: &path,
            key: Some(format!("torture-{n}-{parcel}")),
            body: Some(&json!({ "items": items, "reason": "torture" })),
            hang_up: None,
        };
        let status = self.insist(n, id, &request, "DELIVERED").await?;
        let seen = match status {
            StatusCode::CREATED => &self.seen.returns,
            StatusCode::UNPROCESSABLE_ENTITY => &self.seen.too_many,
            _ => return Ok(status),
        };
        seen.fetch_add(1, Ordering::Relaxed);
        Ok(status)
    }

    /// Asks until nothing else is in the way: while the answer is 409 and the order is `meanwhile`.
    async fn insist(
        &self,
        n: u64,
        id: Uuid,
        request: &Request<'_>,
        meanwhile: &str,
    ) -> Result<StatusCode> {
        let began = Instant::now();
        loop {
            let status = self.ask(n, request).await?.status();
            if status != StatusCode::CONFLICT || self.status(n, id).await? != meanwhile {
                return Ok(status);
            }
            if began.elapsed() > INSISTS {
                self.seen.given_up.fetch_add(1, Ordering::Relaxed);
                return Ok(status);
            }
            sleep(AGAIN).await;
        }
    }

    async fn status(&self, n: u64, id: Uuid) -> Result<String> {
        let path = format!("/orders/{id}");
        let request = Request {
            method: Method::GET,
            path: &path,
            key: None,
            body: None,
            hang_up: None,
        };
        loop {
            // Whoever answers may be killed in the middle of it.
            if let Ok(order) = self.ask(n, &request).await?.json::<Value>().await {
                return Ok(order["status"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: StatusCode = StatusCode::CREATED;
    const TOO_MANY: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    const NOT_NOW: StatusCode = StatusCode::CONFLICT;

    fn pieces(parcels: &[Value]) -> u64 {
        let items = parcels.iter().flat_map(|items| items.as_array().unwrap());
        items.map(|item| item["quantity"].as_u64().unwrap()).sum()
    }

    #[test]
    fn an_order_comes_back_as_a_whole_whatever_it_is_cut_into() {
        let order = json!({"items": [{"productId": "a", "quantity": 3, "unitPrice": 9.99},
                                     {"productId": "b", "quantity": 1, "unitPrice": 9.99}]});
        for (way, parcels, all) in [
            (Way::Whole, 1, 4),
            (Way::OnePiece, 1, 1),
            (Way::InTurn, 2, 4),
            (Way::Pieces, 4, 4),
            (Way::Twice, 2, 8),
            (Way::TooMany, 1, 6),
        ] {
            let cut = way.parcels(&order);
            assert_eq!(
                (cut.len(), pieces(&cut)),
                (parcels, all),
                "{way:?}: {cut:?}"
            );
        }
    }

    #[test]
    fn a_wrong_answer_is_noticed() {
        for (way, answers, is_right) in [
            (Way::Pieces, &[ACCEPTED, ACCEPTED][..], true),
            (Way::Pieces, &[ACCEPTED, NOT_NOW], true),
            (Way::Pieces, &[ACCEPTED, TOO_MANY], false),
            (Way::Whole, &[StatusCode::NOT_FOUND], false),
            (Way::Twice, &[ACCEPTED, TOO_MANY], true),
            (Way::Twice, &[NOT_NOW, ACCEPTED], true),
            (Way::Twice, &[ACCEPTED, ACCEPTED], false),
            (Way::TooMany, &[TOO_MANY], true),
            (Way::TooMany, &[ACCEPTED], false),
        ] {
            assert_eq!(way.may_be(answers), is_right, "{way:?}: {answers:?}");
        }
    }
}
