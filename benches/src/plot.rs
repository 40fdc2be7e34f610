//! Medians as SVG.

use std::fmt::Write as _;

use crate::table::Median;

const COLOURS: [(&str, &str); 9] = [
    ("shipit", "#1f6feb"),
    ("tarpipe", "#8c959f"),
    ("tarpipe-check", "#6e7781"),
    ("rsync", "#bf8700"),
    ("rsync-z", "#9a6700"),
    ("scp", "#bc4c00"),
    ("scp-file", "#bc4c00"),
    ("ssh-cat", "#57606a"),
    ("capistrano", "#cf222e"),
];

fn colour(tool: &str) -> &'static str {
    COLOURS.iter().find(|(name, _)| *name == tool).map_or("#24292f", |(_, colour)| colour)
}

fn frame(width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#24292f\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Seconds of every tool, one block of bars for each row, each block with a scale of its own.
pub(crate) fn bars(medians: &[Median]) -> String {
    let mut titles: Vec<_> = medians.iter().map(|m| m.title.as_str()).collect();
    titles.dedup();
    let (mut body, mut y) = (String::new(), 24.0);
    for title in titles {
        let tools: Vec<_> = medians.iter().filter(|m| m.title == title).collect();
        let most = tools.iter().map(|m| m.sample.wall).fold(0.0, f64::max);
        let _ = writeln!(body, "<text x=\"12\" y=\"{y}\" font-weight=\"bold\">{title}</text>");
        for m in tools {
            y += 18.0;
            let length = 480.0 * m.sample.wall / most;
            let _ = writeln!(
                body,
                "<text x=\"110\" y=\"{y}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"118\" y=\"{}\" width=\"{length:.1}\" height=\"13\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{y}\">{:.2} s</text>",
                m.tool,
                y - 10.5,
                colour(&m.tool),
                124.0 + length,
                m.sample.wall
            );
        }
        y += 30.0;
    }
    frame(680.0, y, &body)
}

/// Seconds and memory by number of hosts, on logarithmic scales.
pub(crate) fn curves(many: &[Median]) -> String {
    let mut body = panel(many, 60.0, "seconds", |m| m.sample.wall);
    body += &panel(many, 420.0, "MB of memory here", |m| m.sample.client_memory / 1e6);
    frame(720.0, 330.0, &body)
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn panel(many: &[Median], left: f64, title: &str, value: impl Fn(&Median) -> f64) -> String {
    let (width, top, height) = (260.0, 40.0, 240.0);
    let values = || many.iter().map(&value);
    let low = values().fold(f64::INFINITY, f64::min).max(0.001).log10().floor();
    let high = values().fold(0.001, f64::max).log10().ceil().max(low + 1.0);
    let most = many.iter().map(|m| m.hosts).max().unwrap_or(1).max(10) as f64;
    let x = |hosts: f64| left + width * hosts.log10() / most.log10();
    let y = |value: f64| top + height * (high - value.max(0.001).log10()) / (high - low);
    let mut body = format!("<text x=\"{left}\" y=\"20\" font-weight=\"bold\">{title}</text>\n");
    let mut power = low;
    while power <= high {
        let (at, label) = (y(10_f64.powf(power)), 10_f64.powf(power));
        let _ = writeln!(
            body,
            "<path d=\"M{left} {at:.1}h{width}\" stroke=\"#d0d7de\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            left - 6.0,
            at + 4.0
        );
        power += 1.0;
    }
    for tool in ["shipit", "tarpipe"] {
        let points: Vec<_> = many.iter().filter(|m| m.tool == tool).collect();
        let line: Vec<_> =
            points.iter().map(|m| format!("{:.1},{:.1}", x(m.hosts as f64), y(value(m)))).collect();
        let Some(last) = points.last() else { continue };
        let _ = writeln!(
            body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\" text-anchor=\"end\">{tool}</text>",
            line.join(" "),
            x(last.hosts as f64),
            y(value(last)) + if tool == "shipit" { 16.0 } else { -8.0 },
            colour = colour(tool)
        );
    }
    for m in many.iter().filter(|m| m.tool == "shipit") {
        let at = x(m.hosts as f64);
        let _ = writeln!(
            body,
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" font-size=\"10\">{}</text>",
            top + height + 16.0,
            m.hosts
        );
    }
    let _ = writeln!(body, "<text x=\"{left}\" y=\"{}\">hosts</text>", top + height + 34.0);
    body
}
