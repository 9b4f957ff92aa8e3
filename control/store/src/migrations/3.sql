-- What was found out of the caller's identity, and what the gateway vouched for.
ALTER TABLE calls ADD COLUMN verstat TEXT;
ALTER TABLE calls ADD COLUMN attest TEXT;
ALTER TABLE calls ADD COLUMN origid TEXT;
ALTER TABLE calls ADD COLUMN identity_cause TEXT;
ALTER TABLE calls ADD COLUMN signed TEXT;
