-- By way of whom a call came, as was verified, and what priority its caller is entitled to.
ALTER TABLE calls ADD COLUMN diverted TEXT;
ALTER TABLE calls ADD COLUMN priority TEXT;
