//! Records written are read back whole, in order, page by page, and an unusable folder says why.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sample;

use link::{CallId, Side, UnixMicros};
use sample::{Folder, SECOND, answered, ended, started};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use store::{Cursor, Filter, Options, Record, Refused, Store, Trouble, Write};

fn open(folder: &Path) -> Result<(Store, Receiver<u64>), store::Error> {
    let (said, stored) = channel();
    let stored_to = Box::new(move |seq| {
        let _ = said.send(seq);
    });
    Store::open(folder, Options { queue: 10_000, stored: stored_to }).map(|it| (it, stored))
}

fn write(store: &Store, stored: &Receiver<u64>, records: Vec<Record>) {
    let last = records.len() as u64;
    for (seq, record) in (1..).zip(records) {
        store.submit(Write { seq, record }).unwrap();
    }
    while stored.recv_timeout(Duration::from_secs(20)).expect("stored in time") != last {}
}

fn end(call: u64) -> Record {
    Record::Ended(Box::new(ended(call)))
}

fn page(limit: u32) -> Filter {
    Filter { limit, ..Filter::default() }
}

#[test]
fn a_record_comes_back_as_it_was() {
    let folder = Folder::new("whole");
    let (store, stored) = open(&folder.0).unwrap();
    let refused_call = link::Cdr {
        trunk: None,
        peer: None,
        media: None,
        identity: None,
        session_id: None,
        transfer: None,
        answered: None,
        routed: None,
        callee_sip_call_id: None,
        attempts: Vec::new(),
        pdd_us: None,
        ..ended(200 << 56)
    };
    let records = vec![
        Record::Started(Box::new(started(5))),
        Record::Answered(answered(5)),
        end(5),
        end(5),
        Record::Ended(Box::new(refused_call.clone())),
    ];
    write(&store, &stored, records);
    let reader = store.reader().unwrap();
    assert_eq!(reader.cdr(CallId(5)).unwrap(), Some(ended(5)));
    assert_eq!(reader.cdr(refused_call.call).unwrap(), Some(refused_call));
    assert_eq!(reader.cdr(CallId(6)).unwrap(), None);
    // The last connection to close cleans up, and a reader's cannot.
    drop(reader);
    let closed = store.close();
    assert_eq!((closed.lost, closed.facts.refused, closed.facts.records), (None, 0, 5));
    let mut left: Vec<_> = std::fs::read_dir(&folder.0).unwrap().map(|it| it.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["trunkline.db", "trunkline.lock"], "a closed store leaves no journal");
}

#[test]
fn pages_go_from_new_to_old_without_gap_or_repetition() {
    let folder = Folder::new("pages");
    let (store, stored) = open(&folder.0).unwrap();
    // Two shards, so that some calls begin in the same microsecond.
    let mut calls: Vec<u64> = (1..=50).collect();
    let mut records: Vec<Record> = calls.iter().map(|&call| end(call)).collect();
    for call in 1..=50 {
        let twin = ended(call | sample::SHARD_ONE);
        calls.push(twin.call.0);
        records.push(Record::Ended(Box::new(twin)));
    }
    write(&store, &stored, records);
    let reader = store.reader().unwrap();
    let mut seen = Vec::new();
    let mut filter = page(7);
    loop {
        let found = reader.cdrs(&filter).unwrap();
        seen.extend(found.cdrs);
        let Some(next) = found.next else { break };
        assert_eq!(next.to_string().parse::<Cursor>(), Ok(next));
        filter.before = Some(next);
    }
    assert!(seen.windows(2).all(|pair| pair[0].started >= pair[1].started), "newest first");
    let mut ids: Vec<u64> = seen.iter().map(|it| it.call.0).collect();
    ids.sort_unstable();
    calls.sort_unstable();
    assert_eq!(ids, calls);
    assert!("x".parse::<Cursor>().is_err() && "12-zz".parse::<Cursor>().is_err());
}

#[test]
fn filters_hold_together() {
    let folder = Folder::new("filters");
    let (store, stored) = open(&folder.0).unwrap();
    let mut records: Vec<Record> = (1..=9).map(end).collect();
    let mut busy = ended(10);
    busy.end.status = 486;
    busy.trunk = Some("beta".into());
    records.push(Record::Ended(Box::new(busy)));
    records.push(Record::Started(Box::new(started(11))));
    write(&store, &stored, records);
    let reader = store.reader().unwrap();
    let calls = |filter: Filter| -> Vec<u64> {
        reader.cdrs(&filter).unwrap().cdrs.iter().map(|it| it.call.0).collect()
    };
    assert_eq!(calls(page(100)).len(), 10, "open calls are not listed");
    let window =
        Filter { since: Some(UnixMicros(3 * SECOND)), until: Some(UnixMicros(5 * SECOND)), ..page(9) };
    assert_eq!(calls(window), [4, 3]);
    assert_eq!(calls(Filter { number: Some(ended(4).dialled), ..page(9) }), [4]);
    assert_eq!(calls(Filter { number: Some("1000".into()), ..page(2) }), [10, 9]);
    assert_eq!(calls(Filter { trunk: Some("beta".into()), ..page(9) }), [10]);
    assert_eq!(calls(Filter { status: Some(400..=499), ..page(9) }), [10]);
    assert_eq!(calls(Filter { status: Some(200..=200), trunk: Some("beta".into()), ..page(9) }), [0_u64; 0]);
}

#[test]
fn calls_left_open_are_closed_when_they_were_last_alive() {
    let folder = Folder::new("restart");
    let (store, stored) = open(&folder.0).unwrap();
    let records = vec![
        Record::Started(Box::new(started(10))),
        Record::Answered(answered(10)),
        Record::Alive(UnixMicros(40 * SECOND)),
        Record::Started(Box::new(started(50))),
    ];
    write(&store, &stored, records);
    store.close();
    let (store, _) = open(&folder.0).unwrap();
    assert_eq!(store.facts().closed_at_start, 2);
    let found = store.reader().unwrap().cdrs(&page(9)).unwrap().cdrs;
    let brief: Vec<_> =
        found.iter().map(|it| (it.call.0, it.ended.0 / SECOND, it.end.status, it.end.side)).collect();
    assert_eq!(brief, [(50, 50, 0, Side::Gateway), (10, 40, 200, Side::Gateway)]);
    assert!(found.iter().all(|it| it.end.cause == "gateway restarted"));
    assert_eq!(found[1].talked_us(), 28 * SECOND, "nothing is billed beyond what is known");
}

#[test]
fn a_shard_that_restarts_closes_its_own_calls_only() {
    let folder = Folder::new("shard");
    let (store, stored) = open(&folder.0).unwrap();
    let other = started(sample::SHARD_ONE | 2);
    let records = vec![
        Record::Started(Box::new(started(2))),
        Record::Started(Box::new(other)),
        Record::Restarted { shard: sample::shard(2), started: UnixMicros(5 * SECOND) },
        Record::Started(Box::new(started(6))),
        Record::Restarted { shard: sample::shard(2), started: UnixMicros(5 * SECOND) },
    ];
    write(&store, &stored, records);
    let reader = store.reader().unwrap();
    let found = reader.cdrs(&page(9)).unwrap().cdrs;
    assert_eq!(found.iter().map(|it| it.call.0).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_locked_database_is_waited_for_and_nothing_is_lost() {
    let folder = Folder::new("locked");
    let (store, stored) = open(&folder.0).unwrap();
    let intruder = rusqlite::Connection::open(store.path()).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.submit(Write { seq: 1, record: end(1) }).unwrap();
    assert!(stored.recv_timeout(Duration::from_millis(1800)).is_err());
    let failing = store.facts().failing.expect("the trouble is known");
    assert!(failing.contains("trunkline.db") && failing.contains("locked"), "{failing}");
    intruder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(stored.recv_timeout(Duration::from_secs(10)), Ok(1));
    assert_eq!(store.facts().failing, None);
    assert!(store.reader().unwrap().cdr(CallId(1)).unwrap().is_some());
}

#[test]
fn a_store_that_cannot_write_ends_with_the_number_lost() {
    let folder = Folder::new("lost");
    let (store, stored) = open(&folder.0).unwrap();
    let intruder = rusqlite::Connection::open(store.path()).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    for seq in 1..=3 {
        store.submit(Write { seq, record: end(seq) }).unwrap();
    }
    let (lost, why) = store.close().lost.expect("something is lost");
    assert_eq!(lost, 3);
    assert!(why.contains("locked"), "{why}");
    assert!(stored.try_recv().is_err(), "nothing was acknowledged");
}

#[test]
fn a_full_queue_refuses() {
    let folder = Folder::new("queue");
    let options = Options { queue: 2, stored: Box::new(|_| ()) };
    let store = Store::open(&folder.0, options).unwrap();
    let intruder = rusqlite::Connection::open(store.path()).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The writer may take one group before it is stuck.
    let refused =
        (1..=1500).map(|seq| store.submit(Write { seq, record: end(seq) })).filter(|it| *it == Err(Refused));
    assert!(refused.count() > 900);
    intruder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.close().lost, None);
}

#[test]
fn a_folder_in_use_names_the_process() {
    let folder = Folder::new("use");
    let (_store, _) = open(&folder.0).unwrap();
    let error = open(&folder.0).unwrap_err();
    assert!(matches!(error.trouble, Trouble::InUse(Some(pid)) if pid == std::process::id()), "{error}");
    assert!(error.to_string().contains("--data"), "{error}");
}

#[test]
fn unusable_files_say_why() {
    let folder = Folder::new("unusable");
    std::fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("file");
    std::fs::write(&file, "x").unwrap();
    let error = open(&file).unwrap_err();
    assert_eq!(error.path, file);

    let damaged = folder.0.join("damaged");
    std::fs::create_dir_all(&damaged).unwrap();
    std::fs::write(damaged.join("trunkline.db"), vec![b'x'; 5000]).unwrap();
    let error = open(&damaged).unwrap_err();
    assert!(matches!(error.trouble, Trouble::Damaged(_)), "{error}");

    let newer = folder.0.join("newer");
    open(&newer).unwrap().0.close();
    let connection = rusqlite::Connection::open(newer.join("trunkline.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = open(&newer).unwrap_err();
    assert!(matches!(error.trouble, Trouble::Newer(99)), "{error}");
}

#[test]
fn a_long_question_can_be_stopped() {
    let folder = Folder::new("stop");
    let (store, _) = open(&folder.0).unwrap();
    let reader = store.reader().unwrap();
    // Nothing runs yet: stopping does no harm to the next question.
    reader.stopper().stop();
    assert!(reader.cdrs(&page(1)).unwrap().cdrs.is_empty());
}
