//! The catalogue: products and how many there are, as people change them over HTTP.
//!
//! Each change is one transaction with the events that tell of it, and of the request that it comes from. Reads go through [`crate::entity`].

use common::{
    amqp::Message,
    contract::{
        Money, Origin,
        inventory::{InventoryUpdated, StockLevel},
    },
    db::{self, Writes},
    outbox::Outbox,
};
use sqlx::{PgPool, Postgres, Row, Transaction, postgres::PgRow};

use crate::{
    entity::inventory_item::Model,
    stock::{self, event},
};

/// The columns that make a [`Model`]. Named one by one: a later release may add others under a running service.
macro_rules! columns {
    () => {
        "product_id, product_name, description, price_minor, quantity, reserved_quantity, low_stock_threshold, version, \
         created_at, updated_at"
    };
}

/// Products and how many there are.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    db: PgPool,
    outbox: Outbox,
}

/// What is said about a product. What is absent is left as it is, and what is nothing is removed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    /// How many are in the warehouse.
    pub(crate) quantity: Option<i64>,
    /// What one costs.
    pub(crate) price: Option<Option<Money>>,
    /// What it is called.
    pub(crate) product_name: Option<Option<String>>,
    /// What it is.
    pub(crate) description: Option<Option<String>>,
}

impl Details {
    /// Whether nothing is said.
    pub(crate) fn is_empty(&self) -> bool {
        self.quantity.is_none()
            && self.price.is_none()
            && self.product_name.is_none()
            && self.description.is_none()
    }
}

/// Why a change was refused, or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is such a product already.
    #[error("product {0:?} exists already")]
    Exists(String),
    /// There is no such product.
    #[error("there is no product {0:?}")]
    Unknown(String),
    /// Orders hold more than the warehouse is said to have.
    #[error("orders hold {reserved} of product {product_id:?}: there cannot be fewer")]
    Held {
        /// The product.
        product_id: String,
        /// How many orders hold.
        reserved: i64,
    },
    /// The database failed.
    #[error("the database")]
    Database(#[from] sqlx::Error),
}

impl Catalogue {
    pub(crate) fn new(db: PgPool, outbox: Outbox) -> Self {
        Self { db, outbox }
    }

    /// Adds a product. If there was one before, its sequence goes on.
    ///
    /// # Errors
    /// [`Error::Exists`], or the database failed.
    pub(crate) async fn add(
        &self,
        product_id: String,
        details: Details,
        origin: &Origin,
    ) -> Result<Model, Error> {
        let mut tx = db::begin(&self.db).await?;
        let row = sqlx::query(concat!(
            "WITH before AS (DELETE FROM removed_items WHERE product_id = $1 RETURNING version)
             INSERT INTO inventory_items (product_id, quantity, price_minor, product_name, description, version)
             VALUES ($1, $2, $3, $4, $5, COALESCE((SELECT version FROM before), 0) + 1)
             RETURNING ",
            columns!(),
        ))
        .bind(&product_id)
        .bind(details.quantity.unwrap_or_default())
        .bind(details.price.flatten().map(Money::minor))
        .bind(details.product_name.flatten())
        .bind(details.description.flatten())
        .fetch_one(&mut *tx)
        .await;
        let row = row.map_err(|error| {
            if db::violates(&error, "inventory_items_pkey") {
                Error::Exists(product_id)
            } else {
                error.into()
            }
        })?;
        let added = read(&row)?;
        let event = updated(&added.product_id, added.quantity, added.version, origin);
        self.commit(tx, vec![event]).await?;
        Ok(added)
    }

    /// Changes what is said about a product.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Held`], or the database failed.
    pub(crate) async fn change(
        &self,
        product_id: &str,
        details: Details,
        origin: &Origin,
    ) -> Result<Model, Error> {
        let mut tx = db::begin(&self.db).await?;
        let mut stock = stock::lock(&mut tx, &[product_id]).await?;
        let there = stock.get(product_id).ok_or_else(|| unknown(product_id))?;
        if details.quantity.is_some_and(|n| n < there.reserved) {
            return Err(Error::Held {
                product_id: product_id.to_owned(),
                reserved: there.reserved,
            });
        }
        stock.update(product_id, details.quantity);
        let mut writes = Writes::default();
        let changes = stock.changes().into_iter();
        let changes = changes.map(|change| change.told(|event| origin.apply(event)));
        let events = stock::write(&mut writes, changes.collect());
        writes.execute(&mut *tx).await?;
        let row = sqlx::query(concat!(
            "UPDATE inventory_items
             SET price_minor = CASE WHEN $2 THEN $3 ELSE price_minor END,
                 product_name = CASE WHEN $4 THEN $5 ELSE product_name END,
                 description = CASE WHEN $6 THEN $7 ELSE description END
             WHERE product_id = $1
             RETURNING ",
            columns!(),
        ))
        .bind(product_id)
        .bind(details.price.is_some())
        .bind(details.price.flatten().map(Money::minor))
        .bind(details.product_name.is_some())
        .bind(details.product_name.flatten())
        .bind(details.description.is_some())
        .bind(details.description.flatten())
        .fetch_one(&mut *tx)
        .await?;
        let changed = read(&row)?;
        self.commit(tx, events).await?;
        Ok(changed)
    }

    /// Removes a product that no order holds. The last that is heard of it is that there are none.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Held`], or the database failed.
    pub(crate) async fn remove(&self, product_id: &str, origin: &Origin) -> Result<(), Error> {
        let mut tx = db::begin(&self.db).await?;
        let stock = stock::lock(&mut tx, &[product_id]).await?;
        let there = stock.get(product_id).ok_or_else(|| unknown(product_id))?;
        if there.reserved > 0 {
            return Err(Error::Held {
                product_id: product_id.to_owned(),
                reserved: there.reserved,
            });
        }
        let last = there.version + 1;
        sqlx::query(
            "WITH gone AS (DELETE FROM inventory_items WHERE product_id = $1)
             INSERT INTO removed_items (product_id, version) VALUES ($1, $2)
             ON CONFLICT (product_id) DO UPDATE SET version = excluded.version, removed_at = now()",
        )
        .bind(product_id)
        .bind(last)
        .execute(&mut *tx)
        .await?;
        let event = updated(product_id, 0, last, origin);
        self.commit(tx, vec![event]).await?;
        Ok(())
    }

    async fn commit(
        &self,
        mut tx: Transaction<'_, Postgres>,
        events: Vec<Message>,
    ) -> sqlx::Result<()> {
        let mut writes = Writes::default();
        let enqueued = self.outbox.enqueue(&mut writes, events);
        writes.execute(&mut *tx).await?;
        tx.commit().await?;
        self.outbox.hand_over(enqueued).await;
        Ok(())
    }
}

/// What is told of a product that no order holds.
fn updated(product_id: &str, quantity: i64, sequence: i32, origin: &Origin) -> Message {
    let quantity = quantity.unsigned_abs();
    let level = StockLevel {
        product_id: product_id.to_owned(),
        quantity,
        reserved_quantity: 0,
        available_quantity: quantity,
    };
    Message::event(origin.apply(event(level, InventoryUpdated, sequence)))
}

fn unknown(product_id: &str) -> Error {
    Error::Unknown(product_id.to_owned())
}

fn read(row: &PgRow) -> sqlx::Result<Model> {
    Ok(Model {
        product_id: row.try_get("product_id")?,
        product_name: row.try_get("product_name")?,
        description: row.try_get("description")?,
        price_minor: row.try_get("price_minor")?,
        quantity: row.try_get("quantity")?,
        reserved_quantity: row.try_get("reserved_quantity")?,
        low_stock_threshold: row.try_get("low_stock_threshold")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
