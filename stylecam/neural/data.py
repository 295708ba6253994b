"""Training photographs: a folder of pictures as an endless, repeatable series of batches."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylecam.errors import DatasetEmptyError, PictureError
from stylecam.frames import Pixels, fit_long_side, resize, size_of
from stylecam.pictures import list_pictures, read_picture

SMALLEST_PICTURE = 32
"""A picture with a shorter side than this has nothing to learn from once it is enlarged to a crop."""

SMALLEST_SHARE = 0.25
"""Crops are from so much of a photograph's short side up to all of it, each size as likely as its double.

From 0.6 up, as is usual, nearly every crop is made smaller, and shows more in as many pixels than a
frame of a film does. Compared with that, 200 steps left 1 to 11% less objective on films at 640x360 and
1280x720, and as much on photographs.
"""


def to_tensor(bgr: Pixels) -> Tensor:
    """Return a float (N, 3, H, W) RGB tensor in 0..255 of uint8 BGR (H, W, 3) or (N, H, W, 3)."""
    batch = bgr[None] if bgr.ndim == 3 else bgr
    rgb = np.ascontiguousarray(batch[..., ::-1])
    return torch.from_numpy(rgb).permute(0, 3, 1, 2).float()


def to_pixels(rgb: Tensor) -> Pixels:
    """Return uint8 BGR (N, H, W, 3) of a float RGB tensor (N, 3, H, W) in 0..255, rounded."""
    whole = rgb.detach().float().round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return np.ascontiguousarray(whole[..., ::-1])


def load_painting(path: Path, long_side: int) -> Tensor:
    """Return a style image as (1, 3, H, W) RGB 0..255, its long side scaled to `long_side` px."""
    bgr = read_picture(path).bgr
    return to_tensor(resize(bgr, fit_long_side(size_of(bgr), long_side)))


def center_crop(bgr: Pixels, side: int) -> Pixels:
    """Return the largest centred square of a picture, scaled to `side` px."""
    height, width = bgr.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return resize(bgr[top : top + short, left : left + short], (side, side))


class ContentFolder:
    """The photographs of a folder, some of them set aside to be judged on.

    What picture, crop and flip stands where depends on `seed` and the place in the series
    alone, so a resumed run sees just what an unbroken one would. Pictures that cannot be read
    or are tiny are passed over when met; `skipped` holds their names. Pictures called as in
    `judged_on` are set aside before others, all of them, more than `held_out` or not. Raises
    DatasetEmptyError.
    """

    def __init__(
        self, folder: Path, crop: int, seed: int, held_out: int = 0, judged_on: Collection[str] = ()
    ) -> None:
        self.crop, self.seed = crop, seed
        self.skipped: set[str] = set()
        self.folder = folder
        files = list_pictures(folder)
        order = np.random.default_rng(seed).permutation(len(files))
        likeliest = sorted((files[i] for i in order), key=lambda file: file.name not in judged_on)
        self.held_out = self._usable(likeliest, held_out, judged_on)
        kept = set(self.held_out)
        self.files = [file for file in files if file not in kept]
        if not self.files:
            raise DatasetEmptyError(
                f"{folder} holds {len(files)} pictures, of which {len(kept)} are set aside",
                "name a folder of photographs (jpg, png, webp, bmp, tiff), at least some hundred of them",
            )

    def _usable(self, files: list[Path], count: int, judged_on: Collection[str]) -> list[Path]:
        usable: list[Path] = []
        for file in files:
            if len(usable) >= count and file.name not in judged_on:
                break
            if self._read(file) is not None:
                usable.append(file)
        return usable

    def _read(self, file: Path) -> Pixels | None:
        try:
            bgr = read_picture(file).bgr
        except PictureError:
            bgr = np.zeros((0, 0, 3), np.uint8)
        if min(bgr.shape[:2]) < SMALLEST_PICTURE:
            self.skipped.add(file.name)
            return None
        return bgr

    def _picture(self, epoch: int, place: int) -> Pixels:
        order = _permutation(self.seed, epoch, len(self.files))
        for ahead in range(len(order)):
            bgr = self._read(self.files[order[(place + ahead) % len(order)]])
            if bgr is not None:
                return bgr
        raise DatasetEmptyError(
            f"none of the {len(self.files)} pictures in {self.folder} can be used",
            f"they must be readable and at least {SMALLEST_PICTURE} px on the short side",
        )

    def sample(self, place: int) -> Pixels:
        """Return the crop at `place` of the endless series, (crop, crop, 3) uint8 BGR."""
        bgr = self._picture(*divmod(place, len(self.files)))
        rng = np.random.default_rng((self.seed, place))
        side = max(1, round(min(bgr.shape[:2]) * SMALLEST_SHARE ** rng.uniform(0, 1)))
        top, left = (rng.integers(0, length - side + 1) for length in bgr.shape[:2])
        crop = resize(bgr[top : top + side, left : left + side], (self.crop, self.crop))
        return crop if rng.random() < 0.5 else np.asarray(cv2.flip(crop, 1), np.uint8)

    def batch(self, step: int, size: int, rank: int = 0, world: int = 1) -> Tensor:
        """Return the batch of `step` for process `rank` of `world`: (size, 3, crop, crop) RGB 0..255."""
        first = (step * world + rank) * size
        return to_tensor(np.stack([self.sample(first + i) for i in range(size)]))

    def batches(self, start: int, size: int, rank: int = 0, world: int = 1) -> Iterator[Tensor]:
        """Give the batches from step `start` on, each read beside the work on the one before."""
        with ThreadPoolExecutor(1, "stylecam-data") as pool:
            coming: Future[Tensor] = pool.submit(self.batch, start, size, rank, world)
            step = start
            while True:
                batch, step = coming.result(), step + 1
                coming = pool.submit(self.batch, step, size, rank, world)
                yield batch


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(count)
