"""Drafts of apps like another one."""

from etl.auth.registration import AppDraft


def draft_like(draft, **changes):
    """Return a draft with some fields changed, checked again."""
    return AppDraft(**{**dict(draft), **changes})
