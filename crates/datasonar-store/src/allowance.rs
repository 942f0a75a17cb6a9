//! What a scope may use, as the plan of its account says, and that it would be more.
//!
//! The store knows no plans: an [`Allowance`] comes with what is asked for, and the step that does it checks it in its own transaction. So a
//! limit holds however many processes accept jobs at the same moment, and whatever dies in between.

use std::{fmt, time::Duration};

use jiff::Timestamp;

/// What a scope may use. What is `None` has no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The plan that says so, to be named when it is used up.
    pub plan: String,
    /// How many of its jobs may be open at once.
    pub open_jobs: Option<u64>,
    /// How many pages it may ask for.
    pub pages: Option<PageAllowance>,
}

/// How many pages a scope may ask for in a span of days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageAllowance {
    /// How many.
    pub most: u64,
    /// The first moment of the span.
    pub since: Timestamp,
    /// The first moment after it: when there are as many pages again.
    pub until: Timestamp,
}

/// What a plan limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Pages asked of target sites in a month, UTC.
    PagesPerMonth,
    /// Calls in a minute.
    RequestsPerMinute,
    /// Jobs that have not ended.
    ConcurrentJobs,
}

impl Limit {
    /// The name of the setting, as the API names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PagesPerMonth => "pages_per_month",
            Self::RequestsPerMinute => "requests_per_minute",
            Self::ConcurrentJobs => "concurrent_jobs",
        }
    }
}

/// Something that would be more than a plan allows. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// The plan.
    pub plan: String,
    /// What it limits.
    pub limit: Limit,
    /// To how much.
    pub most: u64,
    /// How much was used.
    pub used: u64,
    /// How much is set aside for jobs that have not ended.
    pub reserved: u64,
    /// How much more was asked for.
    pub asked: u64,
    /// After which time it is worth to ask again.
    pub retry_after: Duration,
}

impl fmt::Display for LimitReached {
    /// Says it to whoever asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, limit, most, used, reserved, asked, .. } = self;
        match limit {
            Limit::RequestsPerMinute => write!(f, "the plan `{plan}` allows {most} requests per minute"),
            Limit::ConcurrentJobs => {
                write!(f, "the plan `{plan}` allows {most} concurrent jobs, and {used} have not ended")
            }
            Limit::PagesPerMonth => {
                write!(f, "the plan `{plan}` allows {most} pages per month: {used} were used")?;
                if *reserved > 0 {
                    write!(f, ", {reserved} are set aside for jobs that have not ended")?;
                }
                write!(f, ", and this asks for {asked}")?;
                if asked > most { write!(f, ", more than a whole month has") } else { Ok(()) }
            }
        }
    }
}

/// Permits for calls, to be taken from those of a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeRequests {
    /// Who calls.
    pub scope: crate::Scope,
    /// The minute, counted since 1970.
    pub minute: i64,
    /// How many calls it has.
    pub most: u64,
    /// How many permits are wanted.
    pub wanted: u64,
}

/// Permits that were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenRequests {
    /// Of which minute: not of one before the latest that was asked for, since clocks may differ by a little.
    pub minute: i64,
    /// How many: as many as were wanted, or what was left.
    pub granted: u64,
}

/// What a scope has used of an allowance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Pages asked of target sites.
    pub pages: u64,
    /// Pages that jobs which have not ended may still ask for.
    pub reserved: u64,
    /// Jobs that have not ended.
    pub open_jobs: u64,
}

impl Spent {
    /// How many of so many pages are left.
    pub fn left_of(&self, most: u64) -> u64 {
        most.saturating_sub(self.pages.saturating_add(self.reserved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_is_told_with_its_numbers() {
        let reached = |limit, asked, reserved| {
            let retry_after = Duration::from_secs(1);
            LimitReached { plan: "free".to_owned(), limit, most: 10, used: 7, reserved, asked, retry_after }.to_string()
        };
        let pages = "the plan `free` allows 10 pages per month: 7 were used";
        assert_eq!(reached(Limit::PagesPerMonth, 4, 0), format!("{pages}, and this asks for 4"));
        let kept = format!("{pages}, 2 are set aside for jobs that have not ended, and this asks for 2");
        assert_eq!(reached(Limit::PagesPerMonth, 2, 2), kept);
        assert!(reached(Limit::PagesPerMonth, 11, 0).ends_with("this asks for 11, more than a whole month has"));
        assert_eq!(reached(Limit::RequestsPerMinute, 1, 0), "the plan `free` allows 10 requests per minute");
        let jobs = "the plan `free` allows 10 concurrent jobs, and 7 have not ended";
        assert_eq!(reached(Limit::ConcurrentJobs, 1, 0), jobs);
    }
}
