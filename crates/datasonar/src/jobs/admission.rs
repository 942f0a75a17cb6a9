//! Counting sitemaps against the plan of the account that has them read.

use datasonar_store::Scope;
use futures::FutureExt;

use crate::{
    crawl::{Admission, Reading},
    plans::Plans,
};

/// Counts each sitemap as a page of a plan, and admits none when the plan has no pages left. `besides`: also besides the pages that
/// open jobs have set aside. Admits none while the store fails, and logs that.
pub fn admit_sitemaps(plans: Plans, scope: Scope, besides: bool) -> Admission {
    Admission::new(move |reading| {
        let plans = plans.clone();
        async move {
            let admitted = match reading {
                Reading::Begins => plans.has_pages(scope, besides).await,
                Reading::Succeeded => plans.count(scope, 1).await.map(|()| true),
            };
            admitted.unwrap_or_else(|error| {
                tracing::warn!(%error, "a sitemap cannot be counted");
                false
            })
        }
        .boxed()
    })
}
