"""What a person may change while a live run goes on: one object that keys, page and loop share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from threading import Condition
from typing import Any

from stylecam.errors import ControlError, StyleError
from stylecam.styles import parse_mix
from stylecam.temporal import DEFAULT_SMOOTHING

KEEPS = ("all", "person", "background")


@dataclass(frozen=True)
class Settings:
    """How the next frame is to look.

    `style` is a name or a mix. `strength` 0..1 mixes the painting with the original, `smooth` 0..1 is
    the smoothing, `fade_s` how long a change of style takes. `color` keeps the camera's colours,
    `mirror` swaps left and right, `split` shows the original in the left half, `figures` draws the
    rates into windows, `paused` holds the picture, `recording` writes it to a file. `keep` says what
    is painted: "all", the "person" alone or the "background" alone, the rest stays as it is.
    """

    style: str
    strength: float = 1.0
    smooth: float = DEFAULT_SMOOTHING
    fade_s: float = 0.5
    color: bool = False
    mirror: bool = False
    split: bool = False
    figures: bool = True
    paused: bool = False
    recording: bool = False
    keep: str = "all"


RANGES = {"strength": (0.0, 1.0), "smooth": (0.0, 1.0), "fade_s": (0.0, 5.0)}
"""What the numbers among the settings may be."""


class Controls:
    """The settings of a live run, changed by any thread, read by the loop. Every method is safe to call.

    `styles` are the names to choose from; `has_mask` tells whether `keep` can be anything but "all".
    """

    def __init__(self, settings: Settings, styles: Sequence[str], *, has_mask: bool = False) -> None:
        self.styles = tuple(styles)
        self.has_mask = has_mask
        self._changed = Condition()
        self._settings = settings
        self._version = 0
        self._snapshots = 0
        self._quit = False

    @property
    def settings(self) -> Settings:
        """The settings as they are now; an unchanging object."""
        return self._settings

    @property
    def version(self) -> int:
        """How often something was changed."""
        return self._version

    def change(self, **changes: Any) -> Settings:
        """Set some of the settings by name, all or none of them. Raises ControlError."""
        for name, value in changes.items():
            self._check(name, value)
        with self._changed:
            self._settings = replace(self._settings, **changes)
            self._version += 1
            self._changed.notify_all()
            return self._settings

    def toggle(self, name: str) -> Settings:
        """Turn one of the switches over."""
        return self.change(**{name: not getattr(self.settings, name)})

    def step_style(self, step: int) -> Settings:
        """Take the style that lies so many places further on in the list, round the end."""
        here = self.styles.index(self.settings.style) if self.settings.style in self.styles else -step
        return self.change(style=self.styles[(here + step) % len(self.styles)])

    def ask_snapshot(self) -> None:
        """Ask for the next frame to be kept as a picture."""
        with self._changed:
            self._snapshots += 1

    def take_snapshots(self) -> bool:
        """Tell whether a snapshot was asked for since the last call."""
        with self._changed:
            asked, self._snapshots = self._snapshots > 0, 0
            return asked

    def quit(self) -> None:
        """End the run."""
        with self._changed:
            self._quit = True
            self._changed.notify_all()

    @property
    def wants_quit(self) -> bool:
        """Whether somebody has asked to end the run."""
        return self._quit

    def wait(self, version: int, timeout_s: float) -> int:
        """Wait until `version` is no longer the newest, at most `timeout_s`; return the newest."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version or self._quit, timeout_s)
            return self._version

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by name, ready for JSON."""
        return asdict(self.settings)

    def _check(self, name: str, value: object) -> None:
        kinds = {field.name: str(field.type) for field in fields(Settings)}
        if name not in kinds:
            raise ControlError(f"there is no setting {name!r}", f"known: {', '.join(kinds)}")
        kind = kinds[name]
        if not isinstance(value, _TYPES[kind]) or (kind == "float" and isinstance(value, bool)):
            raise ControlError(f"{name} {value!r} is not a {_WORDS[kind]}", f"give a {_WORDS[kind]}")
        if name in RANGES:
            low, high = RANGES[name]
            if not low <= float(value) <= high:  # type: ignore[arg-type]
                raise ControlError(
                    f"{name} {value:g} is out of range", f"it lies between {low:g} and {high:g}"
                )
        if name == "style":
            self._check_style(str(value))
        if name == "keep":
            self._check_keep(str(value))

    def _check_style(self, style: str) -> None:
        try:
            unknown = [name for name in parse_mix(style) if name not in self.styles]
        except StyleError as exc:
            raise ControlError(exc.message, exc.hint) from exc
        if unknown:
            raise ControlError(f"style {unknown[0]!r} is unknown", f"known: {', '.join(self.styles)}")

    def _check_keep(self, keep: str) -> None:
        if keep not in KEEPS:
            raise ControlError(f"keep {keep!r} is unknown", f"known: {', '.join(KEEPS)}")
        if keep != "all" and not self.has_mask:
            raise ControlError(
                f"keep {keep!r} needs a mask", "start with --mask, or with --keep person or background"
            )


_TYPES: Mapping[str, tuple[type, ...]] = {"bool": (bool,), "float": (int, float), "str": (str,)}
_WORDS: Mapping[str, str] = {"bool": "switch (true or false)", "float": "number", "str": "text"}
