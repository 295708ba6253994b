"""The live run: camera to screen, page and stream, each at its own pace."""

from __future__ import annotations
