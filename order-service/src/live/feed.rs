//! The one reader of a process: it looks while somebody looks on.

use std::time::Duration;

use common::{db, watchdog::Turns};
use sqlx::PgPool;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::{look::Looker, news::News};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Tells `news` until `stop`.
pub(super) async fn run(db: PgPool, news: broadcast::Sender<News>, stop: CancellationToken) {
    let mut looker = Looker::new(db.clone(), None);
    let mut turns = Turns::new(LOOK_EVERY, stop);
    while turns.next().await {
        if news.receiver_count() == 0 {
            looker = Looker::new(db.clone(), None);
            continue;
        }
        // Where the database does not tell, the next look begins where this one did.
        for one in db::in_time(looker.look()).await.unwrap_or_default() {
            // Nobody may be left to hear it.
            let _ = news.send(one);
        }
    }
}
