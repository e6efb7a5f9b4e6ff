//! Serves the files in `assets/`: named by their content, compressed once, cached by browsers
//! without a limit.
//!
//! Addresses contain one hash over all files (`/assets/3f2a…/app.css`) instead of one per file, so
//! that modules can import each other by their plain names without a build step.

use std::collections::HashMap;
use std::io::Write;
use std::sync::OnceLock;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyprbox_protocol::to_hex;
use rust_embed::Embed;

use super::policy::PAGE_CSP;
use crate::http::{ApiError, Path};

#[derive(Embed)]
#[folder = "assets/"]
struct Files;

/// A file, ready to be sent.
struct Asset {
    kind: &'static str,
    plain: Bytes,
    gzip: Bytes,
}

struct AssetIndex {
    version: String,
    assets: HashMap<String, Asset>,
}

fn index() -> &'static AssetIndex {
    static INDEX: OnceLock<AssetIndex> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut names: Vec<_> = Files::iter().collect();
        names.sort();
        let mut hash = crate::crypto::Sha256::default();
        let mut assets = HashMap::new();
        for name in names {
            let Some(file) = Files::get(&name) else {
                continue;
            };
            hash.update(name.as_bytes());
            hash.update(file.metadata.sha256_hash());
            assets.insert(name.into_owned(), pack(&file.data));
        }
        for (name, asset) in &mut assets {
            asset.kind = kind_of(name);
        }
        AssetIndex {
            version: to_hex(&hash.finish()[..8]),
            assets,
        }
    })
}

fn pack(plain: &[u8]) -> Asset {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let packed = gzip.write_all(plain).and_then(|()| gzip.finish());
    Asset {
        kind: "",
        plain: Bytes::copy_from_slice(plain),
        gzip: packed.expect("memory takes every write").into(),
    }
}

fn kind_of(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// The address of a file.
pub(super) fn url(name: &str) -> String {
    format!("/assets/{}/{name}", index().version)
}

/// The modules that `module` imports, so that the browser fetches all of them at the same time.
pub(super) fn parts_of(module: &str) -> &'static [&'static str] {
    match module {
        "job.js" => &[
            "share.js",
            "shared-stream.js",
            "stream.js",
            "regions.js",
            "ansi.js",
            "blocks.js",
            "build.js",
            "log.js",
            "clock.js",
            "steps.js",
            "links.js",
            "copy.js",
            "scroll.js",
            "search.js",
            "time.js",
        ],
        "worker.js" => &["shared-stream.js", "stream.js"],
        "live.js" | "run.js" => &[
            "share.js",
            "shared-stream.js",
            "stream.js",
            "regions.js",
            "time.js",
        ],
        _ => &[],
    }
}

/// Serves a file; 404 for another version's address.
pub(super) async fn serve(
    Path((version, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let index = index();
    let asset = index.assets.get(&file).filter(|_| version == index.version);
    let asset = asset.ok_or_else(|| ApiError::not_found("not_found", "File not found"))?;
    let etag = format!("\"{}\"", index.version);
    let has = |name, wanted: &str| {
        let value: Option<&HeaderValue> = headers.get(name);
        value.is_some_and(|value| value.to_str().is_ok_and(|value| value.contains(wanted)))
    };
    let common = [
        (header::ETAG, etag.clone()),
        (
            header::CACHE_CONTROL,
            "public, max-age=31536000, immutable".to_owned(),
        ),
        (header::VARY, "Accept-Encoding".to_owned()),
    ];
    if has(header::IF_NONE_MATCH, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let kind = [
        (header::CONTENT_TYPE, asset.kind),
        // A worker follows the policy of its own file, not the page's.
        (header::CONTENT_SECURITY_POLICY, PAGE_CSP),
    ];
    if has(header::ACCEPT_ENCODING, "gzip") {
        let encoding = [(header::CONTENT_ENCODING, "gzip")];
        return Ok((common, kind, encoding, asset.gzip.clone()).into_response());
    }
    Ok((common, kind, asset.plain.clone()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_that_is_named_is_there() {
        for entry in ["job.js", "live.js", "worker.js", "queue.js", "palette.js"] {
            for name in parts_of(entry).iter().chain([&entry]) {
                assert!(index().assets.contains_key(*name), "{name}");
            }
        }
    }

    #[test]
    fn imports_are_preloaded() {
        for entry in ["job.js", "live.js", "worker.js"] {
            let mut names = vec![entry];
            while let Some(name) = names.pop() {
                let text = Files::get(name).expect(name);
                let text = String::from_utf8_lossy(&text.data).into_owned();
                for import in text
                    .lines()
                    .filter_map(|line| line.split(" from './").nth(1))
                {
                    let part = import.trim_end_matches(['\'', ';']);
                    let known = parts_of(entry).iter().find(|known| **known == part);
                    names.push(known.unwrap_or_else(|| panic!("{entry} needs {part}")));
                }
            }
        }
    }

    #[test]
    fn the_job_page_is_light() {
        let all = parts_of("job.js").iter().copied();
        let names = all.chain([
            "job.js",
            "worker.js",
            "early.js",
            "page.js",
            "theme.js",
            "app.css",
            "log.css",
            "history.css",
            "favicon.svg",
        ]);
        let bytes: usize = names.map(|name| index().assets[name].gzip.len()).sum();
        assert!(bytes < 60_000, "{bytes} bytes");
    }
}
