//! Every event in every state, looked up in a table.
//!
//! ```text
//! flight/2    the step runs, in its second attempt       -flight/2    it is being undone
//! !flight     it is parked on the way forward            !-flight     it is parked on the way back
//! done        every step succeeded                       undone       nothing is left of any step
//!
//! .           nothing follows                            late         the reply is noted, and nothing follows
//! refused     the event makes no sense
//! ```

use super::*;

const OF_A_TRIP: &str = "
    state        flight:yes  flight:no  flight:undone  passport:yes  passport:no  passport:undone  ticket:yes  ticket:no  ticket:undone  silence     expiry     cancel
    done         late        late       late           late          late         .                late        .          .              .           .          refused
    undone       late        late       late           late          late         .                late        .          .              .           .          .
    flight/1     passport/1  undone     late           late          late         .                late        .          .              flight/2    -flight/1  -flight/1
    flight/3     passport/1  undone     late           late          late         .                late        .          .              -flight/1   -flight/1  -flight/1
    -flight/1    late        late       undone         late          late         .                late        .          .              -flight/2   .          .
    -flight/10   late        late       undone         late          late         .                late        .          .              !-flight    .          .
    !flight      passport/1  undone     late           late          late         .                late        .          .              .           .          -flight/1
    !-flight     late        late       undone         late          late         .                late        .          .              .           .          .
    passport/1   late        late       late           ticket/1      -flight/1    .                late        .          .              passport/2  -flight/1  -flight/1
    passport/3   late        late       late           ticket/1      -flight/1    .                late        .          .              -flight/1   -flight/1  -flight/1
    -passport/1  late        late       late           late          late         -flight/1        late        .          .              !-passport  .          .
    -passport/2  late        late       late           late          late         -flight/1        late        .          .              !-passport  .          .
    !passport    late        late       late           ticket/1      -flight/1    .                late        .          .              .           .          -flight/1
    !-passport   late        late       late           late          late         -flight/1        late        .          .              .           .          .
    ticket/1     late        late       late           late          late         .                done        .          .              ticket/2    !ticket    refused
    ticket/3     late        late       late           late          late         .                done        .          .              !ticket     !ticket    refused
    !ticket      late        late       late           late          late         .                done        .          .              .           .          refused
";

const OF_A_RESERVATION: &str = "
    state        flight:yes  flight:no  flight:undone  passport:yes  passport:no  passport:undone  silence     expiry     cancel
    done         late        late       late           late          late         .                .           .          -flight/1
    undone       late        late       late           late          late         .                .           .          .
    flight/1     passport/1  undone     late           late          late         .                flight/2    -flight/1  -flight/1
    flight/3     passport/1  undone     late           late          late         .                -flight/1   -flight/1  -flight/1
    -flight/1    late        late       undone         late          late         .                -flight/2   .          .
    -flight/10   late        late       undone         late          late         .                !-flight    .          .
    !flight      passport/1  undone     late           late          late         .                .           .          -flight/1
    !-flight     late        late       undone         late          late         .                .           .          .
    passport/1   late        late       late           done          -flight/1    .                passport/2  -flight/1  -flight/1
    passport/3   late        late       late           done          -flight/1    .                -flight/1   -flight/1  -flight/1
    -passport/1  late        late       late           late          late         -flight/1        !-passport  .          .
    -passport/2  late        late       late           late          late         -flight/1        !-passport  .          .
    !passport    late        late       late           done          -flight/1    .                .           .          -flight/1
    !-passport   late        late       late           late          late         -flight/1        .           .          .
";

const VERBS_OF_A_TRIP: &str = "
    state        retry       skip        force-complete  force-compensated  abort      reschedule
    done         refused     refused     refused         refused            refused    refused
    undone       refused     refused     refused         refused            refused    refused
    flight/1     refused     passport/1  done            refused            -flight/1  flight/1
    flight/3     refused     passport/1  done            refused            -flight/1  flight/3
    -flight/1    refused     undone      refused         undone             refused    -flight/1
    -flight/10   refused     undone      refused         undone             refused    -flight/10
    !flight      flight/1    passport/1  done            refused            -flight/1  refused
    !-flight     -flight/1   undone      refused         undone             refused    refused
    passport/1   refused     ticket/1    done            refused            -flight/1  passport/1
    passport/3   refused     ticket/1    done            refused            -flight/1  passport/3
    -passport/1  refused     -flight/1   refused         undone             refused    -passport/1
    -passport/2  refused     -flight/1   refused         undone             refused    -passport/2
    !passport    passport/1  ticket/1    done            refused            -flight/1  refused
    !-passport   -flight/1   -flight/1   refused         undone             refused    refused
    ticket/1     refused     done        done            refused            refused    ticket/1
    ticket/3     refused     done        done            refused            refused    ticket/3
    !ticket      ticket/1    done        done            refused            refused    refused
";

const VERBS_OF_A_RESERVATION: &str = "
    state        retry       skip        force-complete  force-compensated  abort      reschedule
    done         refused     refused     refused         refused            -flight/1  refused
    undone       refused     refused     refused         refused            refused    refused
    flight/1     refused     passport/1  done            refused            -flight/1  flight/1
    flight/3     refused     passport/1  done            refused            -flight/1  flight/3
    -flight/1    refused     undone      refused         undone             refused    -flight/1
    -flight/10   refused     undone      refused         undone             refused    -flight/10
    !flight      flight/1    passport/1  done            refused            -flight/1  refused
    !-flight     -flight/1   undone      refused         undone             refused    refused
    passport/1   refused     done        done            refused            -flight/1  passport/1
    passport/3   refused     done        done            refused            -flight/1  passport/3
    -passport/1  refused     -flight/1   refused         undone             refused    -passport/1
    -passport/2  refused     -flight/1   refused         undone             refused    -passport/2
    !passport    passport/1  done        done            refused            -flight/1  refused
    !-passport   -flight/1   -flight/1   refused         undone             refused    refused
";

/// Every state that a row of table `sagas` can have, at the first and at the last attempt.
fn states(saga: &dyn Table) -> Vec<State> {
    let row =
        |status, step, attempt, reason| State::from_columns(saga, status, step, attempt, reason);
    let mut states = vec![
        row(Status::Completed, None, 0, None),
        row(Status::Compensated, None, 0, Some(BECAUSE)),
    ];
    for plan in saga.plans() {
        let step = Some(plan.name);
        let forward = [1, plan.tries.attempts];
        states.extend(forward.map(|attempt| row(Status::Running, step, attempt, None)));
        let back = match plan.undo {
            Undo::By { tries, .. } => [1, tries.attempts],
            Undo::Nothing | Undo::Never => [1, 2],
        };
        states.extend(back.map(|attempt| row(Status::Compensating, step, attempt, Some(BECAUSE))));
        states.extend([None, Some(BECAUSE)].map(|reason| row(Status::Parked, step, 0, reason)));
    }
    states.into_iter().flatten().collect()
}

/// Every event that can come to the saga, with its name in the table.
fn events(saga: &dyn Table) -> Vec<(String, Event)> {
    let mut events = Vec::new();
    for plan in saga.plans() {
        let step = plan.name;
        events.push((format!("{step}:yes"), Event::Succeeded(step)));
        events.push((format!("{step}:no"), rejected(step)));
        events.push((format!("{step}:undone"), Event::Undone(step)));
    }
    let whole = [
        ("silence", Event::DeadlinePassed),
        ("expiry", Event::Expired),
        ("cancel", cancel()),
    ];
    events.extend(whole.map(|(name, event)| (name.to_owned(), event)));
    events
}

/// Every verb, with its name in the table.
fn interventions() -> Vec<(String, Event)> {
    let named = |verb: Verb| (verb.to_string(), intervened(verb));
    Verb::ALL.map(named).into()
}

/// Whatever can happen to the saga.
fn all(saga: &dyn Table) -> Vec<(String, Event)> {
    [events(saga), interventions()].concat()
}

/// A state's name in the table.
fn name(state: State) -> String {
    match state {
        State::Running { step, attempt } => format!("{step}/{attempt}"),
        State::Completed => "done".to_owned(),
        State::Compensating { step, attempt, .. } => format!("-{step}/{attempt}"),
        State::Compensated { .. } => "undone".to_owned(),
        State::Parked { step, reason: None } => format!("!{step}"),
        State::Parked { step, .. } => format!("!-{step}"),
    }
}

/// What follows, in the words of the table.
fn outcome(saga: &dyn Table, state: State, event: &Event) -> String {
    let Ok(decided) = transition(saga, state, event) else {
        return "refused".to_owned();
    };
    match &decided.log[..] {
        [] => ".".to_owned(),
        [entry] if matches!(entry.what, What::LateReply { .. }) => "late".to_owned(),
        _ => name(decided.state),
    }
}

/// What the text of a table says about an event in a state.
fn look_up<'t>(text: &'t str, state: &str, event: &str) -> Option<&'t str> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let column = lines
        .next()?
        .split_whitespace()
        .position(|name| name == event)?;
    let mut rows = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.find(|row| row[0] == state)?.get(column).copied()
}

/// How many outcomes the text of a table has.
fn size(text: &str) -> usize {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let widths = lines.map(|line| line.split_whitespace().count() - 1);
    widths.skip(1).sum()
}

#[test]
fn every_event_in_every_state() {
    for (saga, text, events) in [
        (&TRIP, OF_A_TRIP, events(&TRIP)),
        (&RESERVATION, OF_A_RESERVATION, events(&RESERVATION)),
        (&TRIP, VERBS_OF_A_TRIP, interventions()),
        (&RESERVATION, VERBS_OF_A_RESERVATION, interventions()),
    ] {
        let states = states(saga);
        for state in &states {
            for (event, happened) in &events {
                let state_name = name(*state);
                let Some(expected) = look_up(text, &state_name, event) else {
                    panic!(
                        "the table of a {} does not say what follows from {event} in {state_name}",
                        saga.name
                    );
                };
                let came = outcome(saga, *state, happened);
                assert_eq!(came, expected, "{}: {event} in {state_name}", saga.name);
            }
        }
        assert_eq!(
            size(text),
            states.len() * events.len(),
            "no row and no column is left over"
        );
    }
}

/// Whoever waits for a reply has asked for it, and has a deadline; nobody else has.
#[test]
fn what_is_sent_follows_from_the_new_state() {
    for saga in [&TRIP, &RESERVATION] {
        for state in states(saga) {
            for (event, happened) in all(saga) {
                let Ok(decided) = transition(saga, state, &happened) else {
                    continue;
                };
                let sent = decided.command.map(|command| match command {
                    Command::Action(step) => (step.name, None),
                    Command::Compensation(step, reason) => (step.name, Some(reason)),
                });
                let asked = match decided.state {
                    new if new == state => None,
                    State::Running { step, .. } => Some((step, None)),
                    State::Compensating { step, reason, .. } => Some((step, Some(reason))),
                    State::Completed | State::Compensated { .. } | State::Parked { .. } => None,
                };
                assert_eq!(sent, asked, "{event} in {state:?}");
                let deadline = match decided.deadline {
                    Deadline::In(_) => asked.is_some(),
                    Deadline::InExactly(_) => asked.is_none() && decided.state.is_open(),
                    Deadline::Unchanged => asked.is_none() && decided.state.is_open(),
                    Deadline::Never => !decided.state.is_open(),
                };
                assert!(deadline, "{event} in {state:?}: {:?}", decided.deadline);
            }
        }
    }
}

/// The reason that came first stays.
#[test]
fn a_saga_is_undone_for_what_happened_first() {
    for saga in [&TRIP, &RESERVATION] {
        for state in states(saga) {
            for (event, happened) in all(saga) {
                let Ok(decided) = transition(saga, state, &happened) else {
                    continue;
                };
                let why = match happened {
                    _ if state.reason().is_some() => BECAUSE,
                    Event::Rejected { reason, .. } | Event::CancelRequested { reason, .. } => {
                        reason
                    }
                    Event::Intervened { .. } => Reason::OPERATOR,
                    _ => Reason::TIMEOUT,
                };
                if let Some(reason) = decided.state.reason() {
                    assert_eq!(reason, why, "{event} in {state:?}");
                }
            }
        }
    }
}

#[test]
fn who_intervenes_is_told_what_makes_sense() {
    let refused = transition(&TRIP, State::Completed, &intervened(Verb::Skip)).unwrap_err();
    assert!(
        refused
            .to_string()
            .ends_with("what can be done about it is nothing")
    );
    let state = State::Parked {
        step: "ticket",
        reason: None,
    };
    let refused = transition(&TRIP, state, &intervened(Verb::ForceCompensated)).unwrap_err();
    let told = "force-compensated makes no sense: the saga is PARKED, and what can be done about it is \
                retry, skip, force-complete";
    assert_eq!(refused.to_string(), told);
    let refused = transition(&TRIP, state, &intervened(Verb::Abort)).unwrap_err();
    assert_eq!(refused, IllegalEvent::NoWayBack(Status::Parked));
}

#[test]
fn who_reschedules_means_the_clock() {
    let state = State::Running {
        step: "flight",
        attempt: 2,
    };
    let delay = Duration::from_secs(600);
    let decided = transition(&TRIP, state, &intervened(Verb::Reschedule(delay))).unwrap();
    assert_eq!(decided.deadline, Deadline::InExactly(delay));
    assert_eq!(decided.state, state);
}

#[test]
fn a_late_reply_is_noted_and_leaves_the_deadline_alone() {
    let state = State::Compensating {
        step: "flight",
        attempt: 1,
        reason: BECAUSE,
    };
    let decided = transition(&TRIP, state, &Event::Succeeded("flight")).unwrap();
    let reply = "flight.booked".to_owned();
    assert_eq!(
        decided.log,
        [Entry::of("flight", What::LateReply { reply })]
    );
    assert_eq!(decided.deadline, Deadline::Unchanged);
}

#[test]
fn compensations_wait_longer_each_time_up_to_a_limit() {
    let deadline = |attempt| {
        let state = State::Compensating {
            step: "flight",
            attempt,
            reason: BECAUSE,
        };
        let decided = transition(&TRIP, state, &Event::DeadlinePassed);
        decided.unwrap().deadline
    };
    let seconds = |s| Deadline::In(Duration::from_secs(s));
    assert_eq!(
        [deadline(1), deadline(2), deadline(9)],
        [seconds(60), seconds(120), seconds(300)]
    );
}

#[test]
fn what_becomes_of_dead_letters_is_noted_in_every_state_and_changes_nothing() {
    let letter = DeadLetter {
        queue: "payment.commands.dlq".to_owned(),
        message_id: "1".to_owned(),
        edited_as: None,
        note: "mended".to_owned(),
        actor: "somebody".to_owned(),
    };
    let redriven = Event::DeadLettersRedriven(vec![letter.clone(), letter.clone()]);
    for state in states(&TRIP) {
        for (event, entries) in [
            (
                redriven.clone(),
                vec![What::DeadLetterRedriven(letter.clone()); 2],
            ),
            (
                Event::DeadLetterDeleted(letter.clone()),
                vec![What::DeadLetterDeleted(letter.clone())],
            ),
        ] {
            let noted = transition(&TRIP, state, &event).unwrap();
            let log: Vec<_> = noted.log.into_iter().map(|entry| entry.what).collect();
            assert_eq!((noted.state, log), (state, entries));
            let unchanged = if state.is_open() {
                Deadline::Unchanged
            } else {
                Deadline::Never
            };
            assert!(
                noted.command.is_none() && noted.deadline == unchanged,
                "{state:?}"
            );
        }
    }
}
