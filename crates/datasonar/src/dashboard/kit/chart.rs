//! Charts, drawn by the server as inline SVG. They are readable without colour: the failed part of a bar is hatched, lines differ by their
//! dashes, and the key shows both; every chart tells its figures where one points, and has them as a table, for those who cannot see it.
//!
//! Places along the width are percentages, and only the curves are in a drawing of their own that is stretched: so letters, hatching and
//! strokes keep their size on every screen.

use std::fmt::Write;

use askama::filters::HtmlSafe;
use jiff::Timestamp;

use super::say;

/// The height of the plot in pixels, below room for half a letter.
const HEIGHT: f64 = 150.0;
const TOP: f64 = 8.0;
/// How long the sides of the drawing of curves are.
const CURVES: f64 = 1000.0;

/// One course of figures.
#[derive(Clone, Debug)]
pub(in crate::dashboard) struct Series {
    pub(in crate::dashboard) name: &'static str,
    /// How it is drawn: the class `tone-…` of the stylesheet.
    pub(in crate::dashboard) tone: &'static str,
    /// One for each bucket; `None` where there is nothing to tell.
    pub(in crate::dashboard) values: Vec<Option<f64>>,
}

/// How figures are written.
#[derive(Clone, Copy, Debug)]
pub(in crate::dashboard) enum Unit {
    Count,
    Ms,
}

impl Unit {
    fn say(self, value: f64) -> String {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "figures are counts, or milliseconds"
        )]
        let whole = value.round().max(0.0) as u64;
        match self {
            Self::Count if value < 10.0 && (value - value.round()).abs() > 0.05 => format!("{value:.1}"),
            Self::Count if whole >= 10_000 => {
                let thousands = say::bytes(whole);
                thousands.replace(" kB", " k").replace(" MB", " M").replace(" GB", " G")
            }
            Self::Count => say::count(whole),
            Self::Ms => say::duration_ms(whole),
        }
    }
}

/// A chart to be put into a page.
#[derive(Clone, Debug)]
pub(in crate::dashboard) struct Chart {
    title: &'static str,
    unit: Unit,
    times: Vec<Timestamp>,
    series: Vec<Series>,
    is_stacked: bool,
}

impl Chart {
    /// Bars, one for each bucket of time, its parts on top of each other.
    pub(in crate::dashboard) fn bars(
        title: &'static str,
        unit: Unit,
        times: &[Timestamp],
        series: Vec<Series>,
    ) -> Self {
        Self { title, unit, times: times.to_vec(), series, is_stacked: true }
    }

    /// Lines over time.
    pub(in crate::dashboard) fn lines(
        title: &'static str,
        unit: Unit,
        times: &[Timestamp],
        series: Vec<Series>,
    ) -> Self {
        Self { title, unit, times: times.to_vec(), series, is_stacked: false }
    }

    /// What it shows.
    pub(in crate::dashboard) fn title(&self) -> &'static str {
        self.title
    }

    /// Whether there is anything to draw.
    pub(in crate::dashboard) fn is_empty(&self) -> bool {
        !self.series.iter().any(|series| series.values.iter().flatten().any(|value| *value > 0.0))
    }

    fn highest(&self) -> f64 {
        let at =
            |bucket: usize| self.series.iter().filter_map(move |series| series.values.get(bucket).copied().flatten());
        let of = |bucket: usize| if self.is_stacked { at(bucket).sum() } else { at(bucket).fold(0.0, f64::max) };
        round_up((0..self.times.len()).map(of).fold(0.0, f64::max))
    }

    /// Where a bucket is, as a share of the width.
    #[expect(clippy::cast_precision_loss, reason = "there are some hundred buckets")]
    fn x(&self, bucket: usize, within: f64) -> f64 {
        (bucket as f64 + within) / (self.times.len().max(1) as f64)
    }

    /// What names the hatching of this chart among those of a page.
    fn hatching(&self) -> String {
        format!("hatch-{}", self.title.to_ascii_lowercase().replace(' ', "-"))
    }

    /// How a course is filled, if not by its tone alone.
    fn fill(&self, series: &Series) -> String {
        if series.tone == "bad" { format!(" fill=\"url(#{})\"", self.hatching()) } else { String::new() }
    }

    /// The key: what is drawn how.
    fn key(&self, html: &mut String) -> std::fmt::Result {
        for series in &self.series {
            write!(html, r#"<span class="key"><svg class="swatch" aria-hidden="true">"#)?;
            if self.is_stacked {
                let fill = self.fill(series);
                write!(html, r#"<rect class="bar tone-{}" width="100%" height="100%"{fill}/>"#, series.tone)?;
            } else {
                write!(html, r#"<line class="line tone-{}" x1="0" x2="100%" y1="50%" y2="50%"/>"#, series.tone)?;
            }
            write!(html, "</svg>{}</span>", series.name)?;
        }
        Ok(())
    }

    fn scale(&self, svg: &mut String, highest: f64) -> std::fmt::Result {
        for step in 0..=2 {
            let share = f64::from(step) / 2.0;
            let y = y(share);
            write!(svg, r#"<line class="grid" x1="0" x2="100%" y1="{y:.1}" y2="{y:.1}"/>"#)?;
            let label = self.unit.say(highest * share);
            write!(svg, r#"<text class="scale" x="-8" y="{:.1}">{label}</text>"#, y + 4.0)?;
        }
        let every = self.times.len().div_ceil(6).max(1);
        let is_long =
            self.times.first().zip(self.times.last()).is_some_and(|(a, b)| b.as_second() - a.as_second() > 2 * 86_400);
        for (number, (bucket, time)) in self.times.iter().enumerate().step_by(every).enumerate() {
            let time = time.to_zoned(jiff::tz::TimeZone::UTC);
            let label = time.strftime(if is_long { "%-d %b" } else { "%H:%M" });
            // Where it is narrow, every second one is left out.
            let class = if number % 2 == 0 { "time" } else { "time minor" };
            let (x, y) = (self.x(bucket, 0.0) * 100.0, TOP + HEIGHT + 18.0);
            write!(svg, r#"<text class="{class}" x="{x:.2}%" y="{y}">{label}</text>"#)?;
        }
        Ok(())
    }

    fn draw_bars(&self, svg: &mut String, highest: f64) -> std::fmt::Result {
        let width = self.x(0, 0.8) * 100.0;
        for bucket in 0..self.times.len() {
            let mut below = 0.0;
            for series in &self.series {
                let Some(value) = series.values.get(bucket).copied().flatten().filter(|value| *value > 0.0) else {
                    continue;
                };
                let (top, foot) = (y((below + value) / highest), y(below / highest));
                let height = (foot - top).max(1.0);
                let (x, fill) = (self.x(bucket, 0.1) * 100.0, self.fill(series));
                write!(
                    svg,
                    r#"<rect class="bar tone-{}" x="{x:.2}%" y="{:.1}" width="{width:.2}%" height="{height:.1}"{fill}/>"#,
                    series.tone,
                    foot - height
                )?;
                below += value;
            }
        }
        Ok(())
    }

    fn draw_lines(&self, svg: &mut String, highest: f64) -> std::fmt::Result {
        write!(
            svg,
            r#"<svg y="{TOP}" width="100%" height="{HEIGHT}" viewBox="0 0 {CURVES} {CURVES}" preserveAspectRatio="none" overflow="visible">"#
        )?;
        for series in &self.series {
            let mut path = String::new();
            let mut is_down = false;
            for (bucket, value) in series.values.iter().enumerate() {
                let Some(value) = value else {
                    is_down = false;
                    continue;
                };
                let (x, y) = (self.x(bucket, 0.5) * CURVES, (1.0 - value / highest) * CURVES);
                write!(path, "{}{x:.1} {y:.1}", if is_down { "L" } else { "M" })?;
                // A point between two gaps is a dot: a line of hardly any length with round ends.
                if !is_down {
                    write!(path, "h0.01")?;
                }
                is_down = true;
            }
            write!(svg, r#"<path class="line tone-{}" d="{path}"/>"#, series.tone)?;
        }
        svg.push_str("</svg>");
        Ok(())
    }

    /// What is told where one points: a bucket's figures, over its whole height.
    fn hints(&self, svg: &mut String) -> std::fmt::Result {
        let width = self.x(0, 1.0) * 100.0;
        for (bucket, time) in self.times.iter().enumerate() {
            let of = |series: &Series| series.values.get(bucket).copied().flatten().filter(|value| *value > 0.0);
            let told: Vec<String> = self
                .series
                .iter()
                .filter_map(|series| of(series).map(|value| format!("{} {}", self.unit.say(value), series.name)))
                .collect();
            if told.is_empty() {
                continue;
            }
            let time = time.to_zoned(jiff::tz::TimeZone::UTC);
            write!(
                svg,
                r#"<rect class="hint" x="{:.2}%" y="{TOP}" width="{width:.2}%" height="{HEIGHT}"><title>{}: {}</title></rect>"#,
                self.x(bucket, 0.0) * 100.0,
                time.strftime("%-d %b, %H:%M UTC"),
                told.join(", ")
            )?;
        }
        Ok(())
    }

    /// The figures, for those who do not see the drawing: the latest first, no row for what is empty.
    fn table(&self, html: &mut String) -> std::fmt::Result {
        write!(
            html,
            "<details class=\"figures\" id=\"{}\"><summary>Figures</summary><div class=\"scroll\" tabindex=\"0\"><table><caption class=\"unseen\">{}</caption><thead><tr><th scope=\"col\">From (UTC)</th>",
            self.hatching().replace("hatch", "figures"),
            self.title
        )?;
        for series in &self.series {
            write!(html, "<th scope=\"col\" class=\"number\">{}</th>", series.name)?;
        }
        html.push_str("</tr></thead><tbody>");
        for (bucket, time) in self.times.iter().enumerate().rev() {
            let values: Vec<Option<f64>> =
                self.series.iter().map(|series| series.values.get(bucket).copied().flatten()).collect();
            if !values.iter().flatten().any(|value| *value > 0.0) {
                continue;
            }
            let time = time.to_zoned(jiff::tz::TimeZone::UTC);
            write!(html, "<tr><th scope=\"row\">{}</th>", time.strftime("%-d %b %H:%M"))?;
            for value in values {
                let said = value.map_or_else(|| "–".to_owned(), |value| self.unit.say(value));
                write!(html, "<td class=\"number\">{said}</td>")?;
            }
            html.push_str("</tr>");
        }
        html.push_str("</tbody></table></div></details>");
        Ok(())
    }

    fn draw(&self) -> Result<String, std::fmt::Error> {
        let highest = self.highest().max(1.0);
        let mut html = String::new();
        write!(html, "<figure class=\"chart\"><figcaption><span>{}</span>", self.title)?;
        self.key(&mut html)?;
        write!(
            html,
            "</figcaption><svg class=\"plot\" role=\"img\" aria-label=\"{}; the figures are below\">",
            self.title
        )?;
        write!(
            html,
            r#"<defs><pattern id="{}" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch-ground" width="5" height="5"/><rect class="hatch-line" width="2.4" height="5"/></pattern></defs>"#,
            self.hatching()
        )?;
        self.scale(&mut html, highest)?;
        if self.is_stacked { self.draw_bars(&mut html, highest) } else { self.draw_lines(&mut html, highest) }?;
        self.hints(&mut html)?;
        html.push_str("</svg>");
        self.table(&mut html)?;
        html.push_str("</figure>");
        Ok(html)
    }
}

impl HtmlSafe for Chart {}

impl std::fmt::Display for Chart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.draw()?)
    }
}

fn y(share: f64) -> f64 {
    TOP + HEIGHT * (1.0 - share)
}

/// The next of 1, 2, 4, 5, 6, 8, 10, 20 …
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 10.0].iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(count: i64) -> Vec<Timestamp> {
        let begin: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
        (0..count).map(|place| begin + jiff::SignedDuration::from_mins(place * 10)).collect()
    }

    #[test]
    fn scales_end_at_round_figures() {
        let ends = [0.0, 0.7, 1.0, 3.0, 7.0, 11.0, 850.0, 12_000.0].map(round_up);
        assert_eq!(ends, [0.0, 0.8, 1.0, 4.0, 8.0, 20.0, 1000.0, 20_000.0]);
    }

    #[test]
    fn bars_are_as_high_as_their_figures_and_stand_on_each_other() {
        let series = |name, tone, values| Series { name, tone, values };
        let chart = Chart::bars(
            "Deliveries",
            Unit::Count,
            &times(2),
            vec![
                series("delivered", "good", vec![Some(6.0), None]),
                series("failed", "bad", vec![Some(4.0), Some(0.0)]),
            ],
        );
        let html = chart.to_string();
        // 10 of 10: the whole height of 150, of which 6 tenths and 4 tenths, the failed ones hatched.
        assert!(html.contains(r#"height="90.0"/>"#), "{html}");
        assert!(html.contains(r##"height="60.0" fill="url(#hatch-deliveries)"/>"##), "{html}");
        assert!(html.contains("24 Nov, 00:00 UTC: 6 delivered, 4 failed"), "{html}");
        assert!(html.contains("<td class=\"number\">6</td><td class=\"number\">4</td>"), "{html}");
        assert!(!chart.is_empty());
    }

    #[test]
    fn lines_are_broken_where_there_is_nothing_to_tell() {
        let values = vec![Some(100.0), Some(50.0), None, Some(100.0)];
        let chart = Chart::lines("Latency", Unit::Ms, &times(4), vec![Series { name: "p50", tone: "one", values }]);
        let html = chart.to_string();
        let curve = html.split_once(" d=\"").unwrap().1.split_once('"').unwrap().0;
        assert_eq!(curve.matches('M').count(), 2, "{curve}");
        assert!(html.contains("50 ms"));
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let chart = Chart::bars(
            "Jobs",
            Unit::Count,
            &times(3),
            vec![Series { name: "jobs", tone: "one", values: vec![None; 3] }],
        );
        assert!(chart.is_empty());
        assert!(!chart.to_string().contains("NaN"));
    }
}
