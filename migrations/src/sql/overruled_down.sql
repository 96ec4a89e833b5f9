ALTER TABLE sagas DROP COLUMN overruled;
