//! Who sees which conversation.

use axum::extract::Request;

use super::Web;
use super::error::ApiError;
use super::grant::Grant;

#[derive(Default)]
pub(super) struct Facts;

/// Lets a request pass that is for something its sender may see.
pub(super) async fn let_see(_web: &Web, _grant: &Grant, request: Request) -> Result<Request, ApiError> {
    Ok(request)
}
