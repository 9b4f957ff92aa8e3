//! Page 2: the object under test, and where it stood.

use super::Context;
use super::block::{Block, Cell, Section, Table};
use crate::number;

pub(super) fn section(context: &Context<'_>) -> Section {
    let (t, result) = (context.t, &context.folder.result);
    let placement = result.environment.placement.as_deref().map(|words| t.known("placement", words, words));
    let (target, host) = (&result.target, &result.environment);
    let mut section = Section::new("environment", t.get("environment.title"), t.get("environment.lead"));

    section.push(Block::Heading(t.get("environment.object").to_owned()));
    let media = target.relays_media.map(|relays| if relays { t.get("yes") } else { t.get("no") });
    section.push(Block::Facts(vec![
        (
            t.get("environment.name").to_owned(),
            Cell::words(t, Some(&t.known("target", &target.name, &target.name))),
        ),
        (t.get("environment.version").to_owned(), Cell::words(t, target.version.as_deref())),
        (t.get("environment.address").to_owned(), Cell::words(t, Some(&target.address))),
        (t.get("environment.relays").to_owned(), Cell::words(t, media)),
        (t.get("environment.codec").to_owned(), Cell::words(t, target.codec.as_deref())),
        (
            t.get("environment.packet-time").to_owned(),
            Cell::words(t, target.packet_ms.map(|ms| format!("{ms} ms")).as_deref()),
        ),
        (t.get("environment.placement").to_owned(), Cell::words(t, placement.as_deref())),
    ]));

    if let Some(configuration) = target.configuration.as_deref().filter(|text| !text.is_empty()) {
        let title = t.get("environment.configuration").to_owned();
        section.push(Block::Pre { title, text: configuration.to_owned() });
    }

    section.push(Block::Heading(t.get("environment.host-title").to_owned()));
    section.push(Block::Facts(vec![
        (t.get("environment.host").to_owned(), Cell::words(t, host.host.as_deref())),
        (t.get("environment.os").to_owned(), Cell::words(t, host.os.as_deref())),
        (t.get("environment.kernel").to_owned(), Cell::words(t, host.kernel.as_deref())),
        (t.get("environment.cpu").to_owned(), Cell::words(t, host.cpu.as_deref())),
        (t.get("environment.cores").to_owned(), Cell::count(t, host.cores.map(u64::from))),
        (t.get("environment.memory").to_owned(), Cell::bytes(t, host.memory_bytes.map(|bytes| bytes as f64))),
        (t.get("environment.vm").to_owned(), Cell::words(t, host.virtual_machine.as_deref())),
        (t.get("environment.container").to_owned(), Cell::words(t, host.container.as_deref())),
        (t.get("environment.governor").to_owned(), Cell::words(t, host.governor.as_deref())),
        (t.get("environment.steal").to_owned(), Cell::percent(t, host.steal.map(|share| share * 100.0))),
        (t.get("environment.tuning").to_owned(), Cell::words(t, host.tuning.as_deref())),
    ]));

    let mut io = Table::new(t.get("environment.io-caption"))
        .column(t.get("process"))
        .column(t.get("environment.io-mode"))
        .figures(t.get("environment.workers"))
        .column(t.get("environment.scheduling"))
        .column(t.get("environment.io-note"));
    for mode in &host.io {
        io.row(vec![
            Cell::text(t.known("process", &mode.process, &mode.process)),
            Cell::Code(mode.mode.clone()),
            mode.workers.map_or_else(
                || Cell::Missing(t.get("unknown").to_owned()),
                |workers| Cell::number(number::grouped(u64::from(workers))),
            ),
            if mode.scheduling.is_empty() {
                Cell::Missing(t.get("unknown").to_owned())
            } else {
                Cell::Code(mode.scheduling.clone())
            },
            Cell::text(mode.note.clone()),
        ]);
    }
    section.table(io);

    let settings: Vec<(String, Cell)> = host
        .limits
        .iter()
        .chain(&host.sysctls)
        .chain(&host.notes)
        .map(|(name, value)| (name.clone(), Cell::Code(value.clone())))
        .collect();
    if !settings.is_empty() {
        section.push(Block::Heading(t.get("environment.settings-caption").to_owned()));
        section.push(Block::Facts(settings));
    }
    section
}
