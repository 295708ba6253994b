"""Who and what moves: a woman with her dog, birds, a boat."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np

from demo_clip.canvas import BOAT_WATER, SUN, TAU, Array, Colour, Sheet, W, blur, f32, shade
from demo_clip.headland import plank_texture
from demo_clip.shore import path_line


def reach(
    root: tuple[float, float], foot: tuple[float, float], upper: float, lower: float, bend: float
) -> tuple[float, float]:
    """The joint between two bones from `root` to `foot`, bent to the side of `bend`."""
    dx, dy = foot[0] - root[0], foot[1] - root[1]
    span = min(math.hypot(dx, dy), (upper + lower) * 0.999)
    along = (upper**2 - lower**2 + span**2) / (2 * span)
    side = math.sqrt(max(upper**2 - along**2, 0)) * bend
    ux, uy = dx / span, dy / span
    return root[0] + ux * along + uy * side, root[1] + uy * along - ux * side


def footfall(cycle: float, stride: float, lift: float, stance: float) -> tuple[float, float]:
    """Place of a foot against the hip over one cycle: planted while it stands, lifted as it swings."""
    cycle %= 1
    half = stride * stance / 2
    if cycle < stance:
        return half - stride * cycle, 0.0
    part = (cycle - stance) / (1 - stance)
    ease = part * part * (3 - 2 * part)
    return -half + 2 * half * ease, -lift * math.sin(math.pi * part)


class Walkers:
    """A woman and her dog, walking along the path from behind one bush to behind another."""

    WIDTH, HEIGHT = 300, 190
    FROM, TO = -12.0, 1304.0
    STRIDE = 134.0

    def frame(self, phase: float) -> tuple[Array, int, int]:
        """The pair as a layer, with its left and top on the canvas."""
        x = self.FROM + (self.TO - self.FROM) * phase
        y = float(path_line(np.array(x))) + 4
        left, top = math.floor(x) - 110, math.floor(y) - 178
        sheet = Sheet(self.WIDTH, self.HEIGHT, 4)
        walked = x - self.FROM
        at = (x - left, y - top)
        dog_x = x + 100
        dog = (dog_x - left, float(path_line(np.array(dog_x))) + 5 - top)
        hand = self._woman(sheet, at, walked / self.STRIDE)
        self._dog(sheet, dog, walked / 74, hand)
        return self._lit(sheet.layer(), (SUN[0] - x, SUN[1] - y + 90)), left, top

    @staticmethod
    def _lit(layer: Array, to_sun: tuple[float, float]) -> Array:
        """Give the flat figure roundness and a rim of evening light."""
        alpha = layer[..., 3]
        length = math.hypot(*to_sun)
        ux, uy = to_sun[0] / length, to_sun[1] / length
        soft = blur(alpha, 3.2)
        gy, gx = np.gradient(soft)
        edge = np.clip(-(gx * ux + gy * uy) * 7, -0.4, 1)
        rim_y, rim_x = np.gradient(blur(alpha, 1.1))
        rim = np.clip(-(rim_x * ux + rim_y * uy) * 3.2, 0, 1) ** 1.4
        cloth = np.random.default_rng(3).standard_normal(alpha.shape)
        weave = 1 + 0.16 * np.clip(blur(f32(cloth), 1.6, 2.6) * 7, -2, 2)
        colour = layer[..., :3] * ((0.36 + 0.62 * edge) * weave)[..., None]
        colour += (rim * alpha)[..., None] * f32((0.95, 0.50, 0.20)) * 0.75
        return blur(f32(np.concatenate([colour, alpha[..., None]], 2)), 0.55)

    def _woman(self, sheet: Sheet, at: tuple[float, float], cycle: float) -> tuple[float, float]:
        x, y = at
        bob = 2.0 * math.cos(2 * TAU * cycle)
        hip = (x, y - 79 + bob)
        neck = (x + 6, y - 133 + bob)
        swing = math.sin(TAU * cycle)
        skin, coat, trousers, boot = (196, 142, 116), (116, 54, 47), (54, 56, 68), (48, 34, 30)
        self._arm(sheet, neck, -0.5 * swing, (118, 42, 38), skin)
        for offset, dim in ((0.5, 0.72), (0.0, 1.0)):
            fx, fy = footfall(cycle + offset, self.STRIDE, 13, 0.6)
            ankle = (x + fx * 0.82, y - 6 + fy)
            knee = reach(hip, ankle, 39, 38, -1)
            tone = (trousers[0] * dim, trousers[1] * dim, trousers[2] * dim)
            sheet.limb(hip, knee, 10, 7, tone)
            sheet.limb(knee, ankle, 7, 4.6, tone)
            sheet.limb(ankle, (ankle[0] + 11, ankle[1] + 3.5), 5, 3, boot)
        flare = 4 * swing
        sheet.polygon(
            [
                (neck[0] - 11, neck[1] + 3),
                (neck[0] + 10, neck[1] + 3),
                (neck[0] + 12, neck[1] + 26),
                (hip[0] + 16 + flare, hip[1] + 17),
                (hip[0] - 15 + flare, hip[1] + 18),
                (neck[0] - 15, neck[1] + 28),
            ],
            coat,
        )
        sheet.limb((neck[0] - 6, neck[1] + 5), (neck[0] + 5, neck[1] + 5), 7.5, 7.5, coat)
        sheet.limb((neck[0] - 1, neck[1] + 30), (hip[0] + 4 + flare, hip[1] + 14), 0.7, 0.7, (110, 38, 34))
        self._head(sheet, neck, swing, skin)
        return self._arm(sheet, neck, 0.30 + 0.22 * swing, (166, 62, 52), skin)

    @staticmethod
    def _head(sheet: Sheet, neck: tuple[float, float], swing: float, skin: Colour) -> None:
        x, y = neck
        hair, scarf = (86, 54, 36), (210, 168, 84)
        sheet.limb((x - 3, y), (x - 24, y + 14 + 3 * swing), 4.5, 2.5, scarf)
        sheet.limb((x, y + 2), (x + 3, y - 9), 5, 5, skin)
        sheet.ellipse((x + 4, y - 17), 9.5, 12, skin, 0.1)
        sheet.polygon([(x + 12, y - 19), (x + 16.5, y - 14.5), (x + 12, y - 12)], skin)
        sheet.ellipse((x + 0.5, y - 21), 11.5, 10.5, hair)
        sheet.limb((x - 6, y - 17), (x - 12 - swing, y - 1), 6, 3, hair)
        sheet.limb((x - 6, y + 1), (x + 8, y + 1), 5.5, 5, scarf)

    @staticmethod
    def _arm(
        sheet: Sheet, neck: tuple[float, float], turn: float, sleeve: Colour, skin: Colour
    ) -> tuple[float, float]:
        shoulder = (neck[0] - 1, neck[1] + 8)
        elbow = (shoulder[0] + 27 * math.sin(turn), shoulder[1] + 27 * math.cos(turn))
        fore = turn + 0.45
        wrist = (elbow[0] + 25 * math.sin(fore), elbow[1] + 25 * math.cos(fore))
        sheet.limb(elbow, wrist, 5, 4, sleeve)
        sheet.limb(shoulder, elbow, 7, 5.4, sleeve)
        sheet.ellipse((wrist[0] + 1, wrist[1] + 3), 4, 4.6, skin)
        return wrist

    @staticmethod
    def _dog(sheet: Sheet, at: tuple[float, float], cycle: float, hand: tuple[float, float]) -> None:
        x, y = at
        fur, dim, pale = (124, 86, 56), (80, 55, 38), (172, 140, 106)
        bob = 1.2 * math.cos(2 * TAU * cycle)
        haunch, breast = (x - 24, y - 36 + bob), (x + 20, y - 37 - bob)
        legs = ((haunch, 0.5, dim, -1), (breast, 0.0, dim, 1), (haunch, 0.0, fur, -1), (breast, 0.5, fur, 1))
        wag = 7 * math.sin(TAU * cycle * 2)
        sheet.limb((x - 29, y - 41), (x - 44, y - 54 + wag * 0.4), 3.6, 2.6, fur)
        sheet.limb((x - 44, y - 54 + wag * 0.4), (x - 52, y - 66 + wag), 2.8, 1.6, pale)
        for hip, offset, tone, bend in legs:
            fx, fy = footfall(cycle + offset, 74, 8, 0.5)
            paw = (hip[0] + fx * 0.62, y - 2 + fy)
            knee = reach(hip, paw, 18, 18.5, bend)
            sheet.limb(hip, knee, 7, 3.6, tone)
            sheet.limb(knee, paw, 3.4, 2.3, tone)
            sheet.ellipse((paw[0] + 2, paw[1]), 4.2, 2.4, tone)
        sheet.limb(haunch, breast, 10.5, 12.5, fur)
        sheet.limb((x + 12, y - 31), (x + 24, y - 34), 9, 8, pale)
        sheet.limb(breast, (x + 36, y - 56 - bob), 9, 7, fur)
        sheet.ellipse((x + 39, y - 59 - bob), 9.5, 7.8, fur, 0.1)
        sheet.limb((x + 44, y - 57 - bob), (x + 55, y - 54 - bob), 5, 3, pale)
        sheet.ellipse((x + 57, y - 55 - bob), 2, 1.8, (30, 24, 24))
        sheet.limb((x + 34, y - 64 - bob), (x + 29, y - 53 - bob), 4, 3, dim)
        neck = (x + 30, y - 47 - bob)
        t = np.linspace(0, 1, 10)
        slack = 14 * t * (1 - t) * 2
        lead = np.stack([hand[0] + (neck[0] - hand[0]) * t, hand[1] + (neck[1] - hand[1]) * t + slack], 1)
        for a, b in pairwise(lead):
            sheet.limb((a[0], a[1]), (b[0], b[1]), 0.7, 0.7, (52, 34, 30))


def cast_shadow(figure: Array, left: int, feet: float) -> tuple[Array, int]:
    """The shadow of a figure towards the camera, as an alpha picture of the same width and its left."""
    lean = (left + 110 - SUN[0]) / 520
    height = figure.shape[0]
    matrix = f32([[1, -lean * 0.9, lean * 0.9 * feet + 150], [0, -0.42, feet * 1.42]])
    wide = figure.shape[1] + 300
    flat = cv2.warpAffine(figure[..., 3], matrix, (wide, height + 60), flags=cv2.INTER_LINEAR)
    return blur(f32(flat), 3.0, 1.6), left - 150


def birds(phase: float) -> Array:
    """A few gulls that cross the sky while the clip lasts."""
    sheet = Sheet(W, 300)
    rng = np.random.default_rng(5)
    for index in range(7):
        offset, height, pace = rng.uniform(-150, 120), rng.uniform(70, 175), rng.uniform(0.96, 1.1)
        size = rng.uniform(6, 11)
        x = -180 + offset + (W + 360) * phase * pace
        y = height - 40 * phase + 8 * math.sin(TAU * (2 * phase + index / 7))
        flap = math.sin(TAU * ((14 + index % 4) * phase + index * 0.37))
        for side in (-1, 1):
            mid = (x + side * size * 0.55, y - size * (0.28 + 0.25 * flap))
            tip = (x + side * size * 1.15, y - size * (0.05 + 0.55 * flap))
            sheet.polygon([(x - 1.2, y), mid, (x + 1.8, y + 1.2)], (58, 54, 66))
            sheet.polygon([mid, tip, (mid[0] - side * 1.5, mid[1] + size * 0.24)], (58, 54, 66))
        sheet.limb(
            (x - size * 0.35, y + 0.8), (x + size * 0.45, y + 0.4), size * 0.08, size * 0.13, (62, 56, 64)
        )
    return sheet.layer()


class Boat:
    """A rowing boat moored to a post, rocked by the water."""

    LEFT, TOP, WIDTH, HEIGHT = 420, 470, 240, 100

    def __init__(self, rng: np.random.Generator) -> None:
        sheet = Sheet(self.WIDTH, self.HEIGHT, 3)
        base = BOAT_WATER - self.TOP
        t = np.linspace(0, 1, 24)
        x = 56 + 128 * t
        rail = base - 21 - 15 * np.abs(t - 0.46) ** 2 * 4 + 2
        far = rail + 2 - 9 * np.sin(math.pi * t) ** 0.6
        keel_x = 62 + 112 * t
        keel = np.full_like(t, base + 1.5)
        inner = np.concatenate([np.stack([x, rail], 1), np.stack([x, far], 1)[::-1]])
        sheet.polygon(inner, (74, 52, 42))
        for part in (0.3, 0.52, 0.74):
            i = int(part * 23)
            sheet.limb((x[i], far[i] + 3), (x[i] + 3, rail[i] + 1), 2.0, 2.4, (148, 108, 78))
        for strake, tone in ((0.0, 1.0), (0.3, 0.82), (0.58, 0.66), (0.8, 0.5)):
            sx = x + (keel_x - x) * strake
            sy = rail + (keel - rail) * strake
            hull = np.concatenate([np.stack([sx, sy], 1), np.stack([keel_x, keel], 1)[::-1]])
            sheet.polygon(hull, (74 * tone, 82 * tone, 80 * tone))
        for curve, wide, tone in ((rail, 1.5, 1.0), (far, 1.0, 0.75)):
            for i in range(23):
                sheet.limb(
                    (x[i], curve[i]),
                    (x[i + 1], curve[i + 1]),
                    wide,
                    wide,
                    (168 * tone, 124 * tone, 86 * tone),
                )
        sheet.limb((92, base - 20), (38, base - 2), 1.1, 1.1, (150, 112, 80))
        sheet.limb((44, base - 4), (30, base + 2), 2.6, 2.8, (150, 112, 80))
        texture = plank_texture(rng)[: self.HEIGHT, : self.WIDTH]
        self.layer = shade(sheet.layer(), texture)
        post = Sheet(self.WIDTH, self.HEIGHT, 3)
        post.limb((206, base + 3), (208, base - 36), 3.6, 3.2, (70, 54, 46))
        post.limb((204.6, base + 3), (206.6, base - 36), 0.9, 0.9, (142, 100, 70))
        post.limb((184, base - 30), (196, base - 23), 0.6, 0.6, (84, 66, 54))
        post.limb((196, base - 23), (207, base - 27), 0.6, 0.6, (84, 66, 54))
        self.post = post.layer()

    def frame(self, phase: float) -> Array:
        """The boat at a phase of the loop, on a whole canvas down to its waterline."""
        angle = 1.3 * math.sin(TAU * 3 * phase) + 0.5 * math.sin(TAU * 5 * phase + 1)
        matrix = cv2.getRotationMatrix2D((120, BOAT_WATER - self.TOP), angle, 1)
        matrix[0, 2] += 3.0 * math.sin(TAU * phase)
        matrix[1, 2] += 1.3 * math.sin(TAU * 3 * phase + 1.1)
        boat = f32(cv2.warpAffine(self.layer, matrix, (self.WIDTH, self.HEIGHT), flags=cv2.INTER_LINEAR))
        both = self.post + boat * (1 - self.post[..., 3:])
        both[BOAT_WATER - self.TOP + 1 :] = 0
        canvas = np.zeros((BOAT_WATER + 1, W, 4), np.float32)
        canvas[self.TOP :, self.LEFT : self.LEFT + self.WIDTH] = both[: BOAT_WATER + 1 - self.TOP]
        return canvas
