//! Charts, drawn by the server as inline SVG. They are readable without colour: shares of a bar differ by pattern, lines by dashes and by the name
//! at their end; and every chart comes with its figures as a table, for those who cannot see it.

use std::fmt::Write;

use askama::filters::HtmlSafe;
use jiff::Timestamp;

use super::say;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 200.0;
/// Around the plot: left for the scale, right for the names of lines, below for times.
const LEFT: f64 = 48.0;
const RIGHT: f64 = 44.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

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

    #[expect(clippy::cast_precision_loss, reason = "there are some hundred buckets")]
    fn x(&self, place: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * place / (self.times.len().max(1) as f64)
    }

    fn scale(&self, svg: &mut String, highest: f64) -> std::fmt::Result {
        for step in 0..=2 {
            let share = f64::from(step) / 2.0;
            let y = y(share);
            write!(svg, r#"<line class="grid" x1="{LEFT}" x2="{}" y1="{y:.1}" y2="{y:.1}"/>"#, WIDTH - RIGHT)?;
            let label = self.unit.say(highest * share);
            write!(svg, r#"<text class="scale" x="{}" y="{:.1}">{label}</text>"#, LEFT - 6.0, y + 4.0)?;
        }
        let every = self.times.len().div_ceil(6).max(1);
        let is_long =
            self.times.first().zip(self.times.last()).is_some_and(|(a, b)| b.as_second() - a.as_second() > 2 * 86_400);
        for (place, time) in self.times.iter().enumerate().step_by(every) {
            let time = time.to_zoned(jiff::tz::TimeZone::UTC);
            let label = time.strftime(if is_long { "%-d %b" } else { "%H:%M" });
            #[expect(clippy::cast_precision_loss, reason = "there are some hundred buckets")]
            let x = self.x(place as f64 + 0.5);
            write!(svg, r#"<text class="time" x="{x:.1}" y="{}">{label}</text>"#, HEIGHT - 6.0)?;
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "there are some hundred buckets")]
    fn draw_bars(&self, svg: &mut String, highest: f64) -> std::fmt::Result {
        let width = (self.x(1.0) - self.x(0.0) - 1.5).max(0.8);
        for bucket in 0..self.times.len() {
            let mut below = 0.0;
            for series in &self.series {
                let Some(value) = series.values.get(bucket).copied().flatten().filter(|value| *value > 0.0) else {
                    continue;
                };
                let (top, foot) = (y((below + value) / highest), y(below / highest));
                let height = (foot - top).max(1.0);
                let (x, tone) = (self.x(bucket as f64) + 0.75, series.tone);
                write!(
                    svg,
                    r#"<rect class="tone-{tone}" x="{x:.1}" y="{:.1}" width="{width:.1}" height="{height:.1}">"#,
                    foot - height
                )?;
                write!(
                    svg,
                    "<title>{} {}, {}</title></rect>",
                    self.unit.say(value),
                    series.name,
                    say::exact(self.times[bucket])
                )?;
                below += value;
            }
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "there are some hundred buckets")]
    fn draw_lines(&self, svg: &mut String, highest: f64) -> std::fmt::Result {
        for series in &self.series {
            let mut path = String::new();
            let (mut is_down, mut last) = (false, None);
            for (bucket, value) in series.values.iter().enumerate() {
                let Some(value) = value else {
                    is_down = false;
                    continue;
                };
                let point = (self.x(bucket as f64 + 0.5), y(value / highest));
                write!(path, "{}{:.1} {:.1}", if is_down { "L" } else { "M" }, point.0, point.1)?;
                // A point between two gaps is a dot: a line of no length with round ends.
                if !is_down {
                    write!(path, "h0.01")?;
                }
                (is_down, last) = (true, Some(point));
            }
            write!(svg, r#"<path class="line tone-{}" d="{path}"/>"#, series.tone)?;
            if let Some((_, y)) = last {
                write!(
                    svg,
                    r#"<text class="name" x="{}" y="{:.1}">{}</text>"#,
                    WIDTH - RIGHT + 4.0,
                    y + 4.0,
                    series.name
                )?;
            }
        }
        Ok(())
    }

    /// The figures, for those who do not see the drawing: the latest first, no row for what is empty.
    fn table(&self, html: &mut String) -> std::fmt::Result {
        write!(
            html,
            "<details class=\"figures\"><summary>Figures</summary><div class=\"scroll\"><table><caption class=\"unseen\">{}</caption><thead><tr><th scope=\"col\">From (UTC)</th>",
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
        write!(html, "<figure class=\"chart\"><figcaption>{}", self.title)?;
        for series in &self.series {
            write!(html, "<span class=\"key tone-{}\">{}</span>", series.tone, series.name)?;
        }
        write!(
            html,
            "</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}; the figures are below\">",
            self.title
        )?;
        self.scale(&mut html, highest)?;
        if self.is_stacked { self.draw_bars(&mut html, highest) } else { self.draw_lines(&mut html, highest) }?;
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
    TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share)
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
        // 10 of 10: the whole height of 166, of which 6 tenths and 4 tenths.
        assert!(html.contains(r#"height="99.6""#) && html.contains(r#"height="66.4""#), "{html}");
        assert_eq!(html.matches("<rect").count(), 2);
        assert!(html.contains("<td class=\"number\">6</td><td class=\"number\">4</td>"), "{html}");
        assert!(!chart.is_empty());
    }

    #[test]
    fn lines_are_broken_where_there_is_nothing_to_tell() {
        let values = vec![Some(100.0), Some(50.0), None, Some(100.0)];
        let chart = Chart::lines("Latency", Unit::Ms, &times(4), vec![Series { name: "p50", tone: "one", values }]);
        let html = chart.to_string();
        assert_eq!(html.matches('M').count(), 2, "{html}");
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
