"""The weights files that come with the program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stylecam.engines import open_engine
from stylecam.frames import resize
from stylecam.sources import DemoSource
from stylecam.styles import FAST, Style, find_style, list_styles, read_style

WEIGHTS = Path(__file__).parent.parent / "weights"
FILES = sorted(WEIGHTS.glob("*.onnx"))
PAINTERS = {"starry nightcafe wheatfield cottages": "Gogh", "wave": "Hokusai", "scream": "Munch",
            "composition": "Kandinsky", "udnie edtaonisl": "Picabia"}  # fmt: skip
STYLES = {style for styles in PAINTERS for style in styles.split()}
PAINTING = {"style", "title", "painter", "year"}
CARD = {
    "style", "licence", "net", "objective", "training", "checkpoint_sha256",
    "version", "graph_sha256",
}  # fmt: skip

pytestmark = pytest.mark.shipped


def test_there_are_some_and_not_too_large() -> None:
    assert "starry.onnx" in {file.name for file in FILES}
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 60e6


@pytest.mark.parametrize("net", ["full", "fast"])
def test_every_style_has_both_nets(net: str) -> None:
    assert {style.name for style in list_styles()[0] if style.net == net} >= STYLES
    assert find_style("starry:0.6,wave:0.4", net).net == net


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_style_is_complete_and_paints(file: Path) -> None:
    style = read_style(file)
    card = style.card
    assert card.keys() >= CARD
    assert [key for key in CARD - {"net", "objective", "training"} if not card[key]] == []
    for about in card.get("styles", [card]):
        assert [key for key in PAINTING if not about[key]] == []
    assert card["style"] == file.stem.removesuffix(FAST) == style.name
    assert {"kind", "width", "params", "styles"} <= card["net"].keys()
    assert style.net == ("fast" if file.stem.endswith(FAST) else "full")
    learned = [array.size for name, array in style.arrays.items() if not name.endswith("noise.pattern")]
    assert card["net"]["params"] == sum(learned)
    assert len(set(card["training"]["held_out"])) == 20
    assert card["training"]["data"]
    assert set(style.grams) == set(card["objective"]["style_layers"])
    for gram in style.grams.values():
        assert gram.shape == (card["net"]["styles"], gram.shape[1], gram.shape[1])
        assert np.isfinite(gram).all()
        eigenvalues = np.linalg.eigvalsh(gram.astype(np.float64))
        assert (eigenvalues > -1e-2 * eigenvalues.max()).all()  # rounding aside none is negative
    several = [style.mixed({name: 1}) for name in style.styles] if len(style.styles) > 1 else [style]
    for each in several:
        check_painting(each)


def check_painting(style: Style) -> None:
    with DemoSource() as source:
        frame = source.read()
    assert frame is not None
    photo = resize(frame.bgr, (320, 180))
    with open_engine(style) as engine:
        painting = engine.infer(photo[None])[0]
    assert painting.shape == photo.shape
    assert painting.std() > 10
    changed = np.abs(painting.astype(int) - photo).mean()
    assert 5 < changed < 120
    # The picture is still in the painting: light stays light and dark stays dark.
    grey = np.stack([resize(picture, (40, 22)).mean(2).ravel() for picture in (painting, photo)])
    assert np.corrcoef(grey)[0, 1] > 0.2
