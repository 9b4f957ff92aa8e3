//! The repository holds its own rules: who imports whom, cores without IO, every knob documented, every plan sound.
//! It prints the largest files and functions as a hint for the next tidy-up, and fails on none of them.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, reason = "a test that reads files")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// ARCHITECTURE.md, "Crates and who may import whom".
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("sansio", &[]),
    ("stun", &[]),
    ("sip", &["sansio", "stun"]),
    ("rtp", &["sansio", "stun"]),
    ("media", &["sansio"]),
    ("stir", &[]),
    ("locate", &["sansio"]),
    ("link", &[]),
    ("ladder", &["link"]),
    ("switch", &["sansio", "sip", "rtp", "media", "locate", "stir", "link"]),
    ("control", &["sansio", "link"]),
    ("driver", &["sansio"]),
    ("secure", &["sansio", "rtp"]),
    ("store", &["link"]),
    ("gatewayd", &["sansio", "sip", "rtp", "media", "locate", "stir", "switch", "driver", "secure", "link"]),
    ("controld", &["sansio", "link", "ladder", "control", "store"]),
    ("reports", &[]),
    ("kernel-tuning", &[]),
    ("loadgen", &["sansio", "sip", "rtp", "media", "driver", "reports", "kernel-tuning"]),
    ("sim", &["sansio", "sip", "rtp", "media", "locate", "link", "switch", "control", "secure", "stir"]),
];

/// The crates that decide and never touch the world.
const CORES: &[&str] = &[
    "gateway/sansio",
    "gateway/stun",
    "gateway/sip",
    "gateway/rtp",
    "gateway/media",
    "gateway/stir",
    "gateway/locate",
    "gateway/switch",
    "control/link",
    "control/ladder",
    "control/engine",
];

/// Cores that use `ring` or libopus, which are C and assembly: they would need a C compiler for that machine.
const WITH_C: &[&str] = &["gateway/rtp", "gateway/media", "gateway/stir", "gateway/switch"];

/// What no core may name, outside its tests.
const WORLD: &[&str] = &[
    "std::net::UdpSocket",
    "std::net::Tcp",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "std::time::Instant",
    "Instant::now",
    "SystemTime",
    "std::thread",
    "thread::sleep",
    "std::fs",
    "std::io::",
    "std::process",
    "std::env",
    "libc::",
    "RandomState",
    "rand::",
    "getrandom",
    "println!",
    "eprintln!",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(under: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(under) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                rust_files(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn all_rust_files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    rust_files(&root(), &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text)
        })
        .collect()
}

/// The code of a file without comments and without what is compiled for tests only.
fn code(text: &str) -> String {
    // A module for tests stands at the end of its file; there may be further attributes between the two lines.
    let tests = text.match_indices("#[cfg(test)]").map(|(at, _)| at).find(|at| {
        text[*at..]
            .lines()
            .skip(1)
            .find(|line| !line.starts_with("#["))
            .is_some_and(|line| line.starts_with("mod "))
    });
    let body = &text[..tests.unwrap_or(text.len())];
    body.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.starts_with("tests/") || path.ends_with("/tests.rs")
}

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        seen.insert(name.to_owned());
        if name == "trunkline" {
            continue;
        }
        let may = allowed.get(name).unwrap_or_else(|| panic!("crate {name} is not in the table"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let imported = dependency["name"].as_str().unwrap();
            let inside = dependency["path"].is_string();
            let for_tests = dependency["kind"] == "dev";
            assert!(
                !inside || for_tests || may.contains(&imported),
                "{name} imports {imported}; ARCHITECTURE.md does not allow it"
            );
            assert!(imported != "trunkline", "{name} imports the root package");
            assert!(imported != "tokio" || name == "controld" || for_tests, "tokio lives in controld alone");
        }
    }
    for (name, _) in MAY_IMPORT {
        assert!(seen.contains(*name), "{name} is in the table and not in the workspace");
    }
    for bad in ["core", "common", "util", "utils", "helpers", "ring"] {
        assert!(!seen.contains(bad), "no crate is named {bad}");
    }
}

#[test]
fn cores_touch_nothing_of_the_world() {
    let mut offences = Vec::new();
    for (path, text) in all_rust_files() {
        if !CORES.iter().any(|core| path.starts_with(&format!("{core}/src/"))) || is_test_file(&path) {
            continue;
        }
        for (number, line) in code(&text).lines().enumerate() {
            // Writing text onto a Vec is no input or output, whatever the trait is called.
            let line = line.replace("std::io::Write", "");
            // Nor is a trait of randomness that others give.
            let line = line.replace("ring::rand::SecureRandom", "");
            for word in WORLD.iter().filter(|word| line.contains(**word)) {
                offences.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert!(offences.is_empty(), "cores that touch the world:\n{}", offences.join("\n"));
}

#[test]
fn cores_build_where_there_is_no_operating_system() {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    let has_wasm =
        installed.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("wasm32-unknown-unknown"));
    if !has_wasm {
        println!("wasm32-unknown-unknown is not installed: the import check stands in for it");
        return;
    }
    let target = root().join("target/house-wasm");
    for core in CORES.iter().filter(|core| !WITH_C.contains(core)) {
        let status = Command::new(env!("CARGO"))
            .args(["check", "--offline", "--lib", "--target", "wasm32-unknown-unknown", "--target-dir"])
            .arg(&target)
            .current_dir(root().join(core))
            .status()
            .unwrap();
        assert!(status.success(), "{core} does not build for wasm32-unknown-unknown");
    }
}

#[test]
fn unsafe_code_lives_in_the_driver_alone() {
    for (path, text) in all_rust_files() {
        // What stands between quotes is text.
        let code: String = code(&text).split('"').step_by(2).collect();
        let opens =
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("allow(unsafe_code");
        assert!(
            !opens || path.starts_with("gateway/driver/") || path == "tests/house.rs",
            "{path}: unsafe code"
        );
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in all_rust_files() {
        let first = text.lines().next().unwrap_or("");
        assert!(
            first.starts_with("//! ") && first.len() > 12,
            "{path}: the first line says nothing: {first:?}"
        );
    }
}

#[test]
fn every_configuration_key_is_documented_and_the_example_is_the_default() {
    let example = fs::read_to_string(root().join("gateway/daemon/gateway.example.toml")).unwrap();
    let read = |name: &str| fs::read_to_string(root().join("gateway/daemon/src").join(name)).unwrap();
    // Of these what stands before their settings.
    let (stir, realm) = (read("stir.rs"), read("realm.rs"));
    let source = read("config.rs")
        + &read("profile.rs")
        + &read("guard.rs")
        + &read("nat.rs")
        + read("outside.rs").split("#[cfg(test)]").next().unwrap()
        + stir.split("pub struct StirSettings").next().unwrap()
        + realm.split("pub struct RealmAddresses").next().unwrap();
    let mut missing = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let Some(field) = line.strip_prefix("    pub ").and_then(|rest| rest.split_once(':')) else {
            continue;
        };
        if field.0.contains(['(', ' ']) {
            continue;
        }
        let tables = [
            ("users", "[[user]]"),
            ("profiles", "[[profile]]"),
            ("numbers", "# numbers."),
            ("headers", "# headers."),
            ("trunks", "[[trunk]]"),
            ("groups", "[[group]]"),
            ("routes", "[[route]]"),
            ("fraud", "[[fraud]]"),
            ("realms", "[[realm]]"),
        ];
        let table = tables.iter().find(|(name, _)| *name == field.0).map(|(_, table)| *table);
        let key = table.map_or_else(|| format!("{} = ", field.0), str::to_owned);
        let section = format!("[{}]", field.0);
        if !example.contains(&key) && !example.contains(&section) {
            missing.push(format!("config.rs:{}: {}", number + 1, field.0));
        }
    }
    assert!(missing.is_empty(), "keys that the example does not show:\n{}", missing.join("\n"));
    let shown = gatewayd::File::parse(&example).unwrap();
    assert_eq!(
        format!("{shown:?}"),
        format!("{:?}", gatewayd::File::default()),
        "the example is not the default"
    );
    // What is commented out has to be good too.
    let uncommented: String = example
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with("[[") || rest.split(' ').nth(1) == Some("=") => rest,
            _ => line,
        })
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut all = gatewayd::File::parse(&uncommented).unwrap();
    assert_eq!((all.trunks.len(), all.groups.len(), all.routes.len()), (1, 1, 1));
    assert_eq!((all.profiles.len(), all.fraud.len(), all.realms.len()), (1, 1, 1));
    all.trunks.push(gatewayd::Trunk::new("carrier-b", "192.0.2.20:5060"));
    all.trunks.push(gatewayd::Trunk::new("carrier-c", "192.0.2.30:5060"));
    gatewayd::Settings::resolve(&all, "gateway.example.toml").unwrap();
}

#[test]
fn every_counter_stands_in_the_list_of_metrics() {
    let list = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let mut missing = Vec::new();
    for (path, prefix) in [("gateway/switch/src/stats.rs", ""), ("gateway/sip/src/stats.rs", "sip_")] {
        let source = fs::read_to_string(root().join(path)).unwrap();
        let declared =
            source.split("\ncounters! {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
        let names = declared.lines().filter_map(|line| line.trim().strip_suffix(','));
        for name in names.filter(|name| !name.starts_with("///")) {
            if !list.contains(&format!("`trunkline_{prefix}{name}_total`")) {
                missing.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "counters that docs/metrics.md does not list:\n{}", missing.join("\n"));
}

#[test]
fn every_plan_parses() {
    let mut plans = 0;
    for entry in fs::read_dir(root().join("loadgen/plans")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.display().to_string();
        loadgen::plan::Plan::parse(&shown, &text).unwrap_or_else(|error| panic!("{error}"));
        plans += 1;
    }
    assert!(plans >= 3, "{plans} plans");
}

#[test]
fn nothing_unfinished_is_left_behind() {
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X "].concat(),
        ["todo", "!("].concat(),
        ["unimpl", "emented!("].concat(),
    ];
    for (path, text) in all_rust_files() {
        for (number, line) in text.lines().enumerate() {
            for mark in &marks {
                assert!(!line.contains(mark.as_str()), "{path}:{}: {mark}", number + 1);
            }
        }
    }
}

/// Prints hints, fails on nothing: see it with `cargo house`.
#[test]
fn hints_for_the_next_tidy_up() {
    let files: Vec<_> = all_rust_files().into_iter().filter(|(path, _)| !is_test_file(path)).collect();
    let mut sizes: Vec<_> = files.iter().map(|(path, text)| (text.lines().count(), path.clone())).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    println!("largest files:");
    for (lines, path) in sizes.iter().take(10) {
        println!("{lines:6} {path}");
    }
    let mut functions: Vec<(usize, String)> =
        files.iter().flat_map(|(path, text)| functions(path, text)).collect();
    functions.sort_unstable_by(|a, b| b.cmp(a));
    println!("largest functions:");
    for (lines, name) in functions.iter().take(10) {
        println!("{lines:6} {name}");
    }
    println!("RFC clauses cited in code and in no test:");
    let all = all_rust_files();
    let cited = |tests: bool| -> BTreeSet<String> {
        all.iter()
            .flat_map(|(path, text)| {
                let split =
                    text.split_once("#[cfg(test)]\nmod ").map_or((text.as_str(), ""), |(a, b)| (a, b));
                match (is_test_file(path), tests) {
                    (true, true) => clauses(text),
                    (true, false) => BTreeSet::new(),
                    (false, true) => clauses(split.1),
                    (false, false) => clauses(split.0),
                }
            })
            .collect()
    };
    let tested = cited(true);
    let untested: Vec<_> = cited(false).into_iter().filter(|clause| !tested.contains(clause)).collect();
    println!("       {}", untested.join(", "));
}

fn functions(path: &str, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let trimmed = line.trim_start();
        if open.is_none() && !trimmed.starts_with("//") {
            if let Some(at) = trimmed.find("fn ").filter(|at| *at < 24 && !trimmed.ends_with(';')) {
                let name = trimmed[at + 3..].split(['(', '<']).next().unwrap_or("").to_owned();
                open = Some((number, indent, name));
            }
        } else if let Some((start, depth, name)) = &open
            && trimmed == "}"
            && indent == *depth
        {
            found.push((number - start + 1, format!("{path}:{} {name}", start + 1)));
            open = None;
        }
    }
    found
}

fn clauses(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in text.split("RFC ").skip(1) {
        let clause: String =
            part.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | '§' | ' ')).collect();
        if let Some((rfc, section)) = clause.split_once(" §") {
            let section = section.split(' ').next().unwrap_or("").trim_end_matches('.');
            found.insert(format!("RFC {rfc} §{section}"));
        }
    }
    found
}
