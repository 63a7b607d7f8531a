//! The desk's own files.

use axum::body::Body;
use http::{Request, StatusCode, header};

use super::kit::Made;
use super::{ask, text};
use ark::http::router;

#[tokio::test]
async fn a_folder_stands_in_for_the_desk_and_nothing_else_of_it_is_served() {
    let made = Made::new("assets");
    let folder = made.folder.join("dist");
    std::fs::create_dir_all(folder.join("desk/h")).unwrap();
    let files = [
        ("index.html", "<p>desk"),
        ("desk/h/app-1.js", "plain"),
        ("desk/h/app-1.js.gz", "packed"),
        ("desk/first.js", "1"),
    ];
    for (name, words) in files {
        std::fs::write(folder.join(name), words).unwrap();
    }
    std::fs::write(made.folder.join("secret.txt"), "secret").unwrap();
    let router = router(made.web_with_assets(folder));
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();

    let page = ask(&router, get("/")).await;
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self';") && policy.contains("manifest-src 'self'"), "{policy}");
    assert_eq!(page.headers()[header::CACHE_CONTROL], "no-cache");
    assert_eq!(text(page).await, "<p>desk");

    let plain = ask(&router, get("/desk/h/app-1.js")).await;
    assert!(plain.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    assert_eq!(plain.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
    assert_eq!(text(plain).await, "plain");
    let packed = Request::get("/desk/h/app-1.js").header(header::ACCEPT_ENCODING, "gzip, br;q=0.9");
    let packed = ask(&router, packed.body(Body::empty()).unwrap()).await;
    assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
    assert_eq!(text(packed).await, "packed");
    assert_eq!(ask(&router, get("/desk/first.js")).await.headers()[header::CACHE_CONTROL], "no-cache");

    for path in [
        "/desk/none.js",
        "/desk/../secret.txt",
        "/desk/%2e%2e/secret.txt",
        "/desk/..%2fsecret.txt",
        "/desk/.hidden",
        "/desk/h",
    ] {
        assert_eq!(ask(&router, get(path)).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    std::fs::remove_dir_all(&made.folder).unwrap();
}
