//! Why a document gave no content.

use thiserror::Error;

/// Why a document gave no content.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExtractError {
    /// The document is of a kind that has no text: an image, an archive, a program.
    #[error("cannot extract content from {content_type}")]
    UnsupportedContent {
        /// What the document is, as a media type.
        content_type: String,
    },
    /// The document is not what its media type says.
    #[error("cannot decode the page: {reason}")]
    Decode {
        /// What is wrong with it.
        reason: String,
    },
    /// The page needs more memory than it may take.
    #[error(
        "the page needs more than {} MiB of memory to process: ask for fewer formats, or for less of the page with include_selectors",
        limit / (1024 * 1024)
    )]
    TooLarge {
        /// The memory that the page may take, in bytes.
        limit: usize,
    },
    /// The caller's `stop` answered `true`.
    #[error("the page took too long to process")]
    Stopped,
}

impl ExtractError {
    /// The error's code in a page result.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedContent { .. } => "unsupported_content",
            Self::Decode { .. } => "decode_error",
            Self::TooLarge { .. } => "body_too_large",
            Self::Stopped => "timeout",
        }
    }
}
