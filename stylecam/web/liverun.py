"""What the web page knows of the live run that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stylecam.controls import KEEPS, RANGES, Controls
from stylecam.frames import Pixels
from stylecam.web.latest import Latest


class CameraFeed(Protocol):
    """What takes the pictures of the visitor's camera: a BrowserSource."""

    size_wh: tuple[int, int]

    def feed(self, jpeg: bytes) -> None:
        """Take one picture. Raises SourceError for one that it cannot use."""


@dataclass(frozen=True)
class LiveRun:
    """The run as every route sees it; its callables are called on the event loop and must be quick.

    `stats` gives figures ready for JSON. `previews` gives a small BGR picture in a style, None while
    there is none. `browser` is there where the visitor's own camera is the source.
    """

    controls: Controls
    stats: Callable[[], Mapping[str, Any]]
    previews: Callable[[str], Pixels | None]
    latest: Latest
    browser: CameraFeed | None = None
    token: str | None = None

    def state(self) -> dict[str, Any]:
        """Return the settings and what they may be, ready for JSON."""
        return {
            "settings": self.controls.to_dict(),
            "version": self.controls.version,
            "styles": self.controls.styles,
            "has_mask": self.controls.has_mask,
            "keeps": KEEPS,
            "ranges": RANGES,
            "browser": self.browser is not None,
            "overlay": f"/overlay?token={self.token}" if self.token else "/overlay",
        }
