//! What a page may load and do.

/// Nothing but our own files, nothing inline, and nobody frames us.
pub(super) const PAGE_CSP: &str = "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
