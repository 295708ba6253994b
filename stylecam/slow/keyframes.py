"""Which frames of a film are painted: the ones named, one every so often, or one for each scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stylecam.errors import BackendMissingError, OptimiseError, SourceLostError
from stylecam.frames import Frame, Pixels
from stylecam.pictures import SUFFIXES, list_pictures, read_picture
from stylecam.sources import FileSource
from stylecam.temporal import grey, shrink

_SEEN_SIDE = 320
"""Long side of the frames in which cuts and sharpness are looked for, in pixels."""

_SHORTEST_SCENE_S = 0.6


@dataclass(frozen=True)
class Keyframe:
    """A picture to be painted, (H, W, 3) uint8 BGR; of a film `index` counts from its first frame, 0."""

    name: str
    bgr: Pixels
    index: int | None = None
    timestamp_s: float | None = None


def is_film(path: Path) -> bool:
    """Tell a film from a picture or a folder of pictures."""
    return path.suffix.lower() not in SUFFIXES and not path.is_dir()


def read_pictures(paths: Sequence[Path]) -> list[Keyframe]:
    """Read pictures, and all pictures in folders, under their own names. Raises PictureError."""
    files = [file for path in paths for file in (list_pictures(path) if path.is_dir() else [path])]
    if not files:
        raise OptimiseError(f'there is no picture in "{paths[0]}"', f"pictures end in {', '.join(SUFFIXES)}")
    names = [file.stem for file in files]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise OptimiseError(f"several pictures are called {twice[0]}", "paint them into different folders")
    return [Keyframe(file.stem, read_picture(file).bgr) for file in files]


def frames_of(film: Path) -> Iterator[Frame]:
    """Give every frame of a film, decoded afresh. Raises SourceError, also where there is not one."""
    with FileSource(film) as source:
        frame = source.read()
        if frame is None:
            raise SourceLostError(f'film "{film}" has no frames', "check that it plays in a player")
        while frame is not None:
            yield frame
            frame = source.read()


def frames_at(film: Path, indices: Sequence[int]) -> list[Keyframe]:
    """Return the frames of these numbers, counted from 0. Raises OptimiseError for one beyond the end."""
    wanted, found, count = set(indices), [], 0
    for index, frame in enumerate(frames_of(film)):
        count = index + 1
        if index in wanted:
            found.append(_keyframe(index, frame))
        if index >= max(wanted):
            break
    if missing := sorted(wanted - {each.index for each in found}):
        raise OptimiseError(
            f"there is no frame {missing[0]} in {film}", f"it has frames 0 to {count - 1}; see --at"
        )
    return found


def frames_every(film: Path, seconds: float) -> list[Keyframe]:
    """Return the first frame, and the first one of each `seconds` after it."""
    found: list[Keyframe] = []
    for index, frame in enumerate(frames_of(film)):
        # Half a millisecond for what a container rounds off.
        if frame.timestamp_s >= seconds * len(found) - 0.0005:
            found.append(_keyframe(index, frame))
    return found


def frames_of_scenes(film: Path) -> list[Keyframe]:
    """Return a frame for each scene: the sharpest of the scene's middle third.

    The middle, because what a scene is about is there, and cuts and fades are not. Needs PySceneDetect.
    """
    starts = scene_starts(film)
    found: list[Keyframe] = []
    best = -1.0
    scene = 0
    for index, frame in enumerate(frames_of(film)):
        if scene + 1 < len(starts) - 1 and index >= starts[scene + 1]:
            scene, best = scene + 1, -1.0
        if not _in_middle_third(index, starts[scene], starts[scene + 1]):
            continue
        sharp = sharpness(frame.bgr)
        if best < 0:
            found.append(_keyframe(index, frame))
        elif sharp > best:
            found[-1] = _keyframe(index, frame)
        best = max(best, sharp)
    return found


def scene_starts(film: Path) -> list[int]:
    """Return the number of each scene's first frame, and of the frame after the last."""
    try:
        from scenedetect import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector
    except ModuleNotFoundError as exc:
        raise BackendMissingError(
            "finding scenes needs the package scenedetect",
            "pip install 'stylecam[train]', or choose frames with --every or --at",
        ) from exc
    with FileSource(film) as source:
        fps = source.fps or 30.0
    # Against the movement around it, not a fixed threshold: a pan is no cut.
    detector = AdaptiveDetector(min_scene_len=max(1, round(_SHORTEST_SCENE_S * fps)))
    cuts: list[FrameTimecode] = []
    index = -1
    for index, frame in enumerate(frames_of(film)):
        small = shrink(frame.bgr, _SEEN_SIDE)
        cuts += detector.process_frame(FrameTimecode(index, fps), small)
    cuts += detector.post_process(FrameTimecode(max(0, index), fps))
    numbers = sorted({int(cut.frame_num) for cut in cuts if 0 < cut.frame_num <= index})
    return [0, *numbers, index + 1]


def sharpness(bgr: Pixels) -> float:
    """Return the variance of a frame's Laplacian, at a size that camera noise does not reach."""
    small = shrink(bgr, _SEEN_SIDE)
    return float(np.var(cv2.Laplacian(grey(small), cv2.CV_32F)))


def _in_middle_third(index: int, start: int, end: int) -> bool:
    third = (end - start) // 3
    return start + third <= index < max(end - third, start + third + 1)


def _keyframe(index: int, frame: Frame) -> Keyframe:
    return Keyframe(f"frame-{index:06d}", frame.bgr.copy(), index, frame.timestamp_s)
