//! The suite that every store must pass.
//!
//! **Role.** Each public function here is one check of what [`Store`](crate::Store) promises, on a store that is empty
//! and the check's own. [`conformance!`](crate::conformance!) makes a test of each, for a function that makes such a
//! store. What wraps a store, to inject faults or to count, can be put to the same suite.
//!
//! **What it does not do.** It does not look into the store: a check knows the trait and nothing below it. Durability
//! and speed are each store's own tests.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "checks fail by panicking, in tests only")]

pub mod accounts;
pub mod allowance;
pub mod bulk;
pub mod claims;
pub mod crawls;
pub mod deliveries;
pub mod insight;
pub mod isolation;
pub mod jobs;
pub mod lanes;
pub mod leases;
pub mod lists;
pub mod model;
pub mod model_crawls;
pub mod model_deliveries;
pub mod people;
pub mod plans;
pub mod races;
pub mod replays;
pub mod samples;
pub mod schedules;
pub mod secrets;
pub mod trials;
pub mod upkeep;

use std::any::Any;
use std::sync::Arc;

use crate::WholeStore;

/// An empty store for one check.
pub struct Fixture {
    /// The store.
    pub store: Arc<dyn WholeStore>,
    /// What must live as long as the store does, such as its directory.
    pub keep: Box<dyn Any + Send>,
}

/// Makes a `#[tokio::test]` of every check of the suite. `$make` is a path to an `async fn() -> Fixture`.
///
/// The calling crate needs `tokio` with its macros and multi-threaded runtime.
#[macro_export]
macro_rules! conformance {
    ($make:path) => {
        $crate::conformance!(@checks $make;
            accounts: set_up_fills_an_empty_store_once, accounts_are_found, keys_authenticate_until_revoked,
                keys_are_listed_by_account, the_same_key_is_refused, usage_sums_days_and_scopes;
            allowance: accounts_are_made_and_listed, an_address_names_one_account, plans_are_changed,
                permits_are_those_of_a_minute, parallel_takers_share_a_minute,
                pages_are_charged_before_they_are_asked_for, parallel_charges_keep_to_the_limit,
                jobs_keep_to_the_pages_that_are_left, parallel_submissions_keep_to_the_limits, open_jobs_are_limited,
                a_crawl_gets_what_is_left, cancelled_pages_are_not_used,
                a_repeated_request_is_answered_at_the_limit, a_run_over_the_limit_is_not_recorded;
            secrets: the_newest_signs_first, rotation_lets_the_old_one_overlap, a_shorter_overlap_counts,
                ten_sign_at_most, secrets_keep_to_their_scope;
            jobs: a_job_is_kept_as_submitted, a_job_without_tasks_is_refused, the_same_id_is_refused,
                jobs_keep_to_their_scope, a_repeated_request_is_answered_again, another_request_is_a_mismatch,
                idempotency_keys_keep_to_their_scope, idempotency_keys_expire_after_a_day, a_batch_completes,
                a_scrape_fails_with_its_page, a_batch_never_fails_with_a_page, a_job_without_endpoint_owes_nothing,
                results_are_read_in_order_without_gaps, segments_are_kept_in_order,
                segments_that_do_not_fit_are_refused, counts_that_do_not_add_up_are_refused,
                a_cancelled_job_fails_and_keeps_its_pages, cancelling_twice_is_no_error, an_ended_job_is_not_cancelled,
                five_thousand_tasks;
            lists: jobs_come_newest_first_in_pages, jobs_are_filtered, ended_jobs_come_in_the_order_of_their_ends, deliveries_come_newest_first_in_pages,
                deliveries_are_filtered;
            claims: a_claim_tells_all_that_is_needed, inline_input_is_cut, the_first_claim_starts_the_job,
                nothing_to_claim, a_limit_of_nothing, tasks_come_in_order, accounts_take_turns, jobs_take_turns,
                the_environments_of_an_account_share_its_turns, a_new_job_comes_before_all,
                a_lone_job_gets_everything, no_job_gets_more_than_its_share_beside_another,
                held_tasks_count_towards_the_share, two_full_jobs_get_no_more,
                a_job_that_gave_its_last_does_not_wait, newcomers_only_serves_newcomers,
                a_single_scrape_is_served_beside_a_large_batch;
            leases: an_expired_lease_is_claimed_again, a_stale_finish_changes_nothing, a_late_finish_counts_unless_taken,
                a_task_is_finished_once, a_renewed_lease_does_not_expire, renewals_tell_each_lease_its_fate,
                a_lapsed_lease_can_be_renewed_unless_taken, released_tasks_are_claimed_at_once,
                a_released_lease_is_worth_nothing, a_stale_release_changes_nothing, freed_leases_are_worth_nothing,
                lapsed_leases_are_worth_nothing_once_given_back,
                unknown_leases_are_lost;
            isolation: the_second_death_isolates_a_task, a_lapse_of_ones_own_is_no_death,
                a_death_of_one_that_lives_is_taken_back, isolated_tasks_have_a_lane, deaths_are_told_by_page,
                pages_are_kept, dropped_pages_are_kept, isolated_pages_are_fenced,
                a_cancelled_job_ends_in_isolation;
            deliveries: an_ended_job_owes_one_delivery, a_claim_tells_what_an_attempt_needs, expired_secrets_do_not_sign,
                the_longest_due_comes_first, a_held_delivery_is_not_claimed, a_delivery_not_due_is_not_claimed,
                an_expired_delivery_lease_is_claimed_again, a_stale_attempt_changes_nothing,
                a_delivery_lease_is_renewed, a_delivery_is_released, attempts_are_logged_in_full,
                failures_follow_the_verdict, what_was_delivered_stays_delivered, freed_deliveries_are_due_again,
                the_next_due_time_is_told, deliveries_keep_to_their_scope;
            replays: a_failed_delivery_is_replayed, a_double_click_sends_once, a_delivered_one_is_sent_again,
                a_replay_asked_for_during_an_automatic_attempt_follows_it,
                a_replay_asked_for_during_a_replay_changes_nothing, a_replay_survives_a_lapsed_lease,
                a_replay_survives_a_release, a_replay_outlives_the_one_who_held_before,
                replays_do_not_count_as_automatic, an_expired_result_is_not_replayed, replays_keep_to_their_scope;
            lanes: due_endpoints_are_returned_once, endpoints_are_told_apart_by_path,
                many_endpoints_of_a_scope_are_reached_in_turns, a_claim_keeps_to_its_shares, a_dead_host_hides_no_other,
                lanes_follow_the_attempts, a_replay_that_waited_is_first, lapsed_leases_show_by_themselves,
                delivery_renewals_tell_each_its_fate;
            trials: a_test_is_made_ended_and_held, a_test_is_not_tried_again, a_test_that_was_not_recorded_has_failed,
                a_test_is_replayed, a_test_expires;
            bulk: a_selection_is_replayed, all_that_stand_anywhere_are_replayed, selections_select,
                what_comes_later_is_not_replayed, what_fits_no_more_is_passed_over, deleted_results_are_not_replayed,
                the_window_is_kept, waiting_replays_fill_the_window, two_bulk_replays_at_once_send_once,
                bulk_replays_take_turns, a_bulk_replay_is_cancelled, bulk_replays_are_listed,
                ended_bulk_replays_are_deleted, parallel_advances_mark_once;
            upkeep: results_expire, results_that_are_owed_are_kept, expiry_is_bounded, logs_are_deleted,
                idempotency_keys_are_deleted, unknown_jobs_are_told, totals_count, ping_answers;
            races: parallel_claimers_never_share_a_task, parallel_finishers_end_the_job_once,
                twenty_submissions_with_one_key_make_one_job, parallel_dispatchers_never_share_a_delivery,
                two_finishers_of_one_lease, a_caller_that_goes_away_harms_nobody;
            crawls: a_crawl_begins_with_its_start, levels_come_one_after_the_other, urls_are_admitted_once,
                no_more_pages_than_asked_for, pages_that_are_dropped_make_room, pages_are_claimed_once,
                pages_that_name_each_other_do_not_both_give_way, discoveries_may_come_early_and_twice,
                a_stale_lease_discovers_nothing, a_cancelled_crawl_ends, skipped_urls_are_listed_once,
                skips_beyond_the_list_are_counted, crawls_expire, results_that_do_not_fit_are_refused;
            schedules: schedules_are_kept_and_changed, a_schedule_is_created_once, schedules_are_listed,
                schedules_are_due_at_their_times, a_time_runs_once, many_schedulers_start_one_job,
                a_run_waits_for_the_job_before, an_older_job_counts_as_open, what_comes_of_a_time_is_told,
                a_person_may_run_it_now, runs_are_deleted_with_the_logs, schedules_are_listed_with_their_last_run;
            insight: activity_is_counted_where_it_happens, activity_of_steps_done_together_is_complete,
                what_did_not_happen_is_not_counted, activity_is_asked_for_within_bounds, old_activity_is_forgotten,
                jobs_are_searched, parts_of_lists_join, deliveries_are_searched, dead_letters_are_grouped,
                endpoints_are_told_worst_first, what_stands_where_is_counted, errors_are_counted_by_code,
                urls_of_errors_are_bounded, uses_of_keys_are_noted;
            people: the_first_link_comes_with_the_account, a_link_is_used_once, twenty_who_use_a_link_make_one_user,
                a_link_for_an_address_is_for_no_other, a_password_is_mended_by_a_link,
                links_give_no_user_away, links_are_listed_and_withdrawn, links_are_bounded,
                sessions_are_found_while_they_are_used, sessions_are_closed, sessions_are_bounded,
                passwords_are_set_against_the_old_one, members_are_listed_and_removed, an_account_keeps_an_owner,
                failures_are_counted, failures_of_a_crowd_are_counted, what_is_past_of_people_is_deleted;
            model: random_steps_keep_to_the_model;
            model_crawls: random_crawls_keep_to_the_model;
            model_deliveries: random_steps_of_deliveries_keep_to_the_model;
        );
    };
    (@checks $make:path; $($module:ident: $($check:ident),+;)+) => {$(
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let fixture = $make().await;
                    $crate::conformance::$module::$check(std::sync::Arc::clone(&fixture.store)).await;
                }
            )+
        }
    )+};
}
