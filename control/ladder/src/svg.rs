//! The ladder as SVG: lifelines, arrows coloured by what they say, the whole message as each arrow's title.

use crate::{Ladder, Step};
use std::fmt::Write;

/// Distance between two lifelines, in CSS pixels.
const SPAN: f64 = 250.0;
/// Left edge to the first lifeline: room for the times.
const LEFT: f64 = 190.0;
/// Last lifeline to the right edge.
const RIGHT: f64 = 130.0;
/// Height of a message's row.
const ROW: f64 = 34.0;
/// Height of the note that stands for a pause.
const PAUSE: f64 = 30.0;
/// Top edge to the first row.
const TOP: f64 = 150.0;
/// A pause of this many milliseconds is shown as one.
const PAUSE_MS: f64 = 1000.0;

const STYLE: &str = "\
text{font-family:ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','Liberation Sans',sans-serif;fill:var(--ink)}
svg{--paper:#fbfbfa;--ink:#1f2328;--faint:#6e7781;--line:#d0d5da;--head:#ffffff;--request:#0b62c4;--progress:#6b7280;--good:#16803c;\
--redirect:#9a6700;--bad:#c5221f;--hover:#0b62c412}
@media(prefers-color-scheme:dark){svg{--paper:#15181c;--ink:#e6e9ec;--faint:#98a1ab;--line:#3a424b;--head:#1f242a;--request:#6cb2ff;\
--progress:#a3acb5;--good:#5bd17f;--redirect:#e0b040;--bad:#ff857a;--hover:#6cb2ff1c}}
.paper{fill:var(--paper)}.title{font-size:17px;font-weight:600}.under{font-size:12.5px;fill:var(--faint)}
.life{stroke:var(--line);stroke-width:1.5}.head{fill:var(--head);stroke:var(--line)}.who{font-size:14px;font-weight:600}
.where,.time,.small{font-size:11.5px;fill:var(--faint);font-variant-numeric:tabular-nums}.time{font-size:12px}
.words{font-size:13px;font-weight:500;paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
.tag{font-size:10.5px;fill:var(--faint);font-weight:400}.arrow{stroke-width:1.7;fill:none}.tip{stroke:none}.row{fill:transparent}
g.step:hover .row{fill:var(--hover)}g.step{cursor:help}.again .arrow{stroke-dasharray:5 4}.again .words{font-style:italic}
.pause{stroke:var(--line);stroke-dasharray:2 4}.gateway .head{stroke:var(--request)}
.request .arrow{stroke:var(--request)}.request .tip,.request .words{fill:var(--request)}
.progress .arrow{stroke:var(--progress)}.progress .tip,.progress .words{fill:var(--progress)}
.good .arrow{stroke:var(--good)}.good .tip,.good .words{fill:var(--good)}
.redirect .arrow{stroke:var(--redirect)}.redirect .tip,.redirect .words{fill:var(--redirect)}
.bad .arrow{stroke:var(--bad)}.bad .tip,.bad .words{fill:var(--bad)}";

/// What colours an arrow, and the word for it in the legend.
const KINDS: [(&str, &str); 5] = [
    ("request", "request"),
    ("progress", "1xx in progress"),
    ("good", "2xx success"),
    ("redirect", "3xx redirected, 401 and 407 challenged"),
    ("bad", "4xx to 6xx failed"),
];

fn kind(step: &Step) -> &'static str {
    match step.status {
        None => "request",
        Some(100..=199) => "progress",
        Some(200..=299) => "good",
        Some(300..=399 | 401 | 407) => "redirect",
        Some(_) => "bad",
    }
}

pub(crate) fn draw(ladder: &Ladder) -> String {
    let columns = ladder.columns();
    let width = (LEFT + SPAN * columns.len().saturating_sub(1) as f64 + RIGHT).max(960.0);
    let x = |column: usize| LEFT + SPAN * column as f64;
    let pauses = ladder.messages.windows(2).filter(|two| pause(&two[0], &two[1])).count();
    let bottom = TOP + ROW * ladder.messages.len() as f64 + PAUSE * pauses as f64 + 10.0;
    let height = bottom + 64.0;
    let mut out = String::with_capacity(4096 + 2048 * ladder.messages.len());
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-label=\"{0}\"><title>{0}</title><style>{STYLE}</style>\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>",
        Escaped(&ladder.heading())
    );
    let name = ladder.call.map_or_else(|| "Signalling".to_owned(), |call| format!("Call {call}"));
    let cut = if ladder.truncated { " · older messages are left out" } else { "" };
    let _ = write!(
        out,
        "<text class=\"title\" x=\"24\" y=\"36\">{name}</text><text class=\"under\" x=\"24\" y=\"57\">{} messages from {}{cut}\
         </text>",
        ladder.messages.len(),
        Escaped(&ladder.started)
    );
    for (at, (title, address)) in columns.iter().enumerate() {
        let class = if at == columns.len().min(2) - 1 && title == "gateway" { "gateway" } else { "party" };
        let _ = write!(
            out,
            "<g class=\"{class}\"><line class=\"life\" x1=\"{0}\" y1=\"128\" x2=\"{0}\" y2=\"{bottom}\"/>\
             <rect class=\"head\" x=\"{1}\" y=\"82\" width=\"196\" height=\"46\" rx=\"8\"/>\
             <text class=\"who\" x=\"{0}\" y=\"102\" text-anchor=\"middle\">{2}</text>\
             <text class=\"where\" x=\"{0}\" y=\"119\" text-anchor=\"middle\">{3}</text></g>",
            x(at),
            x(at) - 98.0,
            Escaped(&shortened(title, 24)),
            Escaped(&shortened(address, 34))
        );
    }
    let mut y = TOP;
    for (at, step) in ladder.messages.iter().enumerate() {
        if let Some(before) = at.checked_sub(1).map(|at| &ladder.messages[at])
            && pause(before, step)
        {
            let middle = y + PAUSE / 2.0;
            let _ = write!(
                out,
                "<line class=\"pause\" x1=\"{LEFT}\" y1=\"{middle}\" x2=\"{}\" y2=\"{middle}\"/>\
                 <text class=\"small\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.1} s later</text>",
                x(columns.len() - 1),
                LEFT - 114.0 + 96.0,
                middle + 4.0,
                (step.offset_ms - before.offset_ms) / 1e3
            );
            y += PAUSE;
        }
        row(&mut out, step, y, width, (x(1), x(ladder.column(step.leg))));
        y += ROW;
    }
    legend(&mut out, bottom + 36.0);
    out.push_str("</svg>\n");
    out
}

fn pause(before: &Step, after: &Step) -> bool {
    after.offset_ms - before.offset_ms >= PAUSE_MS
}

/// One message: its time, its arrow between the gateway and a party, its words.
fn row(out: &mut String, step: &Step, y: f64, width: f64, (own, other): (f64, f64)) {
    let (from, to) = if step.is_sent() { (own, other) } else { (other, own) };
    let again = if step.retransmission { " again" } else { "" };
    let line = y + 21.0;
    let back = if to > from { -1.0 } else { 1.0 };
    // Beside the party, so that arrows that cross other lifelines are read where they belong.
    let words = if other > own { other - SPAN / 2.0 } else { other + SPAN / 2.0 };
    let _ = write!(
        out,
        "<g class=\"step {}{again}\"><title>{}</title><rect class=\"row\" x=\"8\" y=\"{y}\" width=\"{}\" height=\"{ROW}\" rx=\"5\"/>\
         <text class=\"time\" x=\"76\" y=\"{}\" text-anchor=\"end\">{}</text>\
         <line class=\"arrow\" x1=\"{from}\" y1=\"{line}\" x2=\"{}\" y2=\"{line}\"/>\
         <path class=\"tip\" d=\"M{to} {line}l{} -4.5v9z\"/>",
        kind(step),
        Escaped(&format!(
            "{} {} {} over {}\n\n{}",
            if step.is_sent() { step.local } else { step.remote },
            "to",
            if step.is_sent() { step.remote } else { step.local },
            step.transport,
            step.text
        )),
        width - 16.0,
        line + 4.0,
        time(step.offset_ms),
        to + back * 6.0,
        back * 9.0,
    );
    let name = if step.status.is_some() && !step.method.is_empty() && step.method != "INVITE" {
        format!("{} ({})", step.summary, step.method)
    } else {
        step.summary.clone()
    };
    let mut tags = String::new();
    if step.sdp {
        tags.push_str(" SDP");
    }
    if step.retransmission {
        tags.push_str(" again");
    }
    if step.transport != "udp" {
        tags.push(' ');
        tags.push_str(&step.transport);
    }
    let _ = write!(
        out,
        "<text class=\"words\" x=\"{words}\" y=\"{}\" text-anchor=\"middle\">{}<tspan class=\"tag\">{}</tspan></text></g>",
        line - 6.0,
        Escaped(&shortened(&name, 30)),
        Escaped(&tags)
    );
}

fn legend(out: &mut String, y: f64) {
    let mut x = 24.0;
    for (class, words) in KINDS.iter().chain([&("request again", "retransmission")]) {
        let _ = write!(
            out,
            "<g class=\"{class}\"><line class=\"arrow\" x1=\"{x}\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\"/></g>\
             <text class=\"small\" x=\"{2}\" y=\"{y}\">{words}</text>",
            y - 4.0,
            x + 22.0,
            x + 28.0,
        );
        x += 50.0 + 6.1 * words.len() as f64;
    }
}

/// Milliseconds up to a second, seconds from there on.
fn time(offset_ms: f64) -> String {
    if offset_ms < 1000.0 { format!("{offset_ms:.1} ms") } else { format!("{:.3} s", offset_ms / 1e3) }
}

fn shortened(words: &str, most: usize) -> String {
    if words.chars().count() <= most {
        return words.to_owned();
    }
    words.chars().take(most - 1).chain(['…']).collect()
}

/// Text in XML: what has a meaning there is escaped, what may not stand there is replaced.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\r' => {}
                '\n' | '\t' => f.write_char(letter)?,
                // XML 1.0 §2.2 allows none of these.
                letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                    f.write_char('\u{fffd}')?
                }
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}
