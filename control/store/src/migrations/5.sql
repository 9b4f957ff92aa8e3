-- What became of a transfer that a call took part in, as JSON.
ALTER TABLE calls ADD COLUMN transfer TEXT;
