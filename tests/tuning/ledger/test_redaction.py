"""No secret in what is shown: each kind is hidden, and the text around it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tuning.lr_space import open_ledger
from tuning.ledger.events import Closed, Failed, Proposed
from tuning.ledger.redaction import redacted

HEX = "0123456789abcdef" * 2 + "01234567"  # 40 digits: the form of a wandb key


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:s3cret@db:5432/hpcm", "postgresql://ann:***@db:5432/hpcm"),
        (
            "postgresql+psycopg2://ann:p@ss:w@db/x failed",
            "postgresql+psycopg2://ann:***@db/x failed",
        ),
        ("cannot reach 'redis://:pw@host'", "cannot reach 'redis://:***@host'"),
        (f"WANDB_API_KEY={HEX}", "WANDB_API_KEY=***"),
        (f"wandb: key {HEX} refused", "wandb: key *** refused"),
        ("wandb login wandb_v1_abcDEF_123", "wandb login wandb_v1_***"),
        (
            "{'aws_secret_access_key': 'abc/def+1', 'region': 'x'}",
            "{'aws_secret_access_key': '***', 'region': 'x'}",
        ),
        ("AKIAABCDEFGHIJKLMNOP", "AKIA***"),
        ("Authorization: Bearer eyJhbGciOi.J9.x-y", "Authorization: Bearer ***"),
        ("abfs://box@acc/x?account_key=ab/c+d==", "abfs://box@acc/x?account_key=***"),
        ("https://acc/x?sv=2026&sig=ab%2Fc&se=1", "https://acc/x?sv=2026&sig=***&se=1"),
        ("--password hunter2 --port 5", "--password *** --port 5"),
        ("password: hunter2", "password: ***"),
        ("hf_abcdefghijklmnopqrst", "hf_***"),
        ("password: 'my pass, word', port: 5", "password: '***', port: 5"),
        (r'{"password": "a \"b\" c", "port": 5}', '{"password": "***", "port": 5}'),
        (r'"{\"password\": \"a b\", \"port\": 5}"', r'"{\"password\": \"***\", \"port\": 5}"'),
        (r"'{\'token\': \'a\'}' refused", r"'{\'token\': \'***\'}' refused"),
        ("passwd=b'a b' port=5", "passwd=b'***' port=5"),
        ('password: "cut off here\nport: 5', 'password: "***\nport: 5'),
        ("password='' user='ann'", "password='' user='ann'"),
        ("--password 'my pass word' --port 5", "--password '***' --port 5"),
        ("['psql', '--password', 'a b', '-x']", "['psql', '--password', '***', '-x']"),
        ("github_pat_11ABCDEFG0abcdefghijkl_ABCdef012 refused", "github_pat_*** refused"),
        ("cannot clone with glpat-abcdefghij_KLMN-Pqr.", "cannot clone with glpat-***."),
        ("glpat-abcdefghijKLMNOPqrst.01.0a1b2c3d4 refused", "glpat-*** refused"),
    ],
)
def test_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_no_secret_reaches_the_ledger(tmp_path: Path) -> None:
    """What went wrong is told in the words of others: drivers, servers, libraries."""
    ledger = open_ledger(tmp_path)
    ledger.append(Proposed(0, params={}))
    ledger.append(Failed(0, reason="OSError: postgresql://ann:s3cret@db/x: no route"))
    ledger.close(Closed(error=f"wandb: WANDB_API_KEY={HEX} refused"))
    text = ledger.path.read_text()
    assert "postgresql://ann:***@db/x: no route" in text
    assert "WANDB_API_KEY=***" in text
    assert "s3cret" not in text
    assert HEX not in text


@pytest.mark.parametrize(
    "text",
    [
        "rank 3 of 4",
        "diverged: the loss is not finite",
        "http://127.0.0.1:8265/",
        "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "/data/flickr2w/0001.png: not an image",
        "epoch 12: rd_cost 0.5314",
    ],
)
def test_left_alone(text: str) -> None:
    assert redacted(text) == text
