//! `/s/{token}`: a customer's page to say how content they were. It is open to the whole internet, so nothing of it needs the gateway's
//! token, opening it changes nothing, and every answer keeps itself out of caches, frames, referrers and search engines.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::Web;
use super::client::{self, Peer};
use super::linked::{self, keep_private};
use crate::survey::{Survey, SurveyError};

const PAGE: &str = include_str!("assets/s.html");
/// What the page may do: its own script and style.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// Every path of the page.
pub(super) fn routes() -> axum::Router<Arc<Web>> {
    axum::Router::new()
        .route("/s/{token}", get(page).post(answer))
        .route("/s/{token}/state", get(state))
        .layer(axum::middleware::from_fn(private))
}

/// What every answer says beside what all answers say.
async fn private(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    keep_private(&mut response, POLICY);
    response
}

struct Refusal(SurveyError);

impl From<SurveyError> for Refusal {
    fn from(error: SurveyError) -> Self {
        Self(error)
    }
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = self.0;
        let (status, code) = match &error {
            SurveyError::Unknown => (StatusCode::NOT_FOUND, "unknown"),
            SurveyError::Over => (StatusCode::GONE, "over"),
            SurveyError::Answered => (StatusCode::CONFLICT, "answered"),
            SurveyError::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            SurveyError::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many"),
            SurveyError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        };
        let wait = if let SurveyError::TooMany(wait) = error { Some(wait) } else { None };
        linked::refuse(status, linked::refusal(code, &error), wait)
    }
}

fn service(web: &Web) -> Result<Arc<Survey>, SurveyError> {
    web.control.survey().ok_or(SurveyError::Unknown)
}

/// The page. Nothing happens by its being opened: previews and scanners answer nothing.
async fn page() -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
}

#[derive(Serialize)]
struct Shown {
    question: String,
    answers: Vec<String>,
    thanks: String,
    answered: bool,
}

async fn state(
    State(web): State<Arc<Web>>,
    Path(token): Path<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Json<Shown>, Refusal> {
    let from = client::address(&web.proxies, peer, &headers);
    let crate::survey::Question { question, answers, thanks, answered } = service(&web)?.look(&token, from).await?;
    Ok(Json(Shown { question, answers, thanks, answered }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    score: u8,
    #[serde(default)]
    comment: String,
}

async fn answer(
    State(web): State<Arc<Web>>,
    Path(token): Path<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    request: Result<Json<Answer>, JsonRejection>,
) -> Result<(StatusCode, Json<serde_json::Value>), Refusal> {
    let from = client::address(&web.proxies, peer, &headers);
    let Json(Answer { score, comment }) = request.map_err(|_| SurveyError::Malformed("a score is asked for"))?;
    service(&web)?.answer(&token, from, score, &comment).await?;
    Ok((StatusCode::CREATED, Json(serde_json::json!({}))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small() {
        let own = PAGE.len() + include_str!("assets/s.css").len() + include_str!("assets/s.js").len();
        let whole = own + super::super::assets::callers_style().len();
        assert!(whole < 15_000, "the page is {whole} bytes");
    }
}
