-- The call from end to end, as Session-ID (RFC 7989) names it.
ALTER TABLE calls ADD COLUMN session_id TEXT;
