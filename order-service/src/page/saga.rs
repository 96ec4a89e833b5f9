//! One saga: why it waits, its way, what happened when, and what can be done.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use chrono::{DateTime, TimeDelta, Utc};
use common::contract::clock;
use tokio::join;

use super::{
    backend::segment,
    fault::{Fault, show as page},
    state::Page,
    verb::Verb,
    view::{Details, Entry, Explained},
    when::lasting,
};

/// A log entry, and the time that passed before it.
struct Moment {
    entry: Entry,
    gap: Gap,
}

/// A time in which nothing was written.
#[derive(Clone, Debug, PartialEq)]
struct Gap {
    /// How long it was, in words.
    words: String,
    /// Where it begins and how long it is, of all the time of the saga, which is 1000 wide.
    from: f64,
    width: f64,
}

#[derive(Template)]
#[template(path = "saga.html")]
struct SagaPage {
    nav: &'static str,
    live: Option<String>,
    details: Details,
    explanation: String,
    moments: Vec<Moment>,
    /// The time since the last entry of a saga that has not ended.
    still: Option<Gap>,
    verbs: Vec<&'static Verb>,
    links: Vec<(String, String)>,
}

/// The gaps between times, which are in order, to scale.
fn gaps(times: &[DateTime<Utc>]) -> Vec<Gap> {
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return vec![];
    };
    let micros = |span: TimeDelta| span.num_microseconds().unwrap_or(i64::MAX) as f64;
    let all = micros(*last - *first).max(1.0);
    let at = |time: &DateTime<Utc>| micros(*time - *first) * 1000.0 / all;
    let before = std::iter::once(first).chain(times);
    let gap = |(before, time): (&DateTime<Utc>, &DateTime<Utc>)| Gap {
        words: lasting(*time - *before),
        from: at(before),
        // A moment is seen, too.
        width: (at(time) - at(before)).max(3.0),
    };
    before.zip(times).map(gap).collect()
}

/// The log with its gaps, and the time until now, where the saga has not ended.
fn moments(details: &Details) -> (Vec<Moment>, Option<Gap>) {
    let mut times: Vec<_> = details.log.iter().map(|entry| entry.at.0).collect();
    let has_ended = matches!(details.saga.status.as_str(), "COMPLETED" | "COMPENSATED");
    if !has_ended && !times.is_empty() {
        times.push(clock::now());
    }
    let mut gaps = gaps(&times).into_iter();
    let entries = details.log.iter().cloned();
    // The log is asked first, so that the time until now is left.
    let moments = entries
        .zip(&mut gaps)
        .map(|(entry, gap)| Moment { entry, gap });
    let moments = moments.collect();
    (moments, gaps.next())
}

pub(super) async fn show(
    State(Page { backend, links, .. }): State<Page>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let id = segment(&id);
    let (path, why) = (format!("/sagas/{id}"), format!("/sagas/{id}/explain"));
    let (details, explained) = join!(
        backend.get::<Details>(&path),
        backend.get::<Explained>(&why)
    );
    let details = details?;
    let saga = &details.saga;
    let mut values = vec![
        ("sagaId", saga.saga_id.as_str()),
        ("correlationId", saga.correlation_id.as_str()),
    ];
    values.extend(saga.order_id.as_deref().map(|order| ("orderId", order)));
    values.extend(saga.trace_id.as_deref().map(|trace| ("traceId", trace)));
    let (moments, still) = moments(&details);
    Ok(page(&SagaPage {
        nav: "sagas",
        live: Some(format!("/sagas/{id}/events")),
        moments,
        still,
        verbs: Verb::among(&details.verbs),
        links: links.filled(&values),
        explanation: explained?.explanation,
        details,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_shown_to_scale() {
        let times = [0, 250, 1000].map(|ms| DateTime::UNIX_EPOCH + TimeDelta::milliseconds(ms));
        let gaps = gaps(&times);
        let drawn: Vec<_> = gaps.iter().map(|one| (one.from, one.width)).collect();
        assert_eq!(drawn, [(0.0, 3.0), (0.0, 250.0), (250.0, 750.0)]);
        assert_eq!(gaps[2].words, "750 ms");
        assert!(super::gaps(&[]).is_empty());
    }
}
