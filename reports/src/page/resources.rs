//! Page 7: what each process used, and what a call costs.

use super::block::{Block, Cell, Section, Table};
use super::{Context, timeline};
use crate::number;
use crate::svg::{Panel, Shape};

pub(super) fn section(context: &Context<'_>) -> Section {
    let (t, result) = (context.t, &context.folder.result);
    let cost = &result.resources.cost;
    let mut section = Section::new("resources", t.get("resources.title"), t.get("resources.lead"));
    section.push(Block::Facts(vec![
        (t.get("resources.cores-per-1000").to_owned(), Cell::significant(t, cost.cores_per_1000_calls)),
        (
            t.get("resources.cpu-per-1000").to_owned(),
            Cell::of(t, cost.cpu_s_per_1000_setups, |s| format!("{} s", number::significant(s))),
        ),
        (t.get("resources.memory-per-call").to_owned(), Cell::bytes(t, cost.memory_per_call)),
        (t.get("resources.fds-per-call").to_owned(), Cell::significant(t, cost.fds_per_call)),
        (
            t.get("resources.packets-per-cpu").to_owned(),
            Cell::of(t, cost.packets_per_cpu_s, |p| number::fixed(p, 0)),
        ),
        (t.get("resources.method").to_owned(), Cell::words(t, cost.method.as_deref())),
    ]));
    section.table(processes(context));
    if let Some(figure) = over_time(context) {
        section.push(Block::Figure(figure));
    }
    section
}

fn processes(context: &Context<'_>) -> Table {
    let t = context.t;
    let mut table = Table::new(t.get("resources.processes"))
        .column(t.get("process"))
        .column(t.get("resources.role"))
        .figures(t.get("resources.user"))
        .figures(t.get("resources.system"))
        .figures(t.get("resources.cores"))
        .figures(t.get("resources.cores-peak"))
        .figures(t.get("resources.rss-peak"))
        .figures(t.get("resources.rss-end"))
        .figures(t.get("resources.fds"))
        .figures(t.get("resources.threads"));
    for p in &context.folder.result.resources.processes {
        table.row(vec![
            Cell::text(t.known("process", &p.name, &p.name)),
            Cell::text(t.known("role", &p.role, &p.role)),
            Cell::of(t, p.cpu_user_s, |s| format!("{} s", number::fixed(s, 2))),
            Cell::of(t, p.cpu_system_s, |s| format!("{} s", number::fixed(s, 2))),
            Cell::of(t, p.cores(), |cores| number::fixed(cores, 2)),
            Cell::of(t, p.cpu_peak_cores, |cores| number::fixed(cores, 2)),
            Cell::bytes(t, p.rss_peak.map(|bytes| bytes as f64)),
            Cell::bytes(t, p.rss_end.map(|bytes| bytes as f64)),
            Cell::count(t, p.fds_peak),
            Cell::count(t, p.threads.map(u64::from)),
        ]);
    }
    table.note(t.get("resources.processes-note"))
}

fn over_time(context: &Context<'_>) -> Option<super::block::Figure> {
    let t = context.t;
    const MIB: f64 = 1024.0 * 1024.0;
    timeline::figure(
        context,
        t.get("resources.figure"),
        timeline::range(context),
        0.0,
        vec![
            Panel::new(
                t.get("panel.cores"),
                "",
                120.0,
                timeline::lines_by_name(context, "process", Shape::Stacked, |p| &p.cores, |cores: f64| cores),
            ),
            Panel::new(
                t.get("panel.rss"),
                "MiB",
                90.0,
                timeline::lines_by_name(
                    context,
                    "process",
                    Shape::Line,
                    |p| &p.rss,
                    |bytes: u64| bytes as f64 / MIB,
                ),
            ),
            Panel::new(
                t.get("panel.fds"),
                "",
                70.0,
                timeline::lines_by_name(context, "process", Shape::Line, |p| &p.fds, |fds: u64| fds as f64),
            ),
        ],
        false,
    )
}
