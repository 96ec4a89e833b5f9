//! What was decided about one saga: ready to be followed, written and sent.

use common::{
    amqp::Message,
    contract::{Envelope, clock, saga::SagaParked},
};
use serde::de::DeserializeOwned;
use tracing::{debug, error, info};
use uuid::Uuid;

use crate::{
    saga::{Context, Saga},
    state::{State, What},
    table::{StepPlan, Table},
    transition::{Command, Deadline, Transition},
};

/// Longest text of what went wrong last, in characters. The log has the whole.
const LAST_ERROR_MAX: usize = 500;

/// What was decided about a saga.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The saga before the decision.
    pub saga: Saga,
    /// What follows.
    pub transition: Transition,
    /// The message that it follows from.
    pub(crate) causation_id: Option<Uuid>,
    /// The command that is sent with it.
    pub(crate) command_id: Option<Uuid>,
}

impl Decision {
    /// What all messages that follow from it have in common.
    #[must_use]
    pub fn context(&self) -> Context {
        self.saga.context(self.causation_id)
    }

    /// The saga's data, as its definition's type.
    ///
    /// # Errors
    /// It is not of this type.
    pub fn data<D: DeserializeOwned>(&self) -> serde_json::Result<D> {
        self.saga.data()
    }

    /// A decision with the message of the command that it sends, if any: from the program `source`, which is answered
    /// under the routing key `reply_to`.
    pub(crate) fn new(
        saga: Saga,
        transition: Transition,
        causation_id: Option<Uuid>,
        (source, reply_to): (&str, &str),
    ) -> serde_json::Result<(Self, Option<Message>)> {
        let (decision, command) =
            Self::with_command(saga, transition, causation_id, (source, reply_to))?;
        let command = command.map(|(step, command)| Message::command(step.participant, command));
        Ok((decision, command))
    }

    /// A decision with the command that it sends, if any, and the step whose participant gets it.
    pub(crate) fn with_command(
        saga: Saga,
        transition: Transition,
        causation_id: Option<Uuid>,
        (source, reply_to): (&str, &str),
    ) -> serde_json::Result<(Self, Option<(&'static StepPlan, Envelope)>)> {
        let command = transition.command.map(|command| {
            let envelope = envelope(&saga, command, causation_id, (source, reply_to));
            envelope.map(|envelope| (command.step(), envelope))
        });
        let command = command.transpose()?;
        let decision = Self {
            saga,
            transition,
            causation_id,
            command_id: command.as_ref().map(|(_, envelope)| envelope.id),
        };
        Ok((decision, command))
    }

    /// Number of the saga's log entries after it.
    pub(crate) fn version(&self) -> i32 {
        self.saga.version + i32::try_from(self.transition.log.len()).unwrap_or(i32::MAX)
    }

    /// Seconds until the saga is looked at again.
    pub(crate) fn seconds(&self, scale: f64) -> Option<f64> {
        match self.transition.deadline {
            Deadline::In(duration) => Some(duration.as_secs_f64() * scale),
            Deadline::InExactly(duration) => Some(duration.as_secs_f64()),
            Deadline::Unchanged | Deadline::Never => None,
        }
    }

    /// What went wrong last, in the words of the new entries: the step, and what there is to say of it.
    pub(crate) fn last_error(&self) -> Option<String> {
        let mut log = self.transition.log.iter().rev();
        let (step, error) = log.find_map(|entry| Some((entry.step, entry.what.error()?)))?;
        let error = match step {
            Some(step) => format!("{step}: {error}"),
            None => error,
        };
        // A participant's own words may hold what no text of PostgreSQL can.
        let plain = error.chars().map(|c| if c.is_control() { ' ' } else { c });
        Some(plain.take(LAST_ERROR_MAX).collect())
    }

    /// What everybody is told when it parks the saga, from the program `source`.
    pub(crate) fn parked(&self, source: &str) -> Option<Message> {
        let (saga, after) = (&self.saga, self.transition.state);
        let State::Parked { step, reason } = after else {
            return None;
        };
        let parked = SagaParked {
            saga_id: saga.id,
            definition: saga.definition.name().to_owned(),
            subject: saga.subject.to_string(),
            step: Some(step.to_owned()),
            reason,
            last_error: self.last_error(),
            parked_at: clock::now(),
        };
        let envelope = Envelope::new(source, &saga.id.to_string(), &parked);
        let is_new = saga.state != after;
        is_new.then(|| Message::event(self.context().apply(envelope)))
    }

    /// Tells the log what somebody may have to know, when it is committed.
    pub(crate) fn report(&self) {
        let saga = &self.saga;
        debug!(
            saga.id = %saga.id,
            saga.step = self.transition.state.step(),
            saga.entries = self.transition.log.len(),
            correlation_id = saga.origin.correlation_id,
            command.id = self.command_id.map(tracing::field::display),
            "decided"
        );
        match self.transition.state {
            State::Completed | State::Compensated { .. } => {}
            State::Parked { step, .. } => {
                error!(saga.id = %saga.id, saga.step = step, correlation_id = saga.origin.correlation_id, "parked: an operator has to look");
            }
            State::Running { .. } | State::Compensating { .. } => {
                let timed_out = |what: &What| matches!(what, What::ActionTimedOut { .. });
                if self
                    .transition
                    .log
                    .iter()
                    .any(|entry| timed_out(&entry.what))
                {
                    info!(saga.id = %saga.id, saga.step = saga.state.step(), correlation_id = saga.origin.correlation_id, "a participant did not answer in time");
                }
            }
        }
    }
}

fn envelope(
    saga: &Saga,
    command: Command,
    causation_id: Option<Uuid>,
    (source, reply_to): (&str, &str),
) -> serde_json::Result<Envelope> {
    let step = command.step();
    let table: &dyn Table = saga.definition;
    let position = table
        .position(step.name)
        .expect("commands are of steps of the definition");
    let about = (source, saga.subject.id());
    let envelope = saga
        .definition
        .command(position, command.reason(), about, &saga.data)?;
    Ok(Envelope {
        sagastep: Some(step.name.to_owned()),
        replyto: Some(reply_to.to_owned()),
        ..saga.context(causation_id).apply(envelope)
    })
}
