//! A line chart as inline SVG: a logarithmic x axis, a y axis of either sort, and each line named
//! at its end.

use std::fmt::Write as _;

use super::escape;

/// The room that a chart has, in CSS pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// The CSS class that shows the chart where it fits.
    pub(crate) class: &'static str,
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// Room for the labels on the right.
    pub(crate) labels: f64,
    /// Least distance between two labels.
    pub(crate) line_height: f64,
}

const LEFT: f64 = 44.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;

/// What a chart shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chart {
    /// Says what is to be seen, for those who cannot see it.
    pub(crate) description: String,
    pub(crate) y_title: String,
    pub(crate) y: Axis,
    pub(crate) x_title: String,
    pub(crate) series: Vec<Series>,
    pub(crate) mark: Option<Mark>,
}

/// How values grow along an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Axis {
    /// From zero on.
    #[default]
    Linear,
    /// From the lowest on, so that what is small is seen beside what is large.
    Logarithmic,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// The CSS classes that give its colour, dashes and weight.
    pub(crate) class: String,
    /// Payload and value, payloads ascending.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A place on the x axis worth a remark.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) x: f64,
    /// Two short lines.
    pub(crate) text: [String; 2],
}

/// Where values go on the paper.
struct Scale {
    frame: Frame,
    x_from: f64,
    x_to: f64,
    y: Axis,
    /// The lines of the grid, from the lowest to the highest.
    y_from: f64,
    y_to: f64,
    y_ticks: Vec<f64>,
}

impl Chart {
    /// The chart in `frame`; nothing if no series has two points.
    pub(crate) fn render(&self, frame: Frame) -> String {
        let Some(scale) = Scale::of(&self.series, self.y, frame) else { return String::new() };
        let mut svg = String::new();
        let Frame { class, width, height, .. } = frame;
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            svg,
            r#"<svg class="chart {class}" viewBox="0 0 {width} {height}" role="img">
<title>{}</title>"#,
            escape(&self.description)
        );
        self.axes(&mut svg, &scale);
        if let Some(mark) = &self.mark {
            draw_mark(&mut svg, &scale, mark);
        }
        for series in &self.series {
            draw_series(&mut svg, &scale, series);
        }
        draw_labels(&mut svg, &scale, &self.series);
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, svg: &mut String, scale: &Scale) {
        let (right, bottom) = (scale.right(), scale.bottom());
        draw_text(svg, "axis", (2.0, 12.0), &self.y_title);
        draw_text(svg, "axis", (LEFT, scale.frame.height - 6.0), &self.x_title);
        for &value in &scale.y_ticks {
            let y = scale.y(value);
            draw_path(svg, "grid", &format!("M{LEFT:.1} {y:.1}H{right:.1}"));
            // Those of a linear axis are alike.
            let finest = scale.y_ticks.get(1).filter(|_| self.y == Axis::Linear).unwrap_or(&value);
            let label = format!("{value:.*}", decimals(*finest));
            draw_text(svg, "tick end", (LEFT - 6.0, y + 4.0), &label);
        }
        for (x, label) in scale.x_ticks() {
            draw_path(svg, "tickmark", &format!("M{x:.1} {bottom:.1}v5"));
            draw_text(svg, "tick middle", (x, bottom + 17.0), &label);
        }
    }
}

fn draw_text(svg: &mut String, class: &str, (x, y): (f64, f64), words: &str) {
    let (class, words) = (escape(class), escape(words));
    let _ = writeln!(svg, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{words}</text>"#);
}

fn draw_path(svg: &mut String, class: &str, path: &str) {
    let _ = writeln!(svg, r#"<path class="{}" d="{path}"/>"#, escape(class));
}

fn draw_mark(svg: &mut String, scale: &Scale, mark: &Mark) {
    let x = scale.x(mark.x);
    // The words go to the side that has room for them.
    let (class, at) = if x - LEFT > 110.0 { ("end", x - 6.0) } else { ("", x + 6.0) };
    draw_path(svg, "mark", &format!("M{x:.1} {TOP:.1}V{:.1}", scale.bottom()));
    for (text, y) in mark.text.iter().zip([TOP + 11.0, TOP + 25.0]) {
        draw_text(svg, &format!("remark {class}"), (at, y), text);
    }
}

fn draw_series(svg: &mut String, scale: &Scale, series: &Series) {
    let mut path = String::new();
    for (index, (x, y)) in series.points.iter().enumerate() {
        let step = if index == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{step}{:.1} {:.1}", scale.x(*x), scale.y(*y));
    }
    let _ = writeln!(
        svg,
        r#"<g class="series {}"><title>{}</title><path d="{path}"/>"#,
        escape(&series.class),
        escape(&series.name)
    );
    for (x, y) in &series.points {
        let _ = write!(svg, r#"<circle cx="{:.1}" cy="{:.1}"/>"#, scale.x(*x), scale.y(*y));
    }
    svg.push_str("</g>\n");
}

/// Names each line at its end, with a leader where the names had to move apart.
fn draw_labels(svg: &mut String, scale: &Scale, series: &[Series]) {
    let mut ends: Vec<(&Series, (f64, f64))> =
        series.iter().filter_map(|series| Some((series, *series.points.last()?))).collect();
    ends.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
    let wanted: Vec<f64> = ends.iter().map(|(_, (_, value))| scale.y(*value)).collect();
    let placed = spread_out(&wanted, scale.frame.line_height, TOP, scale.bottom());
    for ((series, (x, value)), y) in ends.iter().zip(placed) {
        let (x, from, to) = (scale.x(*x), scale.y(*value), scale.right());
        let leader = format!("M{:.1} {from:.1}L{:.1} {y:.1}h3", x + 4.0, to + 9.0);
        draw_path(svg, &format!("leader {}", series.class), &leader);
        draw_text(svg, &format!("label {}", series.class), (to + 15.0, y + 4.0), &series.name);
    }
}

/// Moves ascending places apart to at least `distance`, staying near and within `from` to `to`.
fn spread_out(wanted: &[f64], distance: f64, from: f64, to: f64) -> Vec<f64> {
    let mut placed: Vec<f64> = Vec::with_capacity(wanted.len());
    for place in wanted {
        let least = placed.last().map_or(from, |last| last + distance);
        placed.push(place.max(least));
    }
    let mut most = to;
    for place in placed.iter_mut().rev() {
        *place = place.min(most);
        most = *place - distance;
    }
    placed
}

impl Scale {
    fn of(series: &[Series], y: Axis, frame: Frame) -> Option<Self> {
        let points = || series.iter().flat_map(|series| series.points.iter());
        let x_from = points().map(|point| point.0).min_by(f64::total_cmp)?;
        let x_to = points().map(|point| point.0).max_by(f64::total_cmp)?;
        let lowest = points().map(|point| point.1).min_by(f64::total_cmp)?;
        let highest = points().map(|point| point.1).max_by(f64::total_cmp)?;
        let usable = x_from > 0.0 && x_to > x_from && highest > 0.0;
        let y_ticks = match y {
            _ if !usable => return None,
            Axis::Linear => steps(highest),
            // Nothing is nowhere on it.
            Axis::Logarithmic if lowest <= 0.0 => return None,
            Axis::Logarithmic => ones_twos_and_fives(lowest, highest),
        };
        let (y_from, y_to) = (*y_ticks.first()?, *y_ticks.last()?);
        Some(Self { frame, x_from, x_to, y, y_from, y_to, y_ticks })
    }

    fn right(&self) -> f64 {
        self.frame.width - self.frame.labels
    }

    fn bottom(&self) -> f64 {
        self.frame.height - BOTTOM
    }

    fn x(&self, value: f64) -> f64 {
        let part = (value / self.x_from).ln() / (self.x_to / self.x_from).ln();
        LEFT + 6.0 + part * (self.right() - LEFT - 8.0)
    }

    fn y(&self, value: f64) -> f64 {
        let part = match self.y {
            Axis::Linear => (value - self.y_from) / (self.y_to - self.y_from),
            Axis::Logarithmic => (value / self.y_from).ln() / (self.y_to / self.y_from).ln(),
        };
        self.bottom() - part * (self.bottom() - TOP)
    }

    /// Powers of two within the axis, as many as fit.
    fn x_ticks(&self) -> Vec<(f64, String)> {
        let powers = || (0..40).map(|power| f64::from(power).exp2());
        let within = |bytes: &f64| *bytes >= self.x_from * 0.8 && *bytes <= self.x_to * 1.01;
        let count = powers().filter(within).count();
        let every = (count as f64 * 34.0 / (self.right() - LEFT)).ceil().max(1.0) as usize;
        let all: Vec<f64> = powers().filter(within).collect();
        let some = all.iter().rev().step_by(every).filter(|bytes| **bytes >= self.x_from);
        some.map(|bytes| (self.x(*bytes), binary(*bytes))).collect()
    }
}

/// A power of two: `512`, `64K`, `1M`.
fn binary(bytes: f64) -> String {
    let (kibi, mebi) = (bytes / 1024.0, bytes / 1024.0 / 1024.0);
    match bytes {
        _ if mebi >= 1.0 => format!("{mebi:.0}M"),
        _ if kibi >= 1.0 => format!("{kibi:.0}K"),
        _ => format!("{bytes:.0}"),
    }
}

/// Digits behind the point that multiples of `step` need.
fn decimals(step: f64) -> usize {
    let whole = |value: f64| (value - value.round()).abs() < 1e-6;
    (0..6).find(|digits| whole(step * 10_f64.powi(*digits))).map_or(6, |digits| digits as usize)
}

/// From zero to `highest` or above, by five steps or six.
fn steps(highest: f64) -> Vec<f64> {
    let step = nice_step(highest / 5.0);
    let count = (highest / step).ceil() as u32;
    (0..=count).map(|at| f64::from(at) * step).collect()
}

/// 1, 2 and 5 times powers of ten, from `lowest` or below to `highest` or above.
fn ones_twos_and_fives(lowest: f64, highest: f64) -> Vec<f64> {
    let power = |value: f64| value.log10().floor() as i32;
    let all = (power(lowest)..=power(highest) + 1)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10_f64.powi(power)));
    let all: Vec<f64> = all.collect();
    let below = all.iter().rposition(|tick| *tick <= lowest * 1.0001).unwrap_or(0);
    // At least one step, however alike the values are.
    let above = all.iter().position(|tick| *tick >= highest * 0.9999).unwrap_or(all.len() - 1);
    all[below..=above.max(below + 1)].to_vec()
}

/// The next of 1, 2, 2.5 and 5 times a power of ten.
fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|step| *step >= least * 0.9999).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame =
        Frame { class: "wide", width: 600.0, height: 300.0, labels: 120.0, line_height: 14.0 };

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let series = Series { name: "a <b>".to_owned(), class: "copy".to_owned(), points };
        Chart { series: vec![series], ..Chart::default() }
    }

    #[test]
    fn labels_keep_their_distance_and_stay_inside() {
        let placed = spread_out(&[10.0, 11.0, 12.0, 90.0, 99.0], 14.0, 0.0, 100.0);
        assert!(placed.windows(2).all(|pair| pair[1] - pair[0] >= 13.999), "{placed:?}");
        assert!(placed.iter().all(|place| (0.0..=100.0).contains(place)), "{placed:?}");
        assert_eq!(placed[4], 100.0);
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([0.3, 1.0, 2.1, 9.0, 30.0].map(nice_step), [0.5, 1.0, 2.5, 10.0, 50.0]);
        assert_eq!([10.0, 2.5, 0.5, 0.25].map(decimals), [0, 1, 1, 2]);
    }

    #[test]
    fn a_logarithmic_axis_shows_what_is_small_beside_what_is_large() {
        assert_eq!(
            ones_twos_and_fives(0.03, 7.0),
            [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
        );
        assert_eq!(ones_twos_and_fives(1.0, 1.0), [1.0, 2.0]);
        assert_eq!(steps(4.2), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let heights = |y| {
            let chart = Chart { y, ..chart(vec![(64.0, 0.1), (512.0, 0.2), (16_384.0, 10.0)]) };
            let scale = Scale::of(&chart.series, chart.y, FRAME).unwrap();
            [0.1, 0.2, 10.0].map(|value| scale.bottom() - scale.y(value))
        };
        let [low, next, high] = heights(Axis::Linear);
        assert!(next - low < 0.02 * high, "they lie upon each other");
        let [low, next, high] = heights(Axis::Logarithmic);
        assert!(low.abs() < 0.01 && next > 0.14 * high, "{low} {next} {high}");
        let nothing = Chart { y: Axis::Logarithmic, ..chart(vec![(64.0, 0.0), (512.0, 1.0)]) };
        assert_eq!(nothing.render(FRAME), "");
    }

    #[test]
    fn ticks_are_short() {
        let ticks = [512.0, 65_536.0, 1_048_576.0, 67_108_864.0].map(binary);
        assert_eq!(ticks, ["512", "64K", "1M", "64M"]);
    }

    #[test]
    fn names_are_escaped_and_points_drawn() {
        let svg = chart(vec![(600.0, 1.0), (65_435.0, 40.0)]).render(FRAME);
        assert!(svg.contains("a &lt;b&gt;") && !svg.contains("a <b>"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains(">4K<"));
    }

    #[test]
    fn one_point_is_no_line() {
        assert_eq!(chart(vec![(600.0, 1.0)]).render(FRAME), "");
        assert_eq!(chart(Vec::new()).render(FRAME), "");
    }
}
