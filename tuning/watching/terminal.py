"""The terminal of a person, to which texts of others are shown and nothing more."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console
from rich.text import Text

from hpcm.streams import printable


class Terminal(Console):
    """Rich's console for texts that others wrote: reasons of failures, names, paths.

    No text is markup (`[batch, channels]` would vanish, `[/data/0001.png]` be an error), and a
    control character is shown, not sent. A reader that is gone (`| tee` hears Ctrl-C too) does not
    end the process.
    """

    def __init__(self, **given: Any) -> None:
        """``given`` as rich's."""
        super().__init__(markup=False, emoji=False, highlight=False, **given)

    def render_str(self, text: str, **given: Any) -> Text:
        """Rich asks this for each string, those in cells of tables too."""
        return super().render_str(printable(text), **given)

    def on_broken_pipe(self) -> None:
        """Go on unseen; errors that went into the same pipe go nowhere as well."""
        self.quiet = True
        broken = self.file.fileno()
        also = (2,) if os.path.sameopenfile(broken, 2) else ()
        lead_nowhere(broken, *also)


def lead_nowhere(*streams: int) -> None:
    """What is written to these handles from now on is dropped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)
