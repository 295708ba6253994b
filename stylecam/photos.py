"""Photographs, stylized one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylecam.engines.base import Engine
from stylecam.errors import PictureError, StylecamError
from stylecam.frames import check_size, fit_long_side, resize, size_of
from stylecam.meter import Meter
from stylecam.pictures import (
    SUFFIXES,
    Picture,
    check_picture_path,
    keeps_alpha,
    list_pictures,
    read_picture,
    write_picture,
)  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """One picture dealt with: where it came from and went, its size, what to say of it or what went wrong."""

    source: Path
    output: Path
    size_wh: tuple[int, int] = (0, 0)
    error: StylecamError | None = None
    warnings: tuple[str, ...] = ()


def plan_photos(inputs: Sequence[Path], output: Path) -> list[tuple[Path, Path]]:
    """Pair every picture with its output; folders give all pictures in them.

    `output` is a folder where there are several pictures, where an input is a folder, or where it
    is one already. Nothing is made yet. Raises PictureError where two pictures would get one name
    or `output` could not be written.
    """
    files = [file for entry in inputs for file in (list_pictures(entry) if entry.is_dir() else [entry])]
    if not files:
        raise PictureError(f"no picture in {inputs[0]}", f"pictures end in {', '.join(SUFFIXES)}")
    if len(inputs) == 1 and not inputs[0].is_dir() and not output.is_dir():
        check_picture_path(output)
        return [(files[0], output)]
    there = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not there.is_dir():
        raise PictureError(f'"{output}" cannot be a folder: "{there}" is a file', "choose another with -o")
    pairs = [
        (file, output / (file.name if file.suffix.lower() in SUFFIXES else f"{file.stem}.png"))
        for file in files
    ]
    twice = [target.name for target, count in Counter(target for _, target in pairs).items() if count > 1]
    if twice:
        raise PictureError(f"several pictures are called {min(twice)}", "stylize them into different folders")
    return pairs


def stylize_photos(
    pairs: Sequence[tuple[Path, Path]], engine: Engine, *, meter: Meter, long_side: int | None = None
) -> Iterator[Photo]:
    """Stylize each (source, output) pair and tell how it went; one that fails does not stop the rest.

    `long_side` in pixels scales the pictures first; None keeps their size. An output folder is made
    with its first picture. Raises StylecamError for a `long_side` that no picture can have.
    """
    if long_side is not None:
        check_size((long_side, long_side))
    for source, output in pairs:
        try:
            yield _stylize_photo(source, output, engine, long_side, meter)
        except StylecamError as exc:
            yield Photo(source, output, error=exc)


def _stylize_photo(source: Path, output: Path, engine: Engine, long_side: int | None, meter: Meter) -> Photo:
    began_s = meter.clock()
    if source.resolve() == output.resolve():
        raise PictureError(f"{source} would be overwritten", "choose another name with -o")
    picture = read_picture(source)
    size_wh = size_of(picture.bgr)
    if long_side is not None:
        size_wh = fit_long_side(size_wh, long_side)
    check_size(size_wh, f"{source.name}: size")
    before_s = meter.clock()
    bgr = engine.infer(resize(picture.bgr, size_wh)[None])[0]
    net_s = meter.clock() - before_s
    alpha = picture.alpha
    if alpha is not None and alpha.shape != bgr.shape[:2]:
        alpha = resize(alpha[..., None], size_wh)
    _make_folder(output.parent)
    write_picture(output, Picture(bgr, alpha))
    meter.count_batch([began_s], [meter.clock()], net_s)
    lost = alpha is not None and not keeps_alpha(output)
    said = (f"{output.suffix} has no transparency, it was laid on white",) if lost else ()
    return Photo(source, output, size_wh, warnings=said)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise PictureError(
            f'folder "{folder}" cannot be made: {exc.strerror}', "choose another with -o"
        ) from exc
