//! Ends of a stream to the collector: why, and what that says of the events that were sent.

use std::error::Error;

use skep_proto::v1;
use skep_spool::SpoolError;

use crate::causes::with_causes;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    #[error("address {address}: {reason}")]
    Address { address: String, reason: String },
    #[error("{0}")]
    Connect(String),
    #[error("no answer within {0:?}")]
    NoAnswer(std::time::Duration),
    #[error("{0}")]
    Stream(String),
    #[error("the collector ended the stream")]
    Closed,
    #[error("refused by the collector: {code}: {reason}")]
    Refused { code: String, reason: String },
    #[error("unexpected message from the collector: {0}")]
    Unexpected(&'static str),
    #[error("the collector has stored {theirs}, but {ours} was acknowledged before")]
    Behind { theirs: u64, ours: u64 },
    #[error(
        "the collector has stored another event as {seq}: this sensor's state is a copy of another's"
    )]
    Copied { seq: u64 },
    #[error("the other lane of this sensor was found to be a copy of another's")]
    OtherLaneCopied,
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// What is known of the events the collector refuses.
#[derive(Debug, Default)]
pub struct Position {
    /// The first event that was not acknowledged when it refused last, and how often it did.
    pub refused: Option<(u64, u32)>,
    /// Given up: a `lost` event goes in its place.
    pub condemned: Option<u64>,
}

// === impl End ===

impl End {
    /// Whether the two sides number the same events differently.
    pub fn numbers_differ(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code == "sequence_gap" || code == "wrong_epoch",
            Self::Behind { .. }
            | Self::Copied { .. }
            | Self::OtherLaneCopied
            | Self::Spool(SpoolError::NeverSent { .. }) => true,
            _ => false,
        }
    }

    /// Whether it tells that another sensor has the same state, or had.
    pub fn is_a_copy(&self) -> bool {
        matches!(
            self,
            Self::Copied { .. } | Self::Spool(SpoolError::NeverSent { .. })
        )
    }

    pub fn is_about_content(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "malformed" || code == "too_large")
    }
}

pub fn stream_error(status: &tonic::Status) -> End {
    if let Some(source) = status.source()
        && source.is::<tonic::transport::Error>()
    {
        return End::Connect(with_causes(source));
    }
    End::Stream(format!("{}: {}", status.code(), status.message()))
}

pub fn refused(refusal: v1::Refusal) -> End {
    let v1::Refusal { code, reason } = refusal;
    End::Refused { code, reason }
}
