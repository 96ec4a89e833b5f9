//! Stock: the products and what orders hold of them, in one statement and therefore of one moment.
//!
//! What was put into the warehouse is not recorded, so only what is reserved can be checked.

use anyhow::Result;
use sqlx::{PgPool, Row as _};

use super::report::{Report, Rule, Subject, Violation};

/// Adds each product whose reserved quantity is not what orders hold of it, or more than there is.
pub(super) async fn check(db: &PgPool, report: &mut Report) -> Result<()> {
    let rows = sqlx::query(
        "WITH held AS (
             SELECT item ->> 'productId' AS product_id, sum((item ->> 'quantity')::bigint)::bigint AS held
             FROM reservations, json_array_elements(items) AS item
             WHERE status = 'RESERVED' GROUP BY 1)
         SELECT product_id, quantity, reserved_quantity, COALESCE(held, 0) AS held, count(*) OVER () AS products
         FROM inventory_items FULL JOIN held USING (product_id)
         ORDER BY reserved_quantity IS NOT DISTINCT FROM COALESCE(held, 0)
                  AND reserved_quantity BETWEEN 0 AND quantity, product_id
         LIMIT 1000",
    )
    .fetch_all(db)
    .await?;
    let products: i64 = rows.first().map_or(Ok(0), |row| row.try_get("products"))?;
    report.add(Rule::Stock, usize::try_from(products)?);
    for row in rows {
        let held: i64 = row.try_get("held")?;
        let quantity: Option<i64> = row.try_get("quantity")?;
        let reserved: Option<i64> = row.try_get("reserved_quantity")?;
        let detail = match quantity.zip(reserved) {
            None => format!("there is no such product, but orders hold {held} of it"),
            Some((_, reserved)) if reserved != held => {
                format!("{reserved} are reserved, but orders hold {held}")
            }
            Some((quantity, reserved)) if reserved < 0 || reserved > quantity => {
                format!("{reserved} are reserved of {quantity}")
            }
            Some(_) => continue,
        };
        report.violations.push(Violation {
            subject: Subject::ProductId(row.try_get("product_id")?),
            rule: Rule::Stock,
            detail,
        });
    }
    Ok(())
}
