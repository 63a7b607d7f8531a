//! The desk: `/`, its files below `/desk`, its manifest and its service worker.
//!
//! The files are made by `npm run build` in gateway/workbench and are a part of the program (build.rs); `[web] assets` names a folder
//! that is served in their place while one works on them. They hold nothing secret: who may see what, the API decides.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::assets::{PageQuery, welcome};
use super::error::ApiError;
use super::{Web, error};

/// What was built: the path below `dist`, and the bytes.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/workbench.rs"));

/// Files below here have a name of their own for each content.
const HASHED: &str = "desk/h/";
/// The longest path of a file.
const PATH_BYTES_MAX: usize = 200;

/// The strict policy of all pages, and what an app that can be installed needs: its manifest, its worker, and pictures that the agent
/// has chosen but not sent yet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; \
                      connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// The desk's paths.
pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/", get(page))
        .route("/desk/{*path}", get(file))
        .route("/sw.js", get(file))
        .route("/manifest.webmanifest", get(file))
}

/// `/`: the desk. It signs people in itself; a link with the gateway's token becomes a cookie first.
async fn page(
    State(web): State<Arc<Web>>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(answer) = welcome(&web, query, "/")? {
        return Ok(answer);
    }
    let Some(mut answer) = found(&web, "index.html", &headers).await else { return Ok(not_built()) };
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(answer)
}

async fn file(State(web): State<Arc<Web>>, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    match found(&web, path, &headers).await {
        Some(answer) => answer,
        None => error::not_found().await.into_response(),
    }
}

/// A file as this client takes it: packed when it was packed at the build and the client can unpack.
async fn found(web: &Web, path: &str, headers: &HeaderMap) -> Option<Response> {
    let takes = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let can = |word: &str| takes.split(',').any(|one| one.trim().split(';').next() == Some(word));
    for (ending, word) in [(".br", "br"), (".gz", "gzip")] {
        if !can(word) {
            continue;
        }
        if let Some(bytes) = read(web, &format!("{path}{ending}")).await {
            let mut answer = answer(path, bytes);
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(word));
            return Some(answer);
        }
    }
    Some(answer(path, read(web, path).await?))
}

async fn read(web: &Web, path: &str) -> Option<axum::body::Bytes> {
    let fits = |name: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        !name.is_empty() && !name.starts_with('.') && name.bytes().all(known)
    };
    if path.len() > PATH_BYTES_MAX || !path.split('/').all(fits) {
        return None;
    }
    match &web.assets {
        Some(folder) => Some(tokio::fs::read(folder.join(path)).await.ok()?.into()),
        None => {
            let known = FILES.binary_search_by_key(&path, |(name, _)| name).ok()?;
            Some(axum::body::Bytes::from_static(FILES[known].1))
        }
    }
}

fn answer(path: &str, bytes: axum::body::Bytes) -> Response {
    // What is named by its content never changes; of everything else the newest is asked for.
    let keep = if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers =
        [(header::CONTENT_TYPE, kind(path)), (header::CACHE_CONTROL, keep), (header::VARY, "Accept-Encoding")];
    (headers, bytes).into_response()
}

fn kind(path: &str) -> &'static str {
    match Path::new(path).extension().and_then(|ending| ending.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        _ => "application/octet-stream",
    }
}

/// What is said when the program was built without the desk.
fn not_built() -> Response {
    let text = include_str!("assets/desk-missing.html");
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

/// Whether the desk is a part of this program, or a folder stands in for it.
pub fn is_built(assets: Option<&PathBuf>) -> bool {
    assets.is_some() || !FILES.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_in_order_and_of_known_kinds() {
        assert!(FILES.is_sorted_by_key(|(name, _)| name), "binary search");
        for (name, bytes) in FILES {
            let plain = name.trim_end_matches(".br").trim_end_matches(".gz");
            assert_ne!(kind(plain), "application/octet-stream", "{name}");
            assert!(!bytes.is_empty(), "{name}");
        }
    }

    #[test]
    fn the_desk_is_small_and_has_nothing_inline() {
        let Some((_, page)) = FILES.iter().find(|(name, _)| *name == "index.html") else { return };
        let page = std::str::from_utf8(page).unwrap();
        assert!(!page.contains("style=") && !page.contains("<style") && !page.contains("<script>"), "{page}");
        let packed = FILES.iter().filter(|(name, _)| name.starts_with(HASHED) && name.ends_with(".gz"));
        let whole: usize = packed.map(|(_, bytes)| bytes.len()).sum();
        assert!(whole < 120 * 1024, "scripts and styles are {whole} bytes over the wire");
    }
}
