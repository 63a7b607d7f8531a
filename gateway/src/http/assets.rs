//! The page and its files, which are part of the program.

use std::sync::{Arc, LazyLock};

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::error::ApiError;
use super::{Web, auth};

const PAGE: &str = include_str!("assets/index.html");
const CALL: &str = include_str!("assets/call.html");
const LOCKED: &str = include_str!("assets/locked.html");
const FILES: &[(&str, &str, &str)] = &[
    ("app.js", "text/javascript; charset=utf-8", include_str!("assets/app.js")),
    ("theme.js", "text/javascript; charset=utf-8", include_str!("assets/theme.js")),
    ("words.js", "text/javascript; charset=utf-8", include_str!("assets/words.js")),
    ("app.css", "text/css; charset=utf-8", include_str!("assets/app.css")),
    ("call.css", "text/css; charset=utf-8", include_str!("assets/call.css")),
    ("call.js", "text/javascript; charset=utf-8", include_str!("assets/call.js")),
    ("rtc.js", "text/javascript; charset=utf-8", include_str!("assets/rtc.js")),
    ("tokens.css", "text/css; charset=utf-8", include_str!("assets/tokens.css")),
    ("u.en.json", "application/json", include_str!("assets/u.en.json")),
    ("u.zh.json", "application/json", include_str!("assets/u.zh.json")),
    ("u.js", "text/javascript; charset=utf-8", include_str!("assets/u.js")),
    ("s.css", "text/css; charset=utf-8", include_str!("assets/s.css")),
    ("s.js", "text/javascript; charset=utf-8", include_str!("assets/s.js")),
    ("ark.svg", "image/svg+xml", include_str!("assets/ark.svg")),
];

/// The callers' page's style: the tokens that it uses, by the system's theme, and its own.
static CALLERS_STYLE: LazyLock<String> = LazyLock::new(|| {
    let (tokens, own) = (include_str!("assets/tokens.css"), include_str!("assets/u.css"));
    let used = |block: &str| -> String {
        let body = tokens.split_once(block).and_then(|(_, rest)| rest.split_once('}')).map_or("", |(body, _)| body);
        let declared = body.split(';').map(|one| one.rsplit("*/").next().unwrap_or_default().trim());
        let wanted = declared
            .filter(|one| one.split_once(':').is_some_and(|(name, _)| own.contains(&format!("var({})", name.trim()))));
        wanted.map(|one| format!("{one};")).collect()
    };
    let (light, dark) = (used(":root {"), used(":root[data-theme=\"dark\"] {"));
    format!(":root{{color-scheme:light dark;{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n{own}")
});

/// The style of customers' pages.
#[cfg(test)]
pub(super) fn callers_style() -> &'static str {
    CALLERS_STYLE.as_str()
}

#[derive(Deserialize)]
pub(super) struct PageQuery {
    token: Option<String>,
}

/// `?token=...` becomes a cookie and a redirect, so that the token stays in no history and no log of a proxy's referrers.
pub(super) fn welcome(web: &Web, query: PageQuery, to: &'static str) -> Result<Option<Response>, ApiError> {
    let Some(token) = query.token else { return Ok(None) };
    if !web.token.is(token.trim()) {
        return Ok(Some(html(StatusCode::UNAUTHORIZED, LOCKED)));
    }
    let cookie = HeaderValue::from_str(&auth::cookie(web)).map_err(|error| ApiError::internal(error.to_string()))?;
    let to = HeaderValue::from_static(to);
    Ok(Some((StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::SET_COOKIE, cookie)]).into_response()))
}

/// `/operations`: the page of those who run the gateway.
pub(super) async fn page(
    State(web): State<Arc<Web>>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(answer) = welcome(&web, query, "/operations")? {
        return Ok(answer);
    }
    Ok(match auth::pass(&web, &headers).await?.map(|pass| pass.shown) {
        Some(_) => html(StatusCode::OK, PAGE),
        None => html(StatusCode::UNAUTHORIZED, LOCKED),
    })
}

/// `/call`: a telephone in the browser. It holds nothing secret; what it may do, a token says.
pub(super) async fn call() -> Response {
    html(StatusCode::OK, CALL)
}

fn html(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

/// `/assets/{name}`: style and script, which hold nothing secret.
pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, ApiError> {
    if name == "u.css" {
        let kind = (header::CONTENT_TYPE, "text/css; charset=utf-8");
        return Ok(([kind, (header::CACHE_CONTROL, "no-cache")], CALLERS_STYLE.as_str()).into_response());
    }
    let (_, kind, text) = FILES
        .iter()
        .find(|(known, _, _)| *known == name)
        .ok_or_else(|| ApiError::not_found(format!("the page has no file `{name}`")))?;
    Ok(([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_page_is_small_and_knows_both_themes() {
        let size = |name: &str| FILES.iter().find(|(known, _, _)| *known == name).map_or(0, |(_, _, text)| text.len());
        let page = include_str!("assets/u.html").len() + CALLERS_STYLE.len() + size("u.js");
        for words in ["u.zh.json", "u.en.json"] {
            let whole = page + size(words);
            assert!(whole < 15_000, "the page and {words} are {whole} bytes");
        }
        for name in ["--ink", "--sea", "--surface", "--late-soft"] {
            assert_eq!(CALLERS_STYLE.matches(&format!("{name}:")).count(), 2, "{name} in light and dark");
        }
        let shared = include_str!("assets/s.css").split("var(").skip(1).filter_map(|rest| rest.split(')').next());
        for name in shared {
            assert!(CALLERS_STYLE.contains(&format!("{name}:")), "the survey's page has no {name}");
        }
        let (zh, en) = (include_str!("assets/u.zh.json"), include_str!("assets/u.en.json"));
        let keys = |text: &str| -> Vec<String> {
            serde_json::from_str::<std::collections::BTreeMap<String, String>>(text).unwrap().into_keys().collect()
        };
        assert_eq!(keys(zh), keys(en));
    }
}
