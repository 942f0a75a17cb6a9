//! The columns of a segment's row, by name: what tables refer to by number.
//!
//! Of the segment itself (`chars` … `in_data`); what it is within (`w_…`, `depth`, `lists`); of the containers around it, from the
//! smallest (`c0_…` … `c4_…`: characters, share of links, words per segment, share of the page, sentences per segment); of
//! what is like it (`same_…`, `items` …); where it stands and next to what (`at` … `around_links`); what words say
//! (`class_…`, `text_…`, `heading_says`); whether names on its path have a role (`r_…`, as in `lexicon::ROLES`).

/// The columns, in order.
#[rustfmt::skip]
pub(super) const NAMES: &[&str] = &[
    "chars", "words", "link_share", "word_len", "stops", "commas", "digits", "capitals", "ending", "prices", "bars",
    "copyright", "upper", "is_p", "is_li", "heading", "is_cell", "is_term", "is_code", "is_button", "is_link",
    "is_inline", "is_block", "has_time", "in_title", "in_description", "in_data", "w_article", "w_main", "w_nav",
    "w_header", "w_footer", "w_aside", "w_form", "w_list", "w_table", "w_figure", "w_section", "w_hidden",
    "w_noscript", "w_dialog", "w_terms", "w_quote", "w_item", "depth", "lists", "c0_chars", "c0_links", "c0_per",
    "c0_share", "c0_stops", "c1_chars", "c1_links", "c1_per", "c1_share", "c1_stops", "c2_chars", "c2_links",
    "c2_per", "c2_share", "c2_stops", "c3_chars", "c3_links", "c3_per", "c3_share", "c3_stops", "c4_chars",
    "c4_links", "c4_per", "c4_share", "c4_stops", "same_path", "same_path_chars", "same_path_links", "same_kind",
    "same_kind_chars", "same_kind_links", "same_text", "items", "item_chars", "item_links", "item_at", "items_most",
    "at", "at_chars", "before", "after", "from_h1", "from_heading", "heading_level", "heading_inside", "prev_words",
    "prev_links", "prev_heading", "prev2_words", "next_words", "next_links", "next_heading", "next2_words",
    "to_first_long", "from_last_long", "around_words", "around_links", "class_own", "class_near", "class_sum",
    "class_min", "class_max", "text_score", "text_mean", "heading_says", "prev_text_score", "next_text_score",
    "around_text_score", "same_before", "h1_level", "role_own", "r_comment", "r_review", "r_related", "r_sidebar",
    "r_filter", "r_breadcrumb", "r_byline", "r_share", "r_price", "r_title", "r_tabs", "r_detail", "r_card",
    "r_content", "r_post", "r_slider", "r_modal", "r_consent", "r_buy", "r_menu", "r_pages", "r_tags", "r_signup",
    "r_promo",
];
