//! Peers that share no code with us around the real gateway, on both drivers: SIPp, Kamailio, baresip and linphone, from the
//! distribution's packages. `plain.rs` is SIPp in numbers, with scenario files of its own; the rest plays the flows of
//! RFC 3665 and RFC 5359 one by one and writes what came of it to docs/interop.md.
//!
//! `TRUNKLINE_WRITE_DOCS=1 cargo test --test interop` writes the page; without it the test fails when the page is out
//! of date. `TRUNKLINE_INTEROP=3.7 cargo test --test interop flows` plays those alone whose row has "3.7" in it.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that starts processes"
)]

use place::{DRIVERS, Scene};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A row of the table.
struct Flow {
    /// The clause of the RFC that draws it.
    section: &'static str,
    name: &'static str,
    /// Who takes part, from the caller to the callee.
    peers: &'static str,
    /// Whether the gateway does it; if not, `play` shows what it does instead.
    done: bool,
    play: fn(&Scene),
    /// What the test looks at.
    about: &'static str,
}

/// Rows of the table: section, flow, peers; `yes` or `no` and the function that shows it; what is seen.
macro_rules! rows {
    ($rfc:literal; $($section:literal, $name:literal, $peers:literal, $done:ident $play:path, $about:literal;)*) => {
        vec![$($crate::Flow {
            section: concat!($rfc, " §", $section),
            name: $name,
            peers: $peers,
            done: rows!($done),
            play: $play,
            about: $about,
        }),*]
    };
    (yes) => { true };
    (no) => { false };
}

mod baresip;
mod dns;
mod extensions;
mod gateway;
mod kamailio;
mod linphone;
mod outside;
mod papers;
mod place;
mod plain;
mod register;
mod registrar;
mod rfc3665;
mod rfc5359;
mod scenario;
mod security;
mod sipp;

#[test]
fn flows() {
    let flows: Vec<Flow> =
        [rfc3665::flows(), rfc5359::flows(), extensions::flows()].into_iter().flatten().collect();
    let wanted = std::env::var("TRUNKLINE_INTEROP").unwrap_or_default();
    let runs: Vec<(usize, &'static str)> = flows
        .iter()
        .enumerate()
        .filter(|(_, flow)| [flow.section, flow.name, flow.peers].iter().any(|text| text.contains(&wanted)))
        .flat_map(|(n, _)| DRIVERS.map(|io| (n, io)))
        .collect();
    let failed = play(&flows, &runs);
    assert!(failed.is_empty(), "{} of {} runs failed:\n{}", failed.len(), runs.len(), failed.join("\n\n"));
    if wanted.is_empty() {
        compare(&page(&flows));
    }
}

/// Plays these runs, several at a time since most of them wait most of the time; tells which failed and how.
fn play(flows: &[Flow], runs: &[(usize, &'static str)]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let at_a_time = std::thread::available_parallelism().map_or(2, |cores| cores.get()) * 3;
    std::thread::scope(|scope| {
        for _ in 0..at_a_time.min(runs.len()) {
            scope.spawn(|| {
                while let Some((n, io)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let flow = &flows[*n];
                    let title = format!("{} {}, {} ({io})", flow.section, flow.name, flow.peers);
                    let begun = Instant::now();
                    let scene = Scene::new(&format!("flow-{n}"), io);
                    let outcome =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (flow.play)(&scene)));
                    let seconds = begun.elapsed().as_secs_f32();
                    if let Err(panic) = outcome {
                        let why = panic
                            .downcast_ref::<String>()
                            .map(String::as_str)
                            .or_else(|| panic.downcast_ref::<&str>().copied())
                            .unwrap_or("no reason given");
                        println!("failed {seconds:5.1} s  {title}");
                        failed.lock().unwrap().push(format!("{title}, in {}:\n{why}", scene.dir.display()));
                    } else {
                        println!("ok     {seconds:5.1} s  {title}");
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

/// The page, of flows that all went as they say.
fn page(flows: &[Flow]) -> String {
    let mut page = String::from(
        "# Interoperation: flows of RFC 3665 and RFC 5359 with peers that share no code with us\n\n\
         Written by `TRUNKLINE_WRITE_DOCS=1 cargo test --test interop` from a run of the binary; `tests/run` fails when a flow \
         goes otherwise or this page is out of date. The peers are SIPp, Kamailio, baresip and linphone as packaged by the distribution; each flow was \
         played on both drivers, io_uring and epoll. `no` means that the gateway does not do it: then the test shows what it does instead. \
         The gateway (GW) stands where the RFC draws a proxy.\n",
    );
    let mut rfc = "none";
    for flow in flows {
        let of = flow.section.split(" §").next().unwrap();
        let of = if matches!(of, "RFC 3665" | "RFC 5359") { of } else { "" };
        if of != rfc {
            rfc = of;
            let title = match rfc {
                "RFC 3665" => "RFC 3665: basic call flows",
                "RFC 5359" => "RFC 5359: service examples",
                _ => "Extensions, and transports beyond UDP and TCP",
            };
            let _ = write!(
                page,
                "\n## {title}\n\n| section | flow | peers | done | what is seen |\n|---|---|---|---|---|\n"
            );
        }
        let done = if flow.done { "yes" } else { "no" };
        let section = if of.is_empty() { flow.section } else { &flow.section[of.len() + " §".len()..] };
        let _ = writeln!(page, "| {section} | {} | {} | {done} | {} |", flow.name, flow.peers, flow.about);
    }
    page
}

fn compare(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/interop.md");
    if std::env::var_os("TRUNKLINE_WRITE_DOCS").is_some() {
        std::fs::write(path, page).unwrap();
    } else {
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            stored == page,
            "docs/interop.md is out of date: TRUNKLINE_WRITE_DOCS=1 cargo test --test interop writes it"
        );
    }
}
