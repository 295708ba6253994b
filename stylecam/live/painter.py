"""From a camera's frame to the frame to show: what runs in the painter's thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from stylecam.controls import Controls, Settings
from stylecam.errors import StylecamError
from stylecam.frames import Frame, Pixels, resize, size_of
from stylecam.live.compose import compose
from stylecam.live.governor import Governor, Rung
from stylecam.live.looks import Looks
from stylecam.live.previews import Previews
from stylecam.live.snapshots import Snapshots
from stylecam.meter import Meter
from stylecam.temporal import Smoother


class Mask(Protocol):
    """What tells a person from the background."""

    def find(self, bgr: Pixels) -> Pixels:
        """Return (H, W) uint8 for a frame (H, W, 3) BGR: 255 where the person is, soft at the edge."""
        ...


class Painter:
    """Paint one frame after the other as `controls` say, by the net and at the size that `governor` chose.

    Without a governor the net sees the frames as they come. `meter` takes in the times. For one thread.
    """

    def __init__(
        self,
        looks: Looks,
        controls: Controls,
        *,
        say: Callable[[str], None],
        governor: Governor | None = None,
        mask: Mask | None = None,
        folder: Path = Path(),
    ) -> None:
        self.looks, self.controls, self.governor = looks, controls, governor
        self.previews = Previews(looks)
        self.meter = Meter()
        self._snapshots = Snapshots(controls, folder, say)
        self._say, self._mask = say, mask
        self._net = looks.now.style.net
        self._smoother = Smoother(0)
        self._refused: tuple[str, str] | None = None
        self._barred: set[tuple[str, Rung]] = set()
        self.net_size_wh: tuple[int, int] | None = None
        self._original: Pixels | None = None
        self._shown: Frame | None = None

    def paint(self, frame: Frame) -> Frame:
        """Return the frame to show, of the size of the one that came in."""
        settings = self.controls.settings
        began_s = self.meter.clock()
        original = np.asarray(cv2.flip(frame.bgr, 1), np.uint8) if settings.mirror else frame.bgr
        small = original if self.governor is None else resize(original, self.governor.rung.size_wh)
        self.net_size_wh = size_of(small)
        self._choose(settings, self.net_size_wh)
        if settings.smooth != self._smoother.amount:
            self._smoother = Smoother(settings.smooth)
        small = self._smoother.denoise(small)
        net_began_s = self.meter.clock()
        painted = self.looks.paint(small, net_began_s, settings.fade_s)
        net_s = self.meter.clock() - net_began_s
        painted = self._smoother.smooth(small, painted)
        mask = self._find_mask(frame.bgr, settings.keep)
        if mask is not None and settings.mirror:
            mask = np.asarray(cv2.flip(mask, 1), np.uint8)
        shown = compose(original, resize(painted, size_of(original)), settings, mask)
        done = replace(frame, bgr=shown, alpha=None if settings.split else mask)
        now_s = self.meter.clock()
        self.meter.count_batch([frame.captured_s], [now_s], net_s)
        self._govern(now_s - began_s, now_s)
        self._original, self._shown = original, done
        return done

    def follow_up(self) -> None:
        """Do what the frame painted last need not wait for: a thumbnail, a snapshot."""
        if self._original is not None:
            self.previews.work(self._original)
        self.keep_snapshots()

    def keep_snapshots(self) -> None:
        """Write the frame that is shown beside the work, if that was asked for; on pause too."""
        if self._shown is not None:
            self._snapshots.keep(self._shown)

    def held(self) -> Frame | None:
        """Return what is shown, as of now: a recording that begins in a pause begins with it."""
        if (shown := self._shown) is None:
            return None
        now_s = self.meter.clock()
        return replace(shown, timestamp_s=shown.timestamp_s + now_s - shown.captured_s, captured_s=now_s)

    def finish(self) -> None:
        """Keep the snapshot that was asked for last."""
        if self._shown is not None:
            self._snapshots.finish(self._shown)

    def _choose(self, settings: Settings, size_wh: tuple[int, int]) -> None:
        """Change style or net where that was asked for and is ready; one that cannot be is tried once."""
        net, now_s = self._net if self.governor is None else self.governor.rung.net, time.perf_counter()
        wanted = (settings.style, net)
        if wanted != self._refused:
            try:
                self.looks.choose(*wanted, size_wh, now_s)
                self._refused = None
            except StylecamError as exc:
                self._refused = wanted
                self._say(f"style {settings.style} stays out: {exc.message}")
        if self.looks.now.style.net != net:  # until then the one that is shown goes on, by the governor's net
            self.looks.choose(self.looks.now.style.name, net, size_wh, now_s)

    def _find_mask(self, camera: Pixels, keep: str) -> Pixels | None:
        if self._mask is None or keep == "all":
            return None
        person = self._mask.find(camera)
        return person if keep == "person" else np.asarray(255 - person, np.uint8)

    def _govern(self, took_s: float, now_s: float) -> None:
        governor = self.governor
        if governor is None:
            return
        before = governor.rung
        if governor.observe(took_s, now_s, self._is_ready):
            self._say(f"to hold {governor.fps:g} fps: {before} -> {governor.rung}")
        for rung in governor.likely:  # one after the other, so that the most urgent is not held up
            if not self._is_ready(rung) and not self._is_barred(rung):
                break

    def _is_ready(self, rung: Rung) -> bool:
        """Make a rung ready beside the work; tell whether it is. What cannot be is told, and tried once."""
        if self._is_barred(rung):
            return False
        try:
            return self.looks.prepare(rung.net, rung.size_wh)
        except StylecamError as exc:
            self._barred.add((self.looks.now.style.name, rung))
            self._say(f"{rung} stays out: {exc.message}")
            return False

    def _is_barred(self, rung: Rung) -> bool:
        return (self.looks.now.style.name, rung) in self._barred
