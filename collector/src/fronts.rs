//! Fronts: where queries come in. Each asks the same [`crate::query::Engine`], which has the limits.

pub mod fleet;
pub mod grpc;
pub mod http;
pub mod postgres;
