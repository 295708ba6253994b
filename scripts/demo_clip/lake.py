"""The lake: an ocean spectrum with whole periods, and what it mirrors."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from demo_clip.canvas import (
    EYE,
    FAR_WATER,
    FOCAL,
    HORIZON,
    SECONDS,
    TAU,
    WATER_BOTTOM,
    WATER_TOP,
    Array,
    W,
    blur,
    f32,
    fbm,
    grid,
    sample,
    smoothstep,
)


class Lake:
    """Waves from an ocean spectrum whose frequencies are whole cycles of the clip."""

    SIZE, PATCH = 256, 26.0

    def __init__(self, rng: np.random.Generator) -> None:
        k = TAU * np.fft.fftfreq(self.SIZE, self.PATCH / self.SIZE)
        self.kx, self.kz = np.meshgrid(k, k)
        radius = np.hypot(self.kx, self.kz)
        safe = np.maximum(radius, 1e-6)
        wind = np.abs(self.kx * 0.45 + self.kz * 0.89) / safe
        power = np.exp(-((1.1 / safe) ** 2)) * safe**-3.6 * (0.25 + wind**2) * np.exp(-((safe / 22) ** 2))
        power[0, 0] = 0
        noise = rng.standard_normal((2, self.SIZE, self.SIZE))
        self.amplitude = np.sqrt(power) * (noise[0] + 1j * noise[1])
        omega = np.sqrt(9.81 * safe) * 0.8
        self.omega = np.maximum(1, np.rint(omega * SECONDS / TAU))
        slope = np.fft.ifft2(1j * self.kz * self.amplitude).real
        self.amplitude /= slope.std()
        x, y = grid(WATER_BOTTOM - WATER_TOP, W)
        self.row = f32(y + WATER_TOP)
        self.column = x
        self.distance = f32(FOCAL * EYE / np.maximum(self.row - HORIZON, 2.5))
        self.map_x = f32((x - W / 2) / FOCAL * self.distance * self.SIZE / self.PATCH)
        self.map_z = f32(self.distance * self.SIZE / self.PATCH)
        gust = fbm(rng, 512, 4, 5)
        calm = sample(gust, self.map_x * 0.045, self.map_z * 0.05, wrap=True)
        rows_metres = self.distance**2 / (FOCAL * EYE)
        resolved = 1 / (1 + (rows_metres / 0.9) ** 1.2)
        self.slope = f32(0.027 * np.clip(1 + 0.45 * calm, 0.25, 2) * (0.20 + 0.80 * resolved))
        self.grazing = f32(EYE / np.hypot(self.distance, EYE))

    def slopes(self, phase: float) -> tuple[Array, Array]:
        """Slopes of the surface across and along the view, for every pixel of the lake."""
        turned = self.amplitude * np.exp(-1j * TAU * self.omega * phase)
        across = f32(np.fft.ifft2(1j * self.kx * turned).real)
        along = f32(np.fft.ifft2(1j * self.kz * turned).real)
        both = np.stack([across, along], 2)
        near = sample(both, self.map_x, self.map_z, wrap=True)
        swell = sample(both, self.map_x * 0.23 + 31, self.map_z * 0.23, wrap=True)
        mixed = 0.72 * near + 0.6 * swell
        return f32(mixed[..., 0] * self.slope), f32(mixed[..., 1] * self.slope)

    def frame(self, scene: Array, mirrored: Sequence[tuple[Array, int, float]], phase: float) -> Array:
        """The lake reflecting `scene` and the layers (layer, waterline, distance) standing in it."""
        across, along = self.slopes(phase)
        lift = 2 * FOCAL * along
        shift = 2 * FOCAL * across * (self.grazing + 0.05)
        source = np.clip(2 * FAR_WATER - self.row - 4 - np.abs(lift) * 0.35 - lift, 0, FAR_WATER - 4)
        colour = sample(scene, self.column + shift, source)
        tall = sample(self.tall(scene), self.column + shift, source)
        far = smoothstep(60, 400, self.distance)[..., None]
        colour = colour + (tall - colour) * (0.35 + 0.5 * far)
        for layer, waterline, distance in mirrored:
            part = np.clip(1 - self.distance / distance, 0, 1)
            row = 2 * waterline - self.row - lift * part
            seen = sample(layer, self.column + shift * part, np.minimum(row, waterline - 1))
            seen = seen * (self.row >= waterline - 1)[..., None]
            colour = colour * (1 - seen[..., 3:]) + seen[..., :3]
        cosine = np.clip(self.grazing + 0.9 * along, 0.01, 1)
        fresnel = (0.03 + 0.97 * (1 - cosine) ** 4)[..., None]
        deep = (
            f32((0.012, 0.040, 0.052)) + f32((0.020, 0.022, 0.016)) * np.clip(along / 0.03, -1, 2)[..., None]
        )
        return f32(colour * fresnel * 0.93 + np.maximum(deep, 0) * (1 - fresnel))

    @staticmethod
    def tall(scene: Array) -> Array:
        """The scene smeared upwards, as by waves too small to see."""
        small = cv2.resize(np.minimum(scene, 9), (W // 2, scene.shape[0] // 4), interpolation=cv2.INTER_AREA)
        soft = blur(f32(small), 1.2, 6)
        return f32(cv2.resize(soft, (W, scene.shape[0]), interpolation=cv2.INTER_LINEAR))
