//! The plans of accounts, and what each of them allows.

use std::{fmt, str::FromStr, time::Duration};

use super::Settings;

/// A plan that an operator gives to an account. The built-in account has none: it has no limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it; what each allows is a matter of settings")]
pub enum AccountPlan {
    Free,
    Starter,
    Pro,
    Business,
    Enterprise,
}

/// What a plan allows. What is `None` has no limit. Webhooks are in every plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanLimits {
    /// Pages that may be asked of target sites in a month, UTC, in each environment.
    pub pages_per_month: Option<u64>,
    /// Calls of the API in a minute, in each environment.
    pub requests_per_minute: Option<u64>,
    /// Jobs that may be open at once, in each environment.
    pub concurrent_jobs: Option<u64>,
    /// How long results are kept.
    pub result_retention: Duration,
}

impl AccountPlan {
    /// All of them, the smallest first.
    pub const ALL: [Self; 5] = [Self::Free, Self::Starter, Self::Pro, Self::Business, Self::Enterprise];

    /// The name used in settings, on the command line and in rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Starter => "starter",
            Self::Pro => "pro",
            Self::Business => "business",
            Self::Enterprise => "enterprise",
        }
    }

    /// What it allows.
    pub fn limits(self, settings: &Settings) -> PlanLimits {
        settings.plans[self as usize]
    }
}

impl fmt::Display for AccountPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AccountPlan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|plan| plan.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is none of the plans: free, starter, pro, business, enterprise"))
    }
}
