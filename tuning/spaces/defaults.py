"""What the commands say without loading anything else: defaults, names, forms."""

from __future__ import annotations

STORAGE = "~/hpcm-tune"  # the folder of all experiments
STUDY_URL_VARIABLE = "HPCM_STUDY_URL"  # keeps a password out of the list of processes
STUDY_URL_FORM = "postgresql://user@host:5432/database"
PAGE_HOST = "127.0.0.1"
PAGE_PORT = 8270
