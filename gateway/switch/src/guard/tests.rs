//! The guard: limits by kind, bans that grow, and exemptions that hold whatever happens.

use super::*;

fn guard(config: &Config) -> Guard {
    Guard::new(config, &mut Random::new(3))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const INVITE: &[u8] = b"INVITE sip:1@h SIP/2.0\r\n\r\n";

#[test]
fn each_kind_has_its_own_limit_and_all_share_one() {
    let config = Config {
        datagrams: Rate::new(1, 100),
        invites: Rate::new(1, 10),
        registers: Rate::new(1, 20),
        others: Rate::new(1, 5),
        ..Config::default()
    };
    let mut guard = guard(&config);
    let now = Time::from_millis(1000);
    let mut count = |bytes: &[u8], tries: u32, wanted: Verdict| {
        (0..tries).filter(|_| guard.judge(now, ip("192.0.2.1"), bytes, &config) == wanted).count()
    };
    assert_eq!(count(INVITE, 15, Verdict::Pass), 10);
    assert_eq!(count(INVITE, 5, Verdict::Invites), 5);
    assert_eq!(count(b"REGISTER sip:h SIP/2.0\r\n", 25, Verdict::Pass), 20);
    assert_eq!(count(b"OPTIONS sip:h SIP/2.0\r\n", 10, Verdict::Others), 5);
    // 55 are gone: what belongs to something before has what is left, and no limit of its own.
    assert_eq!(count(b"BYE sip:h SIP/2.0\r\n", 20, Verdict::Pass), 20);
    assert_eq!(count(b"SIP/2.0 200 OK\r\n", 100, Verdict::Pass), 25);
    assert_eq!(count(b"\r\n\r\n", 3, Verdict::Flood), 3);
    assert_eq!(guard.judge(now, ip("192.0.2.2"), INVITE, &config), Verdict::Pass, "another source");
}

#[test]
fn an_ipv6_network_shares_its_limit() {
    let config = Config { invites: Rate::new(1, 4), ..Config::default() };
    let mut guard = guard(&config);
    let now = Time::from_millis(1000);
    let passed = (0..50)
        .filter(|n| guard.judge(now, ip(&format!("2001:db8:0:1::{n:x}")), INVITE, &config) == Verdict::Pass)
        .count();
    assert_eq!(passed, 4);
    assert_eq!(guard.judge(now, ip("2001:db8:0:2::1"), INVITE, &config), Verdict::Pass);
}

#[test]
fn bans_double_up_to_the_longest_and_are_forgiven_in_time() {
    let config =
        Config { ban: Duration::from_secs(60), ban_max: Duration::from_secs(300), ..Config::default() };
    let mut guard = guard(&config);
    let mut now = Time::from_millis(1000);
    let mut spans = Vec::new();
    for _ in 0..5 {
        let sentence = guard.offend(now, ip("192.0.2.1"), BanReason::Scanner, 1, &config).unwrap();
        spans.push(sentence.span.as_secs());
        assert_eq!(guard.judge(now, ip("192.0.2.1"), b"", &config), Verdict::Banned);
        assert!(
            guard.offend(now, ip("192.0.2.1"), BanReason::Scanner, 1, &config).is_none(),
            "one at a time"
        );
        now = sentence.until + Duration::from_secs(1);
        assert_eq!(guard.judge(now, ip("192.0.2.1"), b"", &config), Verdict::Pass);
    }
    assert_eq!(spans, [60, 120, 240, 300, 300]);
    now += Duration::from_secs(4 * 300);
    assert_eq!(
        guard.offend(now, ip("192.0.2.1"), BanReason::Scanner, 1, &config).unwrap().span.as_secs(),
        60
    );
}

#[test]
fn offences_count_within_their_window_and_by_reason() {
    let config = Config { auth_failures: 3, malformed: 3, refusals: 0, ..Config::default() };
    let mut guard = guard(&config);
    let source = ip("192.0.2.1");
    let mut offend = |second: u64, reason, count| {
        guard.offend(Time::from_millis(second * 1000), source, reason, count, &config).is_some()
    };
    assert!(!offend(1, BanReason::Authentication, 2));
    assert!(!offend(2, BanReason::Malformed, 2), "reasons are not added up");
    assert!(!offend(62, BanReason::Authentication, 2), "those of a minute ago are forgotten");
    assert!(!offend(63, BanReason::Refused, 10_000), "0: never");
    assert!(offend(64, BanReason::Authentication, 1));
}

#[test]
fn a_ban_of_another_shard_holds_and_can_be_lifted() {
    let config = Config::default();
    let (mut here, mut there) = (guard(&config), guard(&config));
    let now = Time::from_millis(1000);
    let sentence = here.offend(now, ip("2001:db8::1"), BanReason::Scanner, 1, &config).unwrap();
    there.ban(now, &sentence);
    assert!(there.is_banned(now, ip("2001:db8::77")));
    assert_eq!(there.banned(now), 1);
    there.lift(now, Some(ip("2001:db8::5")), &config);
    assert!(!there.is_banned(now, ip("2001:db8::1")));
    assert_eq!(there.offend(now, ip("2001:db8::1"), BanReason::Scanner, 1, &config).unwrap().times, 1);
    here.lift(now, None, &config);
    assert_eq!(here.banned(now), 0);
}

#[test]
fn peers_allowed_and_never_limited_are_known_in_every_spelling() {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Network>>();
    let known = Known::new(
        &networks(&["10.0.0.0/8"]),
        &networks(&["198.51.100.0/24", "2001:db8::/32"]),
        [ip("192.0.2.9"), ip("::ffff:192.0.2.10")].into_iter(),
    );
    for (address, standing) in [
        ("10.1.2.3", Standing::Allowed),
        ("::ffff:10.1.2.3", Standing::Allowed),
        ("192.0.2.9", Standing::Allowed),
        ("::ffff:192.0.2.9", Standing::Allowed),
        ("192.0.2.10", Standing::Allowed),
        ("198.51.100.7", Standing::NeverLimited),
        ("2001:db8:7::1", Standing::NeverLimited),
        ("192.0.2.11", Standing::Unknown),
        ("2001:db9::1", Standing::Unknown),
    ] {
        assert_eq!(known.standing(ip(address)), standing, "{address}");
    }
    assert!(known.is_trusted(ip("192.0.2.9")) && known.is_trusted(ip("198.51.100.7")));
    assert!(!known.is_trusted(ip("10.1.2.3")), "an allowed customer may be defrauded");
}

/// Passes over so many shards of a source that sends `per_second` for ten seconds, spread over them by `spread`.
fn passed(
    shards: usize,
    per_second: u64,
    config: &Config,
    spread: impl Fn(u64, &mut Random) -> usize,
) -> u64 {
    let mut random = Random::new(per_second);
    let mut guards: Vec<Guard> =
        (0..shards as u64).map(|n| Guard::new(config, &mut Random::new(n))).collect();
    let begun = Time::from_millis(1000);
    let mut passed = 0;
    for n in 0..per_second * 10 {
        let now = begun + Duration::from_micros(n * 1_000_000 / per_second);
        let shard = spread(n, &mut random) % shards;
        passed += u64::from(guards[shard].judge(now, ip("192.0.2.1"), INVITE, config) == Verdict::Pass);
    }
    passed
}

/// The limit holds for the process, however many shards there are and however a source is spread over them: at most the
/// burst, the rate, and a twentieth of a second's worth per shard; and not less by more than that.
#[test]
fn limits_hold_for_all_shards_together() {
    for (invites, offered) in [
        (Rate::new(20, 100), 1000),
        (Rate::new(200, 1000), 5000),
        (Rate::new(200, 20), 5000),
        (Rate::new(1, 1), 300),
        (Rate::new(1000, 100), 8000),
    ] {
        for shards in [1, 2, 3, 4, 16_usize] {
            let config = || Config {
                invites,
                datagrams: Rate::new(0, 1),
                shared: (shards > 1).then(|| Arc::new(Tallies::new(1024, [5, 6]))),
                ..Config::default()
            };
            let most = u64::from(invites.burst) + 10 * u64::from(invites.per_second);
            let slack = shards as u64 * u64::from(tally::batch(invites)) + 1;
            let all: [(&str, u64); 4] = [
                ("one", passed(shards, offered, &config(), |_, _| 0)),
                ("in turn", passed(shards, offered, &config(), |n, _| n as usize)),
                ("by chance", passed(shards, offered, &config(), |_, random| random.below(64) as usize)),
                ("one after the other", passed(shards, offered, &config(), |n, _| (n / 500) as usize)),
            ];
            for (how, passed) in all {
                assert!(passed <= most + slack, "{how}: {passed} of {most} by {shards} shards, {invites:?}");
                assert!(
                    passed + slack >= most * 95 / 100,
                    "{how}: {passed} of {most} by {shards}, {invites:?}"
                );
            }
        }
    }
}

/// Who stays below the limit is not held up, however many shards take a part of it.
#[test]
fn who_stays_below_the_limit_passes_over_any_number_of_shards() {
    for shards in [1, 2, 4, 16_usize] {
        let config = Config {
            invites: Rate::new(200, 400),
            datagrams: Rate::new(400, 800),
            shared: Some(Arc::new(Tallies::new(64, [5, 6]))),
            ..Config::default()
        };
        let passed = passed(shards, 190, &config, |_, random| random.below(64) as usize);
        assert_eq!(passed, 1900, "{shards} shards");
    }
}

#[test]
fn offences_on_several_shards_are_held_against_a_source_together() {
    let config =
        Config { refusals: 10, shared: Some(Arc::new(Tallies::new(64, [5, 6]))), ..Config::default() };
    let mut guards: Vec<Guard> = (0..4).map(|n| Guard::new(&config, &mut Random::new(n))).collect();
    let now = Time::from_millis(1000);
    for round in 1..=2_usize {
        let mut offend =
            |n: usize| guards[n % 4].offend(now, ip("192.0.2.1"), BanReason::Refused, 1, &config);
        assert!((0..9).all(|n| offend(n).is_none()), "{round}");
        let sentence = offend(9).unwrap();
        assert_eq!(sentence.times, 1);
        for guard in &mut guards {
            guard.ban(now, &sentence);
            assert!(guard.is_banned(now, ip("192.0.2.1")));
            guard.lift(now, Some(ip("192.0.2.1")), &config);
        }
    }
}
