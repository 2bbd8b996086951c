"""Secrets taken out of text before anybody is shown it: passwords in URLs, keys, tokens."""

from __future__ import annotations

import re
from functools import lru_cache

HIDDEN = "***"

# A value in quotes, which may have spaces: up to its end, or to that of the line if it was cut off.
# In JSON that is quoted itself a backslash precedes the quotes.
_QUOTE = r"(?:[bru]{0,2}(\\?['\"]))?"  # group 2
_QUOTED = r"(?:(?!\2)(?:\\.|[^\\\n]))+"
# What precedes a secret is kept (group 1), so that a reader sees where one was.
_SECRETS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(\b[a-z][a-z0-9+.-]*://[^\s:/@'\"]*:)[^\s'\"]*(?=@)",  # scheme://user:password@host
        r"(\b(?:authorization\W{1,4})?(?:bearer|basic)\s+)[\w.+/=~-]{8,}",
        # NAME=value, "name": "value", --name value: of anything called a key, a secret, ..
        r"([\w-]*(?:(?:api|access|account|private)[_-]?key|secret|token|passw(?:or)?d|passphrase)[\w-]*"
        rf"(?:\\?['\"])?\s*[=:]\s*{_QUOTE})(?(2){_QUOTED}|[^\s'\",;&)}}]+)",
        r"([?&]sig=)[^\s'\"&]+",  # of a shared access signature
        rf"(--[\w-]*(?:key|secret|token|password)(?:['\"],)?\s+{_QUOTE})(?(2){_QUOTED}|[^\s'\"]+)",
        # known by their own looks: wandb, AWS, GitHub, GitLab, Hugging Face
        r"(\bwandb_v\d_)\w+",
        r"()\b[0-9a-f]{40}(?:[0-9a-f]{24})?\b",
        r"(\b(?:AKIA|ASIA))[0-9A-Z]{16}\b",
        r"(\b(?:gh[oprsu]_|github_pat_|hf_|sk-))[\w-]{16,}",
        r"(\bglpat-)[\w-]{16,}(?:\.\w+)*",
    )
]


@lru_cache(maxsize=1 << 14)  # a page asks for the same words again and again
def redacted(text: str) -> str:
    """``text`` with its secrets replaced by stars; 40 hex digits may be a key, so they go too."""
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text
