"""The sky at dusk: a glow round the sun, clouds that drift and come back."""

from __future__ import annotations

import numpy as np

from demo_clip.canvas import (
    FAR_WATER,
    HORIZON,
    SUN,
    Array,
    W,
    blur,
    f32,
    fbm,
    grid,
    linear,
    sample,
    smoothstep,
)


class Sky:
    """A dusk gradient with a low sun and a deck of clouds that drifts."""

    ROWS = FAR_WATER + 8

    def __init__(self, rng: np.random.Generator) -> None:
        x, y = grid(self.ROWS, W)
        self.base, self.glow = self._gradient(x, y)
        depth = 9000 / (HORIZON + 38 - np.minimum(y, HORIZON))
        self.u = f32((x - SUN[0]) * depth * 0.0105 + 300)
        self.v = f32(depth * 9.5)
        self.tile = self._clouds(rng)
        self.fade = smoothstep(HORIZON - 18, HORIZON - 150, y)
        near_sun = np.exp(-np.hypot((x - SUN[0]) / 1.5, y - SUN[1]) / 230)[..., None]
        height = np.clip((HORIZON - y) / HORIZON, 0, 1)[..., None]
        self.lit = f32(linear((255, 178, 120)) * (0.85 - 0.35 * height) + near_sun * f32((1.9, 0.95, 0.38)))
        self.dark = f32(
            linear((128, 112, 140)) * (1 - height)
            + linear((84, 96, 132)) * height
            + near_sun * f32((0.42, 0.16, 0.05))
        )

    @staticmethod
    def _gradient(x: Array, y: Array) -> tuple[Array, Array]:
        stops = [0.0, 0.10, 0.28, 0.55, 1.0]
        colours = np.stack(
            [
                linear(c)
                for c in ((255, 190, 122), (250, 186, 134), (214, 176, 170), (132, 152, 190), (62, 92, 150))
            ]
        )
        height = np.clip((HORIZON - y) / HORIZON, 0, 1)
        base = np.stack([np.interp(height, stops, colours[:, c]) for c in range(3)], 2)
        r = np.hypot(x - SUN[0], y - SUN[1])
        wide = np.hypot((x - SUN[0]) / 1.6, y - SUN[1])
        glow = (
            np.exp(-wide / 260)[..., None] * f32((0.62, 0.30, 0.09))
            + np.exp(-r / 62)[..., None] * f32((1.3, 0.70, 0.27))
            + np.exp(-r / 24)[..., None] * f32((4.5, 2.6, 1.1))
            + smoothstep(25, 12, f32(r))[..., None] * f32((16, 11, 5.4))
        )
        return f32(base), f32(glow)

    @staticmethod
    def _clouds(rng: np.random.Generator) -> Array:
        """Density and light of the cloud deck, as a tile seen from below."""
        noise = fbm(rng, 1024, 5, 8) + 0.5 * fbm(rng, 1024, 12, 6, ridged=True)
        density = smoothstep(0.0, 1.6, noise)
        behind = blur(np.roll(density, -16, axis=0), 9)
        light = np.clip(1.05 - 1.25 * behind - 0.25 * density, 0, 1)
        return f32(np.stack([density, light], 2))

    def _advected(self, drift: float) -> Array:
        return sample(self.tile, self.u - drift, self.v + 0.35 * drift, wrap=True)

    def frame(self, phase: float) -> Array:
        """The sky at a phase of 0..1 of the loop, two drifting decks faded into each other."""
        deck = (1 - phase) * self._advected(14 * phase) + phase * self._advected(14 * (phase - 1))
        cover = (deck[..., 0] * self.fade)[..., None]
        light = deck[..., 1:]
        cloud = self.dark + (self.lit - self.dark) * light
        through = 1 - cover * 0.88
        return f32((self.base + self.glow) * through + cloud * cover * 0.88)
