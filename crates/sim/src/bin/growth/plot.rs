//! The figures as a drawing: four panels, both axes logarithmic, so that what does not grow is level
//! and what grows with the members is a slope. Its colours are legible on white and on black.

use std::fmt::Write as _;

use sim::growth::Figures;

use super::Series;

/// Size of a panel, in pixels: within it the axes, left of them the scale, right of them the names.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 136.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;

/// Names of lines are so far apart at least, in pixels.
const NAME_HEIGHT: f64 = 14.0;

const GREY: &str = "#7a828b";
const HEARTBEATS: &str = "#8f6fd8";
const COLOURS: [&str; 3] = ["#d4731a", "#2f81f7", "#2da44e"];

struct Line {
    name: String,
    colour: &'static str,
    dashed: bool,
    points: Vec<(f64, f64)>,
}

struct Panel {
    title: &'static str,
    lines: Vec<Line>,
}

/// All panels.
pub(super) fn svg(all: &[Series]) -> String {
    let panels = panels(all);
    let (width, height) = (2.0 * WIDTH, (panels.len() as f64 / 2.0).ceil() * HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{GREY}\">\n"
    );
    for (place, panel) in panels.iter().enumerate() {
        let (x, y) = ((place % 2) as f64 * WIDTH, (place / 2) as f64 * HEIGHT);
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">");
        panel.draw(&mut svg);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn panels(all: &[Series]) -> Vec<Panel> {
    let lines = |value: fn(&Figures) -> f64| -> Vec<Line> {
        let series = all.iter().zip(COLOURS);
        series.map(|(series, colour)| Line::new(series.name, colour, series, value)).collect()
    };
    let mut writes = lines(|figures| figures.staying.messages);
    for (series, colour) in all.iter().zip(COLOURS).skip(1) {
        let name = format!("{}, any node", series.name);
        let line = Line::new(&name, colour, series, |figures| figures.roaming.messages);
        writes.push(Line { dashed: true, ..line });
    }
    let with_heartbeats = |value, beats: fn(&Figures) -> f64| {
        let mut lines = lines(value);
        let largest = all.iter().max_by_key(|series| series.figures.len());
        lines.extend(largest.map(|series| Line::new("heartbeats", HEARTBEATS, series, beats)));
        lines
    };
    vec![
        Panel { title: "messages for a write", lines: writes },
        Panel {
            title: "sessions held by a node, in KiB",
            lines: lines(|figures| figures.held.bytes_mean / 1_024.0),
        },
        Panel {
            title: "idle node, messages/s: comparisons, heartbeats",
            lines: with_heartbeats(
                |figures| figures.idle_repair.messages,
                |figures| figures.idle_heartbeats.messages,
            ),
        },
        Panel {
            title: "idle node, bytes/s: comparisons, heartbeats",
            lines: with_heartbeats(
                |figures| figures.idle_repair.bytes,
                |figures| figures.idle_heartbeats.bytes,
            ),
        },
    ]
}

impl Line {
    fn new(name: &str, colour: &'static str, series: &Series, value: fn(&Figures) -> f64) -> Self {
        let points = series.figures.iter().map(|figures| (figures.members as f64, value(figures)));
        Self { name: name.to_owned(), colour, dashed: false, points: points.collect() }
    }
}

impl Panel {
    fn draw(&self, svg: &mut String) {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let members: Vec<f64> = points().map(|(members, _)| *members).collect();
        let x = Scale::new(members.iter().copied(), LEFT, WIDTH - RIGHT);
        let values = points().map(|(_, value)| *value);
        let marks = marks(values);
        let y = Scale::new(marks.iter().copied(), HEIGHT - BOTTOM, TOP);
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"20\" font-size=\"13\" font-weight=\"600\">{}</text>",
            self.title
        );
        self.draw_axes(svg, &x, &y, &marks);
        for line in &self.lines {
            line.draw(svg, &x, &y);
        }
        self.draw_names(svg, &x, &y);
    }

    fn draw_axes(&self, svg: &mut String, x: &Scale, y: &Scale, marks: &[f64]) {
        for mark in marks {
            let at = y.at(*mark);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"{GREY}\" stroke-opacity=\"0.3\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                thousands(*mark),
            );
        }
        let mut members: Vec<f64> =
            self.lines.iter().flat_map(|line| line.points.iter().map(|point| point.0)).collect();
        members.sort_by(f64::total_cmp);
        members.dedup();
        for count in members {
            let (at, bottom) = (x.at(count), HEIGHT - BOTTOM);
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {bottom}v4\" stroke=\"{GREY}\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{count}</text>",
                bottom + 17.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">members</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - BOTTOM + 34.0
        );
    }

    /// The name of each line at its end: beside it, from top to bottom, none upon another; above it
    /// if the line ends before the others.
    fn draw_names(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let ends = self.lines.iter().filter_map(|line| Some((line, line.points.last()?)));
        let mut names: Vec<(f64, f64, &Line)> =
            ends.map(|(line, end)| (y.at(end.1), x.at(end.0), line)).collect();
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free = 0.0;
        for (end, from, line) in names {
            let beside = from >= WIDTH - RIGHT;
            let at = if beside { f64::max(end, free) } else { end };
            if beside {
                free = at + NAME_HEIGHT;
            }
            let (x, y, anchor) = match beside {
                true => (from + 8.0, at + 4.0, "start"),
                false => (from, at - 9.0, "middle"),
            };
            let (colour, name) = (line.colour, &line.name);
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" \
                 fill=\"{colour}\">{name}</text>"
            );
        }
    }
}

impl Line {
    fn draw(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let points = self.points.iter().map(|(members, value)| (x.at(*members), y.at(*value)));
        let dashes = if self.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        let path: Vec<String> = points.clone().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dashes}/>",
            path.join("L"),
            self.colour
        );
        for (x, y) in points {
            let colour = self.colour;
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }
}

/// A logarithmic axis, from its least value to its greatest.
struct Scale {
    from: f64,
    to: f64,
    least: f64,
    greatest: f64,
}

impl Scale {
    fn new(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min).log10();
        let greatest = values.fold(f64::NEG_INFINITY, f64::max).log10();
        Self { from, to, least, greatest }
    }

    fn at(&self, value: f64) -> f64 {
        let range = (self.greatest - self.least).max(f64::EPSILON);
        self.from + (self.to - self.from) * (value.log10() - self.least) / range
    }
}

/// The marks 1, 2, 5, 10, 20, … around these values.
fn marks(values: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let greatest = values.fold(f64::NEG_INFINITY, f64::max);
    let steps = (-3..12).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power)));
    let steps: Vec<f64> = steps.collect();
    let first = steps.iter().rposition(|step| *step <= least).unwrap_or(0);
    let last = steps.iter().position(|step| *step >= greatest).unwrap_or(steps.len() - 1);
    steps[first..=last.max(first + 1)].to_vec()
}

/// A mark in words, its thousands apart.
fn thousands(mark: f64) -> String {
    if mark < 1_000.0 {
        format!("{mark}")
    } else {
        format!("{},{:03}", (mark / 1_000.0).floor(), mark % 1_000.0)
    }
}
