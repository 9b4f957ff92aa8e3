//! Calls as rows: how each record changes its call's row, and how a finished row reads as a [`Cdr`].

use link::{
    Binding, CallAnswered, CallId, CallRecord, Cdr, End, Identity, Registration, ShardId, Side, Text,
    UnixMicros,
};
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, Row, named_params};
use std::net::SocketAddr;
use std::str::FromStr;

/// The columns that [`read`] expects, in its order.
pub(crate) const COLUMNS: &str = "call, shard, caller_sip_call_id, callee_sip_call_id, from_number, dialled, routed, \
     source, trunk, peer, attempts, started, answered, ended, pdd_us, setup_us, side, status, q850, cause, media, \
     verstat, attest, origid, identity_cause, signed, session_id, transfer, diverted, priority";

/// Leaves a trace of a call at its start; a record that comes twice changes nothing.
pub(crate) fn start(connection: &Connection, record: &CallRecord) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO open (call, shard, started, from_number, dialled, source, caller_sip_call_id)
             VALUES (:call, :shard, :started, :from, :dialled, :source, :sip)",
        )?
        .execute(named_params! {
            ":call": number(record.call),
            ":shard": record.shard.0,
            ":started": micros(record.started),
            ":from": record.from,
            ":dialled": record.dialled,
            ":source": record.source.to_string(),
            ":sip": record.sip_call_id,
        })
        .map(drop)
}

/// Notes the answer while the call is open.
pub(crate) fn answer(connection: &Connection, answered: &CallAnswered) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE open SET answered = :at, trunk = :trunk, peer = :peer WHERE call = :call")?
        .execute(named_params! {
            ":call": number(answered.call),
            ":at": micros(answered.at),
            ":trunk": answered.trunk.as_str(),
            ":peer": answered.peer.to_string(),
        })
        .map(drop)
}

/// Writes the finished call and takes its trace away; a record that comes twice changes nothing.
pub(crate) fn end(connection: &Connection, cdr: &Cdr) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM open WHERE call = ?1")?.execute([number(cdr.call)])?;
    let json = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    let attempts = serde_json::to_string(&cdr.attempts).map_err(json)?;
    let media = cdr.media.as_ref().map(serde_json::to_string).transpose().map_err(json)?;
    let transfer = cdr.transfer.as_ref().map(serde_json::to_string).transpose().map_err(json)?;
    let identity = cdr.identity.as_ref();
    let diverted = identity.map(|it| &it.diverted).filter(|it| !it.is_empty());
    let diverted = diverted.map(serde_json::to_string).transpose().map_err(json)?;
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO calls (call, shard, started, answered, ended, from_number, dialled, routed, source,
                trunk, peer, status, side, q850, cause, pdd_us, setup_us, caller_sip_call_id, callee_sip_call_id,
                attempts, media, verstat, attest, origid, identity_cause, signed, session_id, transfer,
                diverted, priority)
             VALUES (:call, :shard, :started, :answered, :ended, :from, :dialled, :routed, :source,
                :trunk, :peer, :status, :side, :q850, :cause, :pdd, :setup, :caller_sip, :callee_sip,
                :attempts, :media, :verstat, :attest, :origid, :identity_cause, :signed, :session_id, :transfer,
                :diverted, :priority)",
        )?
        .execute(named_params! {
            ":call": number(cdr.call),
            ":shard": cdr.shard.0,
            ":started": micros(cdr.started),
            ":answered": cdr.answered.map(micros),
            ":ended": micros(cdr.ended),
            ":from": cdr.from,
            ":dialled": cdr.dialled,
            ":routed": cdr.routed,
            ":source": cdr.source.to_string(),
            ":trunk": cdr.trunk.as_ref().map(|it| it.as_str()),
            ":peer": cdr.peer.map(|it| it.to_string()),
            ":status": cdr.end.status,
            ":side": side_word(cdr.end.side),
            ":q850": cdr.end.q850,
            ":cause": cdr.end.cause,
            ":pdd": cdr.pdd_us.map(u64::cast_signed),
            ":setup": cdr.setup_us.map(u64::cast_signed),
            ":caller_sip": cdr.caller_sip_call_id,
            ":callee_sip": cdr.callee_sip_call_id,
            ":attempts": attempts,
            ":media": media,
            ":verstat": identity.and_then(|it| it.verstat.as_deref()),
            ":attest": identity.and_then(|it| it.attest.as_deref()),
            ":origid": identity.and_then(|it| it.origid.as_deref()),
            ":identity_cause": identity.and_then(|it| it.cause.as_deref()),
            ":signed": identity.and_then(|it| it.signed.as_deref()),
            ":session_id": cdr.session_id,
            ":transfer": transfer,
            ":diverted": diverted,
            ":priority": identity.and_then(|it| it.priority.as_deref()),
        })
        .map(drop)
}

/// Keeps a user's bindings in place of those before; a user without any is forgotten.
pub(crate) fn register(connection: &Connection, registration: &Registration) -> rusqlite::Result<()> {
    if registration.bindings.is_empty() {
        return connection
            .prepare_cached("DELETE FROM registrations WHERE user = ?1")?
            .execute([&*registration.user])
            .map(drop);
    }
    let json = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    let bindings = serde_json::to_string(&registration.bindings).map_err(json)?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO registrations (user, revision, bindings) VALUES (:user, :revision, :bindings)",
        )?
        .execute(named_params! {
            ":user": &*registration.user,
            ":revision": registration.revision.cast_signed(),
            ":bindings": bindings,
        })
        .map(drop)
}

/// Reads a user's bindings from a row of user, revision and bindings.
pub(crate) fn registration(row: &Row<'_>) -> rusqlite::Result<Registration> {
    let bindings: Vec<Binding> = json(2, &row.get::<_, String>(2)?)?;
    Ok(Registration {
        user: row.get::<_, String>(0)?.into(),
        revision: row.get::<_, i64>(1)?.cast_unsigned(),
        bindings: bindings.into(),
    })
}

/// Remembers that open calls were alive.
pub(crate) fn alive(connection: &Connection, at: UnixMicros) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO marks (name, value) VALUES ('alive', ?1)")?
        .execute([micros(at)])
        .map(drop)
}

/// Closes the open calls of a shard that began before its process started; all open calls, if no shard is named. They ended
/// when they were last known to be alive, so that nobody is billed for time after a crash. Returns how many there were.
pub(crate) fn close_open(
    connection: &Connection,
    of: Option<(ShardId, UnixMicros)>,
) -> rusqlite::Result<usize> {
    let (shard, restarted) = of.unzip();
    let restarted = restarted.map_or(i64::MAX, micros);
    let those = "started < :restarted AND (:shard IS NULL OR shard = :shard)";
    let values = named_params! { ":restarted": restarted, ":shard": shard.map(|it| it.0) };
    let closed = connection.execute(
        &format!(
            "INSERT OR IGNORE INTO calls (call, shard, started, answered, ended, from_number, dialled, source, trunk,
                peer, status, side, q850, cause, caller_sip_call_id, attempts)
             SELECT call, shard, started, answered,
                MAX(started, COALESCE(answered, 0),
                    MIN(:restarted, COALESCE((SELECT value FROM marks WHERE name = 'alive'), 0))),
                from_number, dialled, source, trunk, peer, CASE WHEN answered IS NULL THEN 0 ELSE 200 END, 'gateway', 41,
                'gateway restarted', caller_sip_call_id, '[]'
             FROM open WHERE {those}"
        ),
        values,
    )?;
    connection.execute(&format!("DELETE FROM open WHERE {those}"), values)?;
    Ok(closed)
}

/// Reads a finished call from a row of [`COLUMNS`].
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Cdr> {
    let media: Option<String> = row.get(20)?;
    let trunk: Option<String> = row.get(8)?;
    Ok(Cdr {
        call: CallId(row.get::<_, i64>(0)?.cast_unsigned()),
        shard: ShardId(row.get(1)?),
        caller_sip_call_id: row.get(2)?,
        callee_sip_call_id: row.get(3)?,
        from: row.get(4)?,
        dialled: row.get(5)?,
        routed: row.get(6)?,
        source: parse(7, &row.get::<_, String>(7)?)?,
        trunk: trunk.map(Into::into),
        peer: row.get::<_, Option<String>>(9)?.map(|text| parse::<SocketAddr>(9, &text)).transpose()?,
        attempts: json(10, &row.get::<_, String>(10)?)?,
        started: time(row.get(11)?),
        answered: row.get::<_, Option<i64>>(12)?.map(time),
        ended: time(row.get(13)?),
        pdd_us: row.get::<_, Option<i64>>(14)?.map(i64::cast_unsigned),
        setup_us: row.get::<_, Option<i64>>(15)?.map(i64::cast_unsigned),
        end: End {
            side: side_of(&row.get::<_, String>(16)?),
            status: row.get(17)?,
            q850: row.get(18)?,
            cause: Text::Owned(row.get(19)?),
        },
        media: media.map(|text| json(20, &text)).transpose()?,
        identity: identity(row)?,
        session_id: row.get(26)?,
        transfer: row.get::<_, Option<String>>(27)?.map(|text| json(27, &text)).transpose()?,
    })
}

/// What stands of the caller's identity in the columns from 21 to 25, and in the last two; `None` if nothing does.
fn identity(row: &Row<'_>) -> rusqlite::Result<Option<Identity>> {
    let text = |column: usize| -> rusqlite::Result<Option<Text>> {
        Ok(row.get::<_, Option<String>>(column)?.map(Text::Owned))
    };
    let it = Identity {
        verstat: text(21)?,
        attest: text(22)?,
        origid: row.get(23)?,
        cause: row.get(24)?,
        signed: text(25)?,
        diverted: row
            .get::<_, Option<String>>(28)?
            .map(|text| json(28, &text))
            .transpose()?
            .unwrap_or_default(),
        priority: row.get(29)?,
    };
    Ok(Some(it).filter(|it| *it != Identity::default()))
}

/// SQLite's integers are signed; the bits are kept.
pub(crate) const fn number(call: CallId) -> i64 {
    call.0.cast_signed()
}

/// A time as SQLite keeps it; times beyond the year 294 000 are cut.
pub(crate) const fn micros(at: UnixMicros) -> i64 {
    if at.0 > i64::MAX as u64 { i64::MAX } else { at.0.cast_signed() }
}

const fn time(at: i64) -> UnixMicros {
    UnixMicros(at.cast_unsigned())
}

const fn side_word(side: Side) -> &'static str {
    match side {
        Side::Caller => "caller",
        Side::Callee => "callee",
        Side::Gateway => "gateway",
        Side::Operator => "operator",
    }
}

fn side_of(word: &str) -> Side {
    match word {
        "caller" => Side::Caller,
        "callee" => Side::Callee,
        "operator" => Side::Operator,
        _ => Side::Gateway,
    }
}

fn parse<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    column: usize,
    text: &str,
) -> rusqlite::Result<T> {
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(FromSqlError::other(error)))
    })
}

fn json<T: for<'a> serde::Deserialize<'a>>(column: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
