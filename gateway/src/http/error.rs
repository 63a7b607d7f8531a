//! What a request hears that was not done: `{"error": {"code", "message"}}`.

use ark_store::StoreError;
use axum::Json;
use axum::extract::Request;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control::ControlError;
use crate::conversations::owner::CommandError;

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// What went wrong.
    error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// For programs: `unauthorized`, `not_found`, `refused`, `unavailable`, `bad_request` ...
    code: &'static str,
    /// For people: what is wrong and what to do.
    message: String,
}

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "bad_request", message: message.into() }
    }

    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, code: "too_large", message: message.into() }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: "not_found", message: message.into() }
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, code: "forbidden", message: message.into() }
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code: "unavailable", message: message.into() }
    }

    pub(super) fn unauthorized() -> Self {
        let message = "this needs the token of data/ark.token, or one of `ark token create`: send it as `Authorization: Bearer ...`, or sign in";
        Self { status: StatusCode::UNAUTHORIZED, code: "unauthorized", message: message.into() }
    }

    pub(super) fn foreign_origin() -> Self {
        let message =
            "another site's page may not do this: the request's Origin is not this gateway's (see [web] public_url)";
        Self { status: StatusCode::FORBIDDEN, code: "forbidden", message: message.into() }
    }

    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, code: "refused", message: message.into() }
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, code: "conflict", message: message.into() }
    }

    /// An API token that is good for something else.
    pub(super) fn no_scope(needed: &str) -> Self {
        let message = format!(
            "this lacks the scope `{needed}`: make a token that has it with `ark token create`, or sign in as somebody whose role opens it"
        );
        Self { status: StatusCode::FORBIDDEN, code: "missing_scope", message }
    }

    /// An API token where only the gateway's own serves.
    pub(super) fn not_own_token() -> Self {
        let message = "no scope opens this: it needs the gateway's own token, of data/ark.token";
        Self { status: StatusCode::FORBIDDEN, code: "missing_scope", message: message.into() }
    }

    /// Somebody who has signed in, where a role is needed that they have not.
    pub(super) fn no_role(needed: &str) -> Self {
        let message = format!(
            "this is for who has the role `{needed}`: an operator gives it to you; an API token does not serve here"
        );
        Self { status: StatusCode::FORBIDDEN, code: "missing_role", message }
    }

    /// A name or a password that is not so: which, is not said.
    pub(super) fn wrong_name_or_password() -> Self {
        let message = "there is no such account, or this is not its password";
        Self { status: StatusCode::UNAUTHORIZED, code: "wrong_name_or_password", message: message.into() }
    }

    /// Too many wrong tries.
    pub(super) fn too_many_tries(seconds: u64) -> Self {
        let message = format!("too many wrong tries: try again in {seconds} s");
        Self { status: StatusCode::TOO_MANY_REQUESTS, code: "too_many_tries", message }
    }

    /// What a store says of a new token.
    pub(super) fn of_token(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(why) => Self::conflict(why),
            StoreError::Refused(why) => Self::refused(why),
            error => error.into(),
        }
    }

    /// What it says to people.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn foreign_site() -> Self {
        let message = "pages of this site may not call: its Origin is not in [webrtc] origins";
        Self { status: StatusCode::FORBIDDEN, code: "forbidden", message: message.into() }
    }

    pub(super) fn chat(status: StatusCode, message: String) -> Self {
        let code = match status {
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::FORBIDDEN => "forbidden",
            _ => "pace",
        };
        Self { status, code, message }
    }

    pub(super) fn no_call_token() -> Self {
        let message =
            "this needs a token for that hotline, from POST /api/v1/webrtc/tokens: `Authorization: Bearer ...`";
        Self { status: StatusCode::UNAUTHORIZED, code: "unauthorized", message: message.into() }
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, code: "internal", message: message.into() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(ErrorBody { error: ErrorDetail { code: self.code, message: self.message } });
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotFound(message) => Self::not_found(message),
            ControlError::Refused(message) => {
                Self { status: StatusCode::UNPROCESSABLE_ENTITY, code: "refused", message }
            }
            ControlError::Unavailable(message) => Self::unavailable(message),
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        let conflict = |code| Self { status: StatusCode::CONFLICT, code, message: message.clone() };
        match error {
            CommandError::NoConversation(_) => Self::not_found(message),
            CommandError::StaleEpoch { .. } => conflict("stale_epoch"),
            CommandError::NotOwner { .. } => conflict("not_owner"),
            CommandError::Closed => conflict("closed"),
            CommandError::OfferOver => conflict("offer_over"),
            CommandError::Refused(_) => Self { status: StatusCode::UNPROCESSABLE_ENTITY, code: "refused", message },
            CommandError::Unavailable(_) => Self::unavailable(message),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchPlan { .. } => Self::not_found(error.to_string()),
            _ => Self::unavailable(error.to_string()),
        }
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        let status = rejection.status();
        let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "too_large" } else { "bad_request" };
        Self { status, code, message: rejection.body_text() }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

/// What the framework refuses by itself (a path that is no UTF-8, a body that is too long) gets the same form as the rest.
pub(super) async fn one_form(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let has_form = kind.is_some_and(|kind| !kind.starts_with("text/plain"));
    if has_form || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (code, message) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the request's body is larger than 1 MB"),
        StatusCode::INTERNAL_SERVER_ERROR => ("internal", "a fault of Ark's; its log says more"),
        _ => ("bad_request", "the request cannot be read; /api/v1/openapi.json says how it must look"),
    };
    ApiError { status, code, message: message.into() }.into_response()
}

pub(super) async fn not_found() -> ApiError {
    ApiError::not_found("there is nothing here; /api/v1/openapi.json says what there is")
}

pub(super) async fn method_not_allowed() -> ApiError {
    ApiError {
        status: StatusCode::METHOD_NOT_ALLOWED,
        code: "method_not_allowed",
        message: "this path has other methods; /api/v1/openapi.json says which".into(),
    }
}
