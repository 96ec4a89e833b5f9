ALTER TABLE sagas DROP COLUMN tracestate;
