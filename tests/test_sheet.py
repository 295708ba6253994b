from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import stylecam
from nets import noise

from stylecam.sheet import TILE, Tile, draw_sheet, to_tile_size


def colours(count: int) -> list[Tile]:
    return [Tile(np.full((30, 40, 3), 20 * i, np.uint8), f"style {i}") for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 7, 10])
def test_every_tile_stands_whole_on_the_sheet(count: int) -> None:
    sheet = draw_sheet(colours(count))
    for i in range(count):
        assert (sheet == 20 * i).all(-1).sum() >= 30 * 40


def test_ten_tiles_fill_their_rows() -> None:
    height, width = draw_sheet(colours(10)).shape[:2]
    assert 1 < width / height < 3


def test_captions_are_written_below() -> None:
    bare = draw_sheet([Tile(np.full((30, 40, 3), 255, np.uint8), "")])
    assert (bare == 255).all()
    assert (draw_sheet([Tile(np.full((30, 40, 3), 255, np.uint8), "wave")])[30 + 12 :] < 200).any()


def test_photographs_are_scaled_to_one_size() -> None:
    assert max(to_tile_size(noise(50, 80, 3)).shape) == max(to_tile_size(noise(900, 700, 3)).shape) == TILE


def test_the_command_draws_all_styles(
    tiny_styles_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stylecam import styles

    monkeypatch.setattr(styles, "style_files", lambda: {"tinies": tiny_styles_path})
    cv2.imwrite(str(tmp_path / "photo.png"), noise(48, 64, 3))
    done = stylecam(
        "styles", "--sheet", tmp_path / "photo.png", "-o", tmp_path / "sheet.png", "--json",
        "--engine", "onnxruntime",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert len(done.figures["styles"]) == 3
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.shape[0] * sheet.shape[1] > 4 * TILE * TILE * 48 // 64


def test_a_sheet_needs_a_place(tmp_path: Path) -> None:
    assert stylecam("styles", "--sheet", tmp_path / "photo.png").code == 2
    done = stylecam("styles", "--sheet", tmp_path / "none.png", "-o", tmp_path / "sheet.png")
    assert (done.code, done.err.splitlines()[0][:6]) == (1, "error:")


def test_a_sheet_is_not_drawn_over_its_photograph(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), noise(48, 64, 3))
    before = (tmp_path / "photo.png").read_bytes()
    done = stylecam("styles", "--sheet", tmp_path / "photo.png", "-o", tmp_path / "photo.png")
    assert (done.code, (tmp_path / "photo.png").read_bytes()) == (1, before)
    assert "photo.png would be overwritten" in done.err


@pytest.mark.parametrize(
    ("output", "cause"), [("none/sheet.png", "does not exist"), ("folder.png", "is a folder")]
)
def test_where_a_sheet_goes_is_looked_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, cause: str
) -> None:
    monkeypatch.setattr("stylecam.styles.list_styles", lambda: pytest.fail("work was begun"))
    cv2.imwrite(str(tmp_path / "photo.png"), noise(48, 64, 3))
    (tmp_path / "folder.png").mkdir()
    done = stylecam("styles", "--sheet", tmp_path / "photo.png", "-o", tmp_path / output)
    assert done.code == 1
    assert cause in done.err.splitlines()[0]
