//! Requests and faults over time, as a picture (SVG) that needs nothing else.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Kind, Run, Second, Summary, names};

/// Width of the picture, in its own units; a viewer scales it.
const WIDTH: f64 = 1_200.0;

/// Room for the names of faults.
const LEFT: f64 = 120.0;

/// Room on the right.
const RIGHT: f64 = 20.0;

/// Where the curve begins, below the title and its legend.
const TOP: f64 = 64.0;

/// Height of the curve.
const CURVE: f64 = 220.0;

/// Height of the bars of failures, of the curve: they are few.
const FAILURES: f64 = 60.0;

/// Between the parts.
const GAP: f64 = 26.0;

/// Height of the line of one kind of fault.
const LANE: f64 = 20.0;

/// Least width of a band, so that a short fault is seen.
const BAND_MIN: f64 = 1.5;

/// Width of a letter in a band, roughly: a name is left out where it does not fit.
const LETTER: f64 = 6.2;

/// Points of the curve; more would not be seen.
const POINTS_MAX: usize = 540;

/// Marks on the axis of time, at most.
const MARKS_MAX: u64 = 15;

const INK: &str = "#24292f";
const FAINT: &str = "#d0d7de";
const OK: &str = "#1a7f37";
const FAILED: &str = "#cf222e";
const STRIKE: &str = "#bc4c00";
const WEATHER: &str = "#0969da";

/// Draws a run.
#[must_use]
pub fn plot(run: &Run, summary: &Summary) -> String {
    let kinds: Vec<Kind> = summary.faults.keys().copied().collect();
    let curve_bottom = TOP + CURVE;
    let failures_bottom = curve_bottom + GAP + FAILURES;
    let lanes = failures_bottom + GAP;
    let bottom = lanes + LANE * kinds.len() as f64;
    let height = bottom + 40.0;
    let mut svg = Svg { text: String::new(), length: run.elapsed };
    svg.add(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"{INK}\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>"
    ));
    svg.add(format_args!(
        "<text x=\"{LEFT}\" y=\"22\" font-size=\"16\">Chaos, {}, seed {}: {} requests, {} lost, \
         {} stale, {} resurrected</text>",
        run.plan.spread.name(),
        run.plan.seed,
        summary.requests,
        summary.lost,
        summary.stale,
        summary.resurrected
    ));
    svg.legend();
    svg.marks(TOP, bottom);
    let points = thin(&summary.seconds);
    let (ok, failed): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
    svg.curve(&ok, curve_bottom, CURVE);
    svg.bars(&failed, failures_bottom, FAILURES);
    for (lane, kind) in kinds.iter().enumerate() {
        svg.lane(run, *kind, lanes + LANE * lane as f64);
    }
    svg.add(format_args!("</svg>"));
    svg.text
}

struct Svg {
    text: String,
    length: Duration,
}

impl Svg {
    fn add(&mut self, what: std::fmt::Arguments<'_>) {
        // Writing into a string does not fail.
        let _ = writeln!(self.text, "{what}");
    }

    fn x(&self, at: Duration) -> f64 {
        let part = at.as_secs_f64() / self.length.as_secs_f64().max(1.0);
        part.min(1.0).mul_add(WIDTH - LEFT - RIGHT, LEFT)
    }

    fn legend(&mut self) {
        let entries = [
            (OK, "served, per second"),
            (FAILED, "not served, per second"),
            (STRIKE, "nodes struck"),
            (WEATHER, "lines bad"),
        ];
        for (number, (colour, words)) in entries.into_iter().enumerate() {
            let x = (number as f64).mul_add(180.0, LEFT);
            self.add(format_args!(
                "<rect x=\"{x}\" y=\"36\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
                 <text x=\"{}\" y=\"46\">{words}</text>",
                x + 18.0
            ));
        }
    }

    /// Lines for points of time, with their minutes and seconds below.
    fn marks(&mut self, top: f64, bottom: f64) {
        let seconds = self.length.as_secs();
        let steps = [5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600];
        let step = steps.into_iter().find(|step| seconds / step <= MARKS_MAX).unwrap_or(7_200);
        for at in (0..=seconds).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            let x = self.x(Duration::from_secs(at));
            self.add(format_args!(
                "<path d=\"M{x:.1} {top}V{bottom}\" stroke=\"{FAINT}\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}:{:02}</text>",
                bottom + 16.0,
                at / 60,
                at % 60
            ));
        }
        self.add(format_args!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">minutes:seconds</text>",
            WIDTH - RIGHT,
            bottom + 32.0
        ));
    }

    fn scale(&mut self, most: f64, bottom: f64, height: f64) {
        for part in [0.0_f64, 0.5, 1.0] {
            let y = part.mul_add(-height, bottom);
            self.add(format_args!(
                "<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"{FAINT}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                most * part
            ));
        }
    }

    fn at(&self, index: usize, points: usize) -> f64 {
        self.x(self.length.mul_f64(index as f64 / points.max(1) as f64))
    }

    fn curve(&mut self, values: &[f64], bottom: f64, height: f64) {
        let most = round_up(values.iter().copied().fold(0.0, f64::max));
        self.scale(most, bottom, height);
        let mut path = format!("M{:.1} {bottom:.1}", self.at(0, values.len()));
        for (index, value) in values.iter().enumerate() {
            let y = (value / most).mul_add(-height, bottom);
            let (x, next) = (self.at(index, values.len()), self.at(index + 1, values.len()));
            let _ = write!(path, "L{x:.1} {y:.1}H{next:.1}");
        }
        let _ = write!(path, "V{bottom:.1}Z");
        self.add(format_args!("<path d=\"{path}\" fill=\"{OK}\" fill-opacity=\"0.75\"/>"));
    }

    fn bars(&mut self, values: &[f64], bottom: f64, height: f64) {
        let most = round_up(values.iter().copied().fold(0.0, f64::max));
        self.scale(most, bottom, height);
        for (index, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
            let (x, next) = (self.at(index, values.len()), self.at(index + 1, values.len()));
            let tall = (value / most * height).max(1.0);
            self.add(format_args!(
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" \
                 fill=\"{FAILED}\"/>",
                bottom - tall,
                (next - x).max(BAND_MIN)
            ));
        }
    }

    fn lane(&mut self, run: &Run, kind: Kind, top: f64) {
        self.add(format_args!(
            "<path d=\"M{LEFT} {:.1}H{}\" stroke=\"{FAINT}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            top + LANE,
            WIDTH - RIGHT,
            LEFT - 6.0,
            top + 14.0,
            kind.name()
        ));
        let colour = if Kind::WEATHER.contains(&kind) { WEATHER } else { STRIKE };
        for fault in run.faults.iter().filter(|fault| fault.kind == kind) {
            let (x, end) = (self.x(fault.from), self.x(fault.until));
            let (width, whom) = ((end - x).max(BAND_MIN), names(&fault.nodes));
            let length = fault.until.saturating_sub(fault.from);
            self.add(format_args!(
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"1\" \
                 fill=\"{colour}\"><title>{}: {whom}, {length:.1?}</title></rect>",
                top + 3.0,
                LANE - 6.0,
                kind.name()
            ));
            if whom.len() as f64 * LETTER < width {
                self.add(format_args!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\" fill=\"#ffffff\" \
                     text-anchor=\"middle\" pointer-events=\"none\">{whom}</text>",
                    x + width / 2.0,
                    top + 14.0
                ));
            }
        }
    }
}

/// Served and not served per second, as means over as many seconds as one point stands for.
fn thin(seconds: &[Second]) -> Vec<(f64, f64)> {
    let each = seconds.len().div_ceil(POINTS_MAX).max(1);
    let mean = |part: &[Second], of: fn(&Second) -> u64| {
        part.iter().map(of).sum::<u64>() as f64 / part.len() as f64
    };
    let point =
        |part: &[Second]| (mean(part, |second| second.ok), mean(part, |second| second.failed));
    seconds.chunks(each).map(point).collect()
}

/// The next number with one digit that is not 0, for the end of a scale.
fn round_up(most: f64) -> f64 {
    let digit = 10_f64.powf(most.max(1.0).log10().floor());
    (most.max(1.0) / digit).ceil() * digit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!(
            [0.0, 1.0, 4.2, 10.0, 137.0, 900.1].map(round_up),
            [1.0, 1.0, 5.0, 10.0, 200.0, 1_000.0]
        );
    }

    #[test]
    fn a_long_run_is_drawn_by_its_means() {
        let seconds: Vec<Second> = (0..1_800).map(|at| Second { ok: at % 4, failed: 4 }).collect();
        let points = thin(&seconds);
        assert_eq!(points.len(), 450);
        assert!(points.iter().all(|point| *point == (1.5, 4.0)));
    }
}
