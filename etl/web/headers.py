"""Security headers: one set for the APIs, one for the pages.

Browsers keep the HSTS policy that a host sent last (RFC 6797 section 8.1), so all packages send
the same one.
"""

from __future__ import annotations

from typing import Final

HSTS: Final = "max-age=31536000; includeSubDomains"


def api_headers(base_url: str) -> dict[str, str]:
    """Return the security headers of an API response.

    Args:
        base_url: public URL of the server; HSTS is for `https:` only.
    """
    headers = {"x-content-type-options": "nosniff"}
    if base_url.startswith("https://"):
        headers["strict-transport-security"] = HSTS
    return headers


def page_headers(
    base_url: str,
    *,
    form_action: str = "'self'",
    scripts_from: str = "",
    has_scripts: bool = False,
    cache: str = "no-store",
) -> dict[str, str]:
    """Return the security headers of a page: no inline script or style, no framing, no referrer.

    Args:
        base_url: public URL of the server.
        form_action: allowed targets of forms and their redirects (CSP `form-action`).
        scripts_from: origin that scripts may call besides the page's own; empty for none.
        has_scripts: whether the page has scripts of this server that call nobody.
        cache: `Cache-Control`.
    """
    scripts = "script-src 'self'; " if scripts_from or has_scripts else ""
    scripts += f"connect-src 'self' {scripts_from}; " if scripts_from else ""
    headers = api_headers(base_url) | {
        "content-security-policy": (
            f"default-src 'none'; {scripts}style-src 'self'; img-src 'self' data:; "
            f"form-action {form_action}; frame-ancestors 'none'; base-uri 'none'"
        ),
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": cache,
    }
    if cache == "no-store":
        headers["pragma"] = "no-cache"
    return headers
