-- When operators held back commands to a participant, who, and why. It is paused while one of its rows is not resumed.
CREATE TABLE participant_pauses (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    participant text        NOT NULL,
    actor       text        NOT NULL,
    reason      text        NOT NULL,
    paused_at   timestamptz NOT NULL DEFAULT now(),
    resumed_at  timestamptz,
    resumed_by  text,
    resumed_for text,
    CHECK ((resumed_at IS NULL) = (resumed_by IS NULL) AND (resumed_at IS NULL) = (resumed_for IS NULL))
);
CREATE UNIQUE INDEX participant_pauses_open ON participant_pauses (participant) WHERE resumed_at IS NULL;
