//! When a schedule runs: a cron expression read on the clocks of a time zone.
//!
//! An expression speaks of local times; a run happens at an instant. Where a zone's clocks are put forward or back, the two
//! do not match one to one, and the rule is the same for every expression: each local time that fits is one run. One that
//! the clocks jump over runs right after the jump, together with whatever else they jumped over. One that they show twice
//! runs at the first. So the instants never fall back and never repeat.

use std::time::Duration;

use croner::{
    CronPattern, Weekday,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    Timestamp, Unit,
    civil::{self, DateTime, Time},
    tz::{AmbiguousOffset, Offset, TimeZone},
};

/// The longest expression that is read.
const MAX_BYTES: usize = 256;
/// The longest name of a time zone that is looked for.
const MAX_ZONE_BYTES: usize = 64;

/// A cron expression and the zone whose clocks it is read on.
#[derive(Clone, Debug)]
pub struct Rule {
    pattern: CronPattern,
    /// What fits of a time of day, each in order.
    hours: Vec<i8>,
    minutes: Vec<i8>,
    seconds: Vec<i8>,
    zone: TimeZone,
}

/// Why a schedule cannot be followed. The text is fit for a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The expression cannot be read.
    #[error("{0}")]
    Cron(String),
    /// There is no such zone.
    #[error("{0}")]
    Zone(String),
}

impl Rule {
    /// Reads an expression of five fields (minute, hour, day of the month, month, weekday), or six with seconds first, or
    /// a name such as `@daily`; and the IANA name of a time zone.
    ///
    /// # Errors
    /// When one of them cannot be read, or when no time ever fits.
    pub fn new(cron: &str, timezone: &str) -> Result<Self, RuleError> {
        let pattern = read_cron(cron)?;
        let values = |values: Vec<u16>| values.into_iter().filter_map(|value| i8::try_from(value).ok()).collect();
        let rule = Self {
            hours: values(pattern.hours.values()),
            minutes: values(pattern.minutes.values()),
            seconds: values(pattern.seconds.values()),
            pattern,
            zone: read_zone(timezone)?,
        };
        // Expressions have no year. Every kind of year comes within the years that are looked through from this one on.
        match rule.next_local(civil::date(2000, 1, 1).at(0, 0, 0, 0)) {
            Some(_) => Ok(rule),
            None => Err(RuleError::Cron("no time ever fits this: does the month have such a day?".to_owned())),
        }
    }

    /// The first run after an instant. `None` when there is none within the years that can be told of.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after =
            after.round(Unit::Second).ok().map_or(after, |near| if near > after { near - SECOND } else { near });
        let mut local = self.resume(after);
        loop {
            local = self.next_local(local)?;
            let at = self.instant(local)?;
            // What lies in a jump of the clocks runs at its end, and that may be the run just made.
            if at > after {
                return Some(at);
            }
        }
    }

    /// Its times in plain words.
    pub fn describe(&self) -> String {
        self.pattern.describe()
    }

    /// The first runs after an instant, at most so many.
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next(after), |last| self.next(*last)).take(count).collect()
    }

    /// The local time after which the runs after an instant are to be looked for.
    fn resume(&self, after: Timestamp) -> DateTime {
        let local = self.zone.to_datetime(after);
        let AmbiguousOffset::Fold { before, after: second } = self.zone.to_ambiguous_timestamp(local).offset() else {
            return local;
        };
        if self.zone.to_offset(after) != second {
            return local;
        }
        // The clocks show these times again, and all of them have run. What follows begins where they were put back.
        let change = self.zone.preceding(after + SECOND).find(|change| change.offset() == second);
        let put_back = change.and_then(|change| before.to_datetime(change.timestamp()).checked_sub(SECOND).ok());
        put_back.map_or(local, |last| last.max(local))
    }

    /// When a local time runs.
    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { before, after } => self.end_of_jump(local, before, after),
        }
    }

    /// The instant at which the clocks jumped over a local time.
    fn end_of_jump(&self, local: DateTime, before: Offset, after: Offset) -> Option<Timestamp> {
        // Read with the later offset the local time lies before the jump, with the earlier one after it, and never
        // further from it than the jump is wide.
        let (early, late) = (after.to_timestamp(local).ok()?, before.to_timestamp(local).ok()?);
        let mut changes = self.zone.following(early).take_while(|change| change.timestamp() <= late);
        changes.find(|change| change.offset() == after).map(|change| change.timestamp())
    }

    /// The first local time after another that fits, whether or not the zone's clocks show it. Its cost is bounded: at
    /// most all days of [`YEARS`] are looked at, and no hours.
    fn next_local(&self, after: DateTime) -> Option<DateTime> {
        let first = after.checked_add(SECOND).ok()?;
        let (mut date, mut from) = (first.date(), first.time());
        let last_year = date.year() + YEARS;
        while date.year() <= last_year {
            let month = u32::try_from(date.month()).ok()?;
            if self.pattern.month_match(month).ok()? {
                let weekday =
                    Weekday::from_days_from_sunday(u32::try_from(date.weekday().to_sunday_zero_offset()).ok()?);
                let day = u32::try_from(date.day()).ok()?;
                let fits = self.pattern.day_match(date.year().into(), month, day, weekday).ok()?;
                if let Some(time) = self.time_of_day(from).filter(|_| fits) {
                    return Some(date.to_datetime(time));
                }
                date = date.tomorrow().ok()?;
            } else {
                date = date.last_of_month().tomorrow().ok()?;
            }
            from = Time::midnight();
        }
        None
    }

    /// The first time of day that fits, from one on.
    fn time_of_day(&self, from: Time) -> Option<Time> {
        let at_least = |values: &[i8], least: i8| values.iter().copied().find(|value| *value >= least);
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        if self.hours.contains(&hour) {
            if let Some(second) = at_least(&self.seconds, second).filter(|_| self.minutes.contains(&minute)) {
                return Time::new(hour, minute, second, 0).ok();
            }
            if let Some(minute) = at_least(&self.minutes, minute + 1) {
                return Time::new(hour, minute, *self.seconds.first()?, 0).ok();
            }
        }
        Time::new(at_least(&self.hours, hour + 1)?, *self.minutes.first()?, *self.seconds.first()?, 0).ok()
    }
}

/// How many years are looked through for a time that fits. The rarest day, a 29 February of a given weekday, comes again
/// within 40.
const YEARS: i16 = 50;
const SECOND: Duration = Duration::from_secs(1);

fn read_cron(text: &str) -> Result<CronPattern, RuleError> {
    let refuse = |why: String| Err(RuleError::Cron(why));
    let text = text.trim();
    if text.len() > MAX_BYTES {
        return refuse(format!("is longer than {MAX_BYTES} bytes"));
    }
    let fields = text.split_whitespace().count();
    if text.starts_with('@') {
        if !["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"].contains(&&*text.to_ascii_lowercase())
        {
            return refuse("is not @hourly, @daily, @weekly, @monthly or @yearly".to_owned());
        }
    } else if !(5..=6).contains(&fields) {
        return refuse(format!(
            "has {fields} fields, and must have five (minute, hour, day of the month, month, weekday), or six with \
             seconds first"
        ));
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser.parse(text).map(|cron| cron.pattern).or_else(|error| {
        let of = wrong_field(&parser, text)
            .map_or(String::new(), |(name, field)| format!("the {name} `{field}` is wrong: "));
        refuse(format!("cannot be read: {of}{}", in_words(&error)))
    })
}

/// The first field that cannot be read whatever the others are.
fn wrong_field<'a>(parser: &CronParser, text: &'a str) -> Option<(&'static str, &'a str)> {
    const NAMES: [&str; 6] = ["second", "minute", "hour", "day of the month", "month", "weekday"];
    let fields: Vec<&str> = text.split_whitespace().collect();
    let names = &NAMES[NAMES.len().checked_sub(fields.len())?..];
    names.iter().zip(&fields).enumerate().find_map(|(at, (name, field))| {
        let mut alone = vec!["*"; fields.len()];
        alone[at] = field;
        parser.parse(&alone.join(" ")).is_err().then_some((*name, *field))
    })
}

/// What the parser says, without what it calls its own parts.
fn in_words(error: &CronError) -> String {
    let text = match error {
        CronError::InvalidPattern(text) | CronError::IllegalCharacters(text) | CronError::ComponentError(text) => {
            text.clone()
        }
        error => error.to_string(),
    };
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

fn read_zone(name: &str) -> Result<TimeZone, RuleError> {
    let unknown =
        || RuleError::Zone("is not the IANA name of a time zone, such as `Europe/Berlin` or `UTC`".to_owned());
    // Besides its zones, the machine's directory of zones has files for its own time and for none.
    let is_a_place =
        name.len() <= MAX_ZONE_BYTES && !["localtime", "posixrules", "factory"].contains(&&*name.to_ascii_lowercase());
    if !is_a_place {
        return Err(unknown());
    }
    // The machine's database, as its operator keeps it up; where there is none, the one that is built in.
    TimeZone::get(name).or_else(|_| jiff::tz::TimeZoneDatabase::bundled().get(name)).map_err(|_| unknown())
}

#[cfg(test)]
#[path = "cron_tests.rs"]
mod tests;
