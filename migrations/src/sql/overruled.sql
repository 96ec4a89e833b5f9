-- Whether an operator has skipped a step of it or forced its end: then it need not say what its participants did. The log
-- tells who and why, but may be dropped before the saga is looked at again.
ALTER TABLE sagas ADD COLUMN overruled boolean NOT NULL DEFAULT false;
