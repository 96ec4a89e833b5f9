//! What holds for any definition, whatever happens, in any order, repeated or late.

use proptest::prelude::*;

use super::*;

const NAMES: [(&str, &str, &str, &str); 7] = [
    ("a", "a.done", "a.refused", "a.undone"),
    ("b", "b.done", "b.refused", "b.undone"),
    ("c", "c.done", "c.refused", "c.undone"),
    ("d", "d.done", "d.refused", "d.undone"),
    ("e", "e.done", "e.refused", "e.undone"),
    ("f", "f.done", "f.refused", "f.undone"),
    ("g", "g.done", "g.refused", "g.undone"),
];

/// A run of a saga: its log, and where it is.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) saga: Plans,
    pub(crate) log: Vec<Entry>,
    pub(crate) state: State,
    armed: bool,
}

impl Run {
    fn begin(saga: Plans) -> Self {
        let first = start(&saga);
        Self {
            saga,
            armed: matches!(first.deadline, Deadline::In(_)),
            log: first.log,
            state: first.state,
        }
    }

    pub(crate) fn after(saga: Plans, events: &[Event]) -> Self {
        let mut run = Self::begin(saga);
        for event in events {
            run.happen(event);
        }
        run
    }

    /// Whether the event was taken.
    fn happen(&mut self, event: &Event) -> bool {
        let Ok(decided) = transition(&self.saga, self.state, event) else {
            return false;
        };
        self.log.extend(decided.log);
        self.state = decided.state;
        self.armed = match decided.deadline {
            Deadline::In(_) | Deadline::InExactly(_) => true,
            Deadline::Unchanged => self.armed,
            Deadline::Never => false,
        };
        true
    }

    /// Whether an operator said that something is done or undone.
    fn is_overruled(&self) -> bool {
        self.log.iter().any(|entry| entry.what.overrules())
    }

    /// Where in the log there is such an entry about `step`.
    fn entries(&self, step: &str, is: fn(&What) -> bool) -> Vec<usize> {
        let about = |entry: &Entry| entry.step == Some(step) && is(&entry.what);
        let log = self.log.iter().enumerate();
        log.filter(|(_, entry)| about(entry))
            .map(|(at, _)| at)
            .collect()
    }
}

fn is_sent(what: &What) -> bool {
    matches!(what, What::ActionSent { .. })
}

fn is_done(what: &What) -> bool {
    matches!(what, What::StepSucceeded {})
}

fn is_refused(what: &What) -> bool {
    matches!(what, What::StepRejected { .. })
}

fn is_being_undone(what: &What) -> bool {
    matches!(what, What::CompensationSent { .. })
}

fn is_undone(what: &What) -> bool {
    matches!(what, What::StepUndone {})
}

/// Any definition: steps with a compensation and steps with nothing to undo, then forward-only ones.
fn any_saga() -> impl Strategy<Value = Plans> {
    let back = prop::collection::vec((any::<bool>(), 1..4_u32, 1..4_u32), 0..4);
    let forward = prop::collection::vec(1..4_u32, 0..3);
    let both = (back, forward, any::<bool>());
    let both = both.prop_filter("a saga has a step", |(back, forward, _)| {
        !back.is_empty() || !forward.is_empty()
    });
    both.prop_map(|(back, forward, expires)| {
        let evenly = |attempts| Tries::evenly(Duration::from_secs(30), attempts);
        let back = back.into_iter().map(|(can_be_undone, attempts, back)| {
            (attempts, can_be_undone.then_some(back), false)
        });
        let forward = forward.into_iter().map(|attempts| (attempts, None, true));
        let steps = back.chain(forward).zip(NAMES);
        let steps: Vec<_> = steps
            .map(
                |((attempts, back, is_forward_only), (name, done, refused, undone))| {
                    let undo = match back {
                        Some(attempts) => Undo::By {
                            done: undone,
                            tries: evenly(attempts),
                        },
                        None if is_forward_only => Undo::Never,
                        None => Undo::Nothing,
                    };
                    StepPlan {
                        tries: evenly(attempts),
                        ..step(name, (done, refused), undo)
                    }
                },
            )
            .collect();
        steps.iter().for_each(StepPlan::check);
        Plans {
            expires_after: expires.then_some(Duration::from_secs(60)),
            ..plans("any", steps.leak())
        }
    })
}

fn any_event(saga: Plans) -> impl Strategy<Value = Event> {
    let names: Vec<_> = saga.steps.iter().map(|step| step.name).collect();
    let step = move || prop::sample::select(names.clone());
    prop_oneof![
        8 => step().prop_map(Event::Succeeded),
        2 => step().prop_map(rejected),
        4 => step().prop_map(Event::Undone),
        4 => Just(Event::DeadlinePassed),
        1 => Just(Event::Expired),
        1 => Just(cancel()),
        2 => Just(retry()),
        1 => prop::sample::select(Verb::ALL.to_vec()).prop_map(intervened),
    ]
}

/// A saga, and what happens to it.
pub(crate) fn any_run() -> impl Strategy<Value = (Plans, Vec<Event>)> {
    any_saga().prop_flat_map(|saga| (Just(saga), prop::collection::vec(any_event(saga), 0..60)))
}

/// Any row that can be read, also one that no saga ever had.
fn any_row(saga: Plans) -> impl Strategy<Value = State> {
    let status = [
        Status::Running,
        Status::Completed,
        Status::Compensating,
        Status::Compensated,
        Status::Parked,
    ];
    let names: Vec<_> = saga.steps.iter().map(|step| step.name).collect();
    let step = prop::option::of(prop::sample::select(names));
    let reason = prop::option::of(Just(BECAUSE));
    let attempt = prop_oneof![0..5_u32, Just(u32::MAX)];
    let row = (prop::sample::select(status.to_vec()), step, attempt, reason);
    row.prop_filter_map(
        "the row makes no sense",
        move |(status, step, attempt, reason)| {
            State::from_columns(&saga, status, step, attempt, reason)
        },
    )
}

proptest! {
    /// Nothing panics: what is decided in a state fits to it, also in one that no saga ever had.
    #[test]
    fn every_event_makes_sense_or_is_refused(
        (saga, state, event) in any_saga().prop_flat_map(|saga| (Just(saga), any_row(saga), any_event(saga)))
    ) {
        match transition(&saga, state, &event) {
            Ok(decided) => {
                let new = decided.state;
                let read = State::from_columns(&saga, new.status(), new.step(), new.attempt(), new.reason());
                prop_assert_eq!(read, Some(new));
            }
            Err(IllegalEvent::Senseless { verb, verbs, .. }) => {
                prop_assert_eq!(event, intervened(verb));
                prop_assert!(!verbs.contains(&verb));
            }
            Err(IllegalEvent::NoWayBack(_)) => {
                prop_assert!([cancel(), intervened(Verb::Abort)].contains(&event));
            }
        }
    }

    #[test]
    fn the_state_is_the_fold_of_the_log((saga, events) in any_run()) {
        let mut run = Run::begin(saga);
        for event in &events {
            run.happen(event);
            prop_assert_eq!(State::fold(&saga, &run.log), Ok(Some(run.state)));
        }
    }

    /// An open saga can never be stuck; what is not open waits for nothing.
    #[test]
    fn a_saga_has_a_deadline_exactly_while_it_is_open((saga, events) in any_run()) {
        let mut run = Run::begin(saga);
        for event in &events {
            run.happen(event);
            prop_assert_eq!(run.armed, run.state.is_open());
        }
    }

    /// Deadlines alone bring every saga to an end or to an operator.
    #[test]
    fn silence_ends_too((saga, events) in any_run()) {
        let mut run = Run::after(saga, &events);
        for _ in 0..50 {
            run.happen(&Event::DeadlinePassed);
        }
        prop_assert!(!run.state.is_open());
    }

    /// As soon as participants answer again, and an operator retries, every saga ends.
    #[test]
    fn answers_end_it((saga, events) in any_run()) {
        let mut run = Run::after(saga, &events);
        for _ in 0..50 {
            let event = match run.state {
                State::Running { step, .. } => Event::Succeeded(step),
                State::Compensating { step, .. } => Event::Undone(step),
                State::Parked { .. } => retry(),
                State::Completed | State::Compensated { .. } => break,
            };
            prop_assert!(run.happen(&event));
        }
        let ended = matches!(run.state, State::Completed | State::Compensated { .. });
        prop_assert!(ended, "{:?}", run.state);
    }

    /// What was done is kept by a saga that completes: all of it, in order, each step once.
    #[test]
    fn a_completed_saga_has_done_every_step_once((saga, events) in any_run()) {
        let run = Run::after(saga, &events);
        if run.state == State::Completed && !run.is_overruled() {
            let done: Vec<_> = saga.steps.iter().map(|step| run.entries(step.name, is_done)).collect();
            prop_assert!(done.iter().all(|at| at.len() == 1));
            prop_assert!(done.is_sorted());
        }
    }

    /// What was sent, and was not refused, is undone once by a saga that is compensated, each step before the one in
    /// front of it.
    #[test]
    fn a_compensated_saga_has_undone_what_was_sent_once((saga, events) in any_run()) {
        let run = Run::after(saga, &events);
        if matches!(run.state, State::Compensated { .. }) && !run.is_overruled() {
            let steps = saga.steps.iter().filter(|step| step.undone().is_some());
            let mut undone = Vec::new();
            for step in steps {
                let is_left = !run.entries(step.name, is_sent).is_empty()
                    && run.entries(step.name, is_refused).is_empty();
                let at = run.entries(step.name, is_undone);
                prop_assert_eq!(at.len(), usize::from(is_left), "{}", step.name);
                undone.extend(at);
            }
            prop_assert!(undone.is_sorted_by(|one, next| one > next));
        }
    }

    /// Neither the step itself, nor anything before it.
    #[test]
    fn nothing_is_undone_once_a_forward_only_step_was_sent((saga, events) in any_run()) {
        let run = Run::after(saga, &events);
        let mut forward_only = saga.steps.iter().filter(|step| step.is_forward_only());
        if forward_only.any(|step| !run.entries(step.name, is_sent).is_empty()) {
            prop_assert_eq!(run.state.reason(), None);
            for step in saga.steps {
                prop_assert!(run.entries(step.name, is_being_undone).is_empty());
            }
        }
    }

    #[test]
    fn only_what_has_a_compensation_is_undone((saga, events) in any_run()) {
        let run = Run::after(saga, &events);
        for step in saga.steps.iter().filter(|step| step.undone().is_none()) {
            prop_assert!(run.entries(step.name, is_being_undone).is_empty());
            prop_assert!(run.entries(step.name, is_undone).is_empty());
        }
    }
}
