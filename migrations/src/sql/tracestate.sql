-- What the tracing systems of the request that a saga comes from add to its trace.
ALTER TABLE sagas ADD COLUMN tracestate text;
