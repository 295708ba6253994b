"""What the keys of the window do; the page has the same ones."""

from __future__ import annotations

from stylecam.controls import KEEPS, Controls

ARROWS = {
    65361: "left", 65362: "up", 65363: "right", 65364: "down",  # X11
    2424832: "left", 2490368: "up", 2555904: "right", 2621440: "down",  # Windows
    63234: "left", 63232: "up", 63235: "right", 63233: "down",  # macOS
}  # fmt: skip
"""What cv2.waitKeyEx gives for the arrows, on each system."""

_ESC = 27
_STRENGTH_STEP = 0.1

HELP = (
    "1-9, left, right: style",
    "up, down: strength",
    "c: the camera's colours",
    "m: mirror",
    "s: split view",
    "b: person, background, all",
    "p: snapshot",
    "r: record",
    "f: figures",
    "space: pause",
    "h: this help",
    "q: quit",
)

_SWITCHES = {"c": "color", "m": "mirror", "s": "split", "r": "recording", "f": "figures", " ": "paused"}


def name_of(code: int) -> str:
    """Return the key behind one of cv2.waitKeyEx's codes: a character, an arrow's name, or ""."""
    low = code & 0xFFFF  # X11 puts Caps Lock and Num Lock into the bits above
    if arrow := ARROWS.get(code) or ARROWS.get(low):
        return arrow
    if code < 0 or not 0 < low < 0xFF:  # Home and the like lie above: their low bytes are letters' codes
        return ""
    return "q" if low == _ESC else chr(low).lower()


def press(controls: Controls, key: str) -> None:
    """Do what a key stands for; one that stands for nothing does nothing."""
    if key in _SWITCHES:
        controls.toggle(_SWITCHES[key])
    elif key in ("left", "right"):
        controls.step_style(1 if key == "right" else -1)
    elif key in ("up", "down"):
        step = _STRENGTH_STEP if key == "up" else -_STRENGTH_STEP
        controls.change(strength=round(min(1.0, max(0.0, controls.settings.strength + step)), 2))
    elif key.isdecimal() and 0 < int(key) <= len(controls.styles):
        controls.change(style=controls.styles[int(key) - 1])
    elif key == "p":
        controls.ask_snapshot()
    elif key == "b" and controls.has_mask:
        controls.change(keep=KEEPS[(KEEPS.index(controls.settings.keep) + 1) % len(KEEPS)])
    elif key == "q":
        controls.quit()
