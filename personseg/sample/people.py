"""People: what they wear, hold and do, drawn from the back to the front."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike

from personseg.sample.drawing import (
    Canvas,
    Floats,
    Pen,
    Points,
    Rng,
    between,
    ellipse,
    hsv,
    limb,
    mirrored,
    noise,
    spline,
)

STRAND = 0.009  # head heights; width of the thickest strands of hair
SKINS = np.array([[250, 218, 195], [236, 190, 160], [216, 165, 130], [188, 132, 96], [141, 91, 62], [88, 56, 40]])
HAIRS = np.array(
    [[28, 22, 22], [48, 32, 24], [82, 52, 34], [122, 72, 40], [150, 62, 30], [205, 164, 100], [168, 165, 162]]
)

# Curves are listed compactly, so the rest is left to its own layout.
# fmt: off

WIDE = [[0.41, 0.02], [0.43, -0.25], [0.3, -0.5], [0, -0.57], [-0.3, -0.5], [-0.43, -0.25], [-0.41, 0.02]]
HAIRLINE = [[0.36, 0.05], [0.33, -0.17], [0.2, -0.27], [0, -0.29], [-0.2, -0.27], [-0.33, -0.17],
            [-0.36, 0.05]]


@dataclass(frozen=True)
class Look:
    """What a figure wears and is."""

    skin: Floats
    hair: Floats
    style: str
    length: float  # where long hair ends, head heights below the head's centre
    sleeve: float  # share of the arm that is covered
    shoulder: float
    waist: float
    lower: str
    yaw: float  # sideways turn of the face, -1 to 1

    @classmethod
    def draw(cls, rng: Rng) -> Look:
        at = rng.uniform(0, len(SKINS) - 1.001)
        skin = SKINS[int(at)] + (at % 1) * (SKINS[int(at) + 1] - SKINS[int(at)])
        hair = HAIRS[rng.integers(len(HAIRS) if at < 2.5 else 4)] * rng.uniform(0.8, 1.15)
        dyed = rng.random() < 0.05
        styles = {"long": 0.45, "short": 0.27, "curly": 0.12, "bun": 0.08, "hat": 0.05, "bald": 0.03}
        style = rng.choice(list(styles), p=list(styles.values()))
        return cls(
            skin=(skin / 255).astype(np.float32),
            hair=hsv(rng.random(), 0.6, 0.7) if dyed else (hair / 255).astype(np.float32),
            style=str(style),
            length=rng.uniform(0.45, 0.7) if rng.random() < 0.35 else rng.uniform(0.9, 1.9),
            sleeve=float(rng.choice([0.4, 0.97], p=[0.4, 0.6])),
            shoulder=rng.uniform(0.78, 1.0),
            waist=rng.uniform(0.5, 0.68),
            lower=str(rng.choice(["trousers", "skirt", "dress"], p=[0.6, 0.2, 0.2])),
            yaw=rng.uniform(-1, 1),
        )


def cloth(rng: Rng, pen: Pen) -> Floats:
    """A whole-canvas texture: plain, striped, checked or dotted cloth with folds."""
    saturation = rng.choice([0.05, 0.25, 0.5, 0.75]) * rng.uniform(0.7, 1)
    base = hsv(rng.random(), saturation, rng.choice([0.15, 0.35, 0.6, 0.8, 0.92]))
    other = hsv(rng.random(), rng.uniform(0, 0.6), rng.uniform(0.2, 0.95))
    shape, unit = pen.canvas.shape, pen.unit
    half = (shape[0] // 2, shape[1] // 2)
    folds = 1 + 0.07 * noise(rng, half, (unit / 5, unit / 12)) + 0.03 * noise(rng, half, (2, 2))
    y, x = np.mgrid[: half[0], : half[1]].astype(np.float32) / unit * 2
    kind = rng.choice(["plain", "stripes", "checks", "dots"], p=[0.55, 0.2, 0.13, 0.12])
    period = rng.uniform(0.12, 0.3)
    if kind == "stripes":
        share = ((y + 0.02 * folds) % period < period * 0.4).astype(np.float32)
    elif kind == "checks":
        share = 0.4 * (y % period < period / 2) + 0.4 * (x % period < period / 2)
    elif kind == "dots":
        share = ((x % period - period / 2) ** 2 + (y % period - period / 2) ** 2 < (period * 0.2) ** 2) * 1.0
    else:
        share = np.zeros(half, dtype=np.float32)
    picture = between(share, base, other) * folds[..., None]
    return np.asarray(cv2.resize(picture.astype(np.float32), shape[::-1]))


def bundle(rng: Rng, first: ArrayLike, last: ArrayLike, count: int, wave: float, stray: float) -> Points:
    """Strands between two guide curves of equal length, (count, points, 2); they stray towards their ends."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(last, dtype=np.float64)
    share = np.concatenate([rng.random(count // 2), rng.beta(4, 0.6, count - count // 2)])[:, None, None]
    paths = spline(a + share * (b - a), closed=False, steps=6)
    v = np.linspace(0, 1, paths.shape[1])
    paths[..., 0] += wave * np.sin(2 * np.pi * (2.2 * v + rng.random() + rng.normal(0, 0.07, (count, 1)))) * v
    paths += rng.normal(0, stray, (count, 1, 2)) * v[:, None] ** 1.6
    return paths


def _side_hair(look: Look, side: int, volume: float, part: float) -> tuple[Points, Points]:
    """Inner and outer guides of hair that falls from the parting down one side."""
    end = look.length
    flare = 0.1 * min(1.5, end)
    inner = [[part, -0.4], [side * 0.19, -0.3], [side * 0.32, -0.06],
             [side * 0.34, 0.3], [side * 0.36, 0.92 * end]]
    outer = [
        [part, -0.5 - 0.6 * volume], [side * 0.3, -0.46 - 0.5 * volume], [side * (0.42 + volume), -0.08],
        [side * (0.46 + volume), 0.35], [side * (0.46 + volume + flare), end],
    ]
    return np.array(inner), np.array(outer)


def _hair_back(rng: Rng, pen: Pen, look: Look, volume: float, wave: float) -> None:
    dark = look.hair * 0.75
    if look.style == "long" or (look.style == "hat" and look.length > 0.8):
        left, right = (_side_hair(look, side, volume, 0)[1] for side in (-1, 1))
        paths = bundle(rng, left, right, 160, wave, 0.05)
        mass = np.concatenate([spline(left, False), spline(right, False)[::-1]])
        pen.strands(rng, paths, mass, dark, STRAND, 0.1)
    elif look.style == "curly":
        _curls(rng, pen, look, 0.5 + 1.6 * volume, (0, -0.12), 0)
    elif look.style == "bun":
        x, y, r = rng.uniform(-0.2, 0.2), -0.56, rng.uniform(0.16, 0.24)
        turn = spline(ellipse(x, y, r, r * 0.85)[::4])
        coils = np.stack([np.roll(turn, int(rng.integers(64)), axis=0)[:30] for _ in range(70)])
        coils = (x, y) + (coils - (x, y)) * rng.uniform(0.2, 1.08, (70, 1, 1))
        coils += rng.normal(0, 0.01, (70, 1, 2))
        pen.strands(rng, coils, turn, dark, STRAND, 0.06)


def _curls(rng: Rng, pen: Pen, look: Look, radius: float, at: tuple[float, float], low: float) -> None:
    """A cloud of small arcs round the head; with `low` it is a cap over the hairline only."""
    n = 420
    turn = rng.uniform(np.pi * 0.97, np.pi * 2.03, n) if low else rng.uniform(0, 2 * np.pi, n)
    away = radius * np.sqrt(rng.uniform(low or 0.3, 1.05, n))
    centre = np.stack([at[0] + away * np.cos(turn), at[1] + away * np.sin(turn) * 0.95], axis=1)
    arc = rng.uniform(0, 6, (n, 1)) + np.linspace(0, 4.5, 10)
    curl = rng.uniform(0.025, 0.06, (n, 1, 1)) * np.stack([np.cos(arc), np.sin(arc)], axis=-1)
    bumps = 1 + 0.05 * rng.standard_normal(26)
    angle = np.linspace(0, 2 * np.pi, 26, endpoint=False)
    cloud = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (0.96 * radius * bumps)[:, None] + at
    mass = np.empty((0, 2)) if low else spline(cloud)
    pen.strands(rng, centre[:, None] + curl, mass, look.hair, 1.3 * STRAND, 0.1)


def _hair_front(rng: Rng, pen: Pen, look: Look, volume: float, wave: float) -> None:
    if look.style == "long":
        part = rng.uniform(-0.15, 0.15)
        for side in (-1, 1):
            inner, outer = _side_hair(look, side, volume, part)
            paths = bundle(rng, inner, outer, 170, wave, 0.035)
            mass = np.concatenate([spline(inner, False)[:-5], spline(outer, False)[-5::-1]])
            pen.strands(rng, paths, mass, look.hair, STRAND, 0.07)
        if rng.random() < 0.35:
            edge = np.array([[0.3, -0.46], [0.33, -0.3], [0.3, -0.13]])
            fringe = bundle(rng, edge * (-1, 1), edge, 150, 0.01, 0.015)
            pen.strands(rng, fringe, np.empty((0, 2)), look.hair, 1.5 * STRAND, 0.05)
    elif look.style == "curly":
        _curls(rng, pen, look, 0.47, (0, -0.06), 0.62)
    elif look.style in ("short", "bun"):
        _combed(rng, pen, look, volume)
    elif look.style == "hat":
        _hat(rng, pen)


def _combed(rng: Rng, pen: Pen, look: Look, volume: float) -> None:
    """Short or tied hair: strands from the hairline to the outline of the crown."""
    short, n = look.style == "short", 420
    top = np.array(WIDE) * (1 + 0.3 * volume, 1) - (0, 1.2 * volume if short else 0)
    top[[0, -1], 1] = 0.04
    line = spline(np.array(HAIRLINE) - (0, rng.uniform(-0.03, 0.05)), closed=False, steps=12)
    crown = spline(top, closed=False, steps=12)
    start = rng.integers(0, len(line), n)
    comb = int(rng.integers(-14, 15)) if short else 0
    root, tip = line[start], crown[np.clip(start + comb + rng.integers(-3, 4, n), 0, len(line) - 1)]
    middle = (root + tip) / 2 + (0, -0.05) + rng.normal(0, 0.015, (n, 2))
    end = root + (tip - root) * rng.uniform(0.75, 1.06 if short else 1.0, (n, 1))
    paths = spline(np.stack([root, middle, end], axis=1), closed=False, steps=6)
    pen.strands(rng, paths, np.concatenate([line, (0.97 * crown)[::-1]]), look.hair, STRAND, 0.09)


def _hat(rng: Rng, pen: Pen) -> None:
    wool, crest = cloth(rng, pen), rng.uniform(0.6, 0.75)
    dome = [[0, -crest], [0.25, 0.06 - crest], [0.43, -0.4], [0.42, -0.2], [0.2, -0.18]]
    pen.fill(mirrored(dome), wool, 0.14)
    pen.fill(limb([[-0.4, -0.2], [0, -0.25], [0.4, -0.2]], [0.07] * 3), wool * 0.75, 0.05)


def _eyes(rng: Rng, pen: Pen, look: Look, turn: float) -> None:
    dark = look.skin * (0.6, 0.5, 0.48)
    white = np.full(3, 0.6 + 0.33 * look.skin.mean(), np.float32)
    iris = hsv(rng.choice([0.07, 0.08, 0.3, 0.57]), 0.55, rng.uniform(0.15, 0.45))
    almond = spline([[-0.08, 0.005], [-0.03, -0.032], [0.03, -0.032], [0.08, 0], [0.03, 0.03], [-0.03, 0.03]])
    for side in (-1, 1):
        x = side * 0.16 + turn
        gaze = x + 0.3 * turn
        pen.glow(ellipse(x, -0.01, 0.1, 0.05), dark, 0.035, 0.4)
        pen.fill(almond + (x, 0), white, 0.02, shadow=0.1)
        pen.fill(ellipse(gaze, -0.002, 0.032, 0.032), iris, 0.01, shadow=0)
        pen.fill(ellipse(gaze, -0.002, 0.015, 0.015), iris * 0.15, 0.01, shadow=0)
        pen.fill(ellipse(gaze - 0.012, -0.014, 0.007, 0.007), np.ones(3, np.float32), 0.01, shadow=0)
        lid = limb([[x - 0.085, 0.0], [x, -0.036], [x + 0.085, -0.003]], [0.008, 0.012, 0.008])
        pen.fill(lid, dark * 0.35, 0.01, shadow=0)
        arch = [[x - side * 0.085, -0.088], [x + side * 0.02, -0.118], [x + side * 0.1, -0.085]]
        brow = look.hair * 0.55 + 0.2 * look.skin
        pen.fill(limb(arch, [0.018, 0.017, 0.006]), brow, 0.01, shadow=0.05, alpha=0.85)


def _glasses(rng: Rng, pen: Pen, turn: float) -> None:
    ink, rim = hsv(rng.random(), 0.3, 0.15), ellipse(0, 0, 0.125, 0.095)
    ring = np.concatenate([rim, rim[:1], 0.85 * rim[:1], 0.85 * rim[::-1]])
    for side in (-1, 1):
        pen.fill(ring + (side * 0.16 + turn, 0.005), ink, 0.01, shadow=0.1)
    pen.fill(limb([[turn - 0.04, -0.01], [turn, -0.02], [turn + 0.04, -0.01]], [0.012] * 3), ink, 0.01)


def _face(rng: Rng, pen: Pen, look: Look) -> None:
    skin, turn, jaw = look.skin, 0.06 * look.yaw, rng.uniform(-0.03, 0.03)
    dark, red = skin * (0.6, 0.5, 0.48), skin * (0.95, 0.62, 0.6)
    outline = [[0, -0.5], [0.2, -0.47], [0.34, -0.33], [0.375, -0.06], [0.35, 0.15],
               [0.27 + jaw, 0.35], [0.12 + jaw, 0.475], [0, 0.5]]
    for side in (-1, 1):
        pen.fill(ellipse(side * 0.375, 0.03, 0.05, 0.1), skin * 0.88, 0.04)
    pen.fill(mirrored(outline), skin, 0.16, volume=0.34, shadow=0.45)
    for side in (-1, 1):
        pen.glow(ellipse(side * 0.21 + turn, 0.17, 0.08, 0.06), red, 0.05, 0.55)
        pen.glow(ellipse(1.5 * turn + side * 0.035, 0.178, 0.02, 0.011), dark * 0.5, 0.008, 0.7)
    nose = spline([[0.025, -0.05], [0.07, 0.15], [0.02, 0.2], [0.03, 0.1]]) + (1.5 * turn, 0)
    pen.glow(nose, dark, 0.02, 0.45)
    pen.glow(ellipse(1.5 * turn, 0.06, 0.018, 0.1), np.minimum(1, skin * 1.25), 0.02, 0.5)
    _eyes(rng, pen, look, turn)
    if look.style in ("short", "bald") and rng.random() < 0.35:
        beard = [[0, 0.23], [0.14, 0.24], [0.27, 0.2], [0.36, 0.1], [0.27, 0.38], [0.1, 0.49]]
        pen.glow(mirrored(beard), look.hair, 0.03, rng.uniform(0.35, 0.9))
    smile = rng.uniform(-0.01, 0.04)
    mouth = [[-0.13, -smile], [-0.05, -0.025], [0, -0.015], [0.05, -0.025], [0.13, -smile],
             [0.06, 0.045], [-0.06, 0.045]]
    gap = [[-0.11, -smile], [0, 0.0], [0.11, -smile], [0, 0.012 + 0.6 * max(0.0, smile)]]
    teeth = np.full(3, 0.9, np.float32) if smile > 0.02 else dark * 0.5
    pen.fill(spline(mouth) + (turn, 0.31), red * rng.uniform(0.7, 1), 0.015, shadow=0.15)
    pen.fill(spline(gap) + (turn, 0.31), teeth, 0.01, shadow=0)
    if rng.random() < 0.18:
        _glasses(rng, pen, turn)


def _hand(pen: Pen, look: Look, at: Points, turn: float, curled: bool) -> None:
    """Fingers at `at`, pointing along `turn` (radians); curled fingers lie across what is held."""
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]])
    for i, spread in enumerate((-0.12, -0.04, 0.04, 0.11)):
        root = at + across * spread + along * (0.0 if curled else 0.1)
        reach = (0.16, 0.18, 0.17, 0.13)[i] if curled else (0.26, 0.3, 0.28, 0.22)[i]
        joints = [root, root + along * reach * 0.5, root + along * reach + across * spread * 0.25]
        pen.fill(limb(joints, [0.048, 0.045, 0.036]), look.skin * 0.97, 0.03, shadow=0.25)


def _held(rng: Rng, pen: Pen, thing: str, at: Points) -> None:
    tint, (x, y) = hsv(rng.random(), rng.uniform(0.1, 0.8), rng.uniform(0.3, 0.95)), at

    def shape(points: ArrayLike, colour: Floats, depth: float = 0.06) -> None:
        pen.fill(np.asarray(points) + (x, y), colour, depth, shadow=0.25)

    if thing == "cup":
        ring = np.concatenate([ellipse(0.2, 0.0, 0.13, 0.14), ellipse(0.2, 0.0, 0.08, 0.09)[::-1]])
        shape(ring, tint * 0.9)
        shape([[-0.2, -0.26], [0.2, -0.26], [0.16, 0.24], [-0.16, 0.24]], tint, 0.09)
        shape(ellipse(0, -0.26, 0.2, 0.045), tint * 0.5)
    elif thing == "phone":
        edge = [[-0.17, -0.38], [0.17, -0.38], [0.17, 0.3], [-0.17, 0.3]]
        shape(edge, tint * 0.45, 0.03)
        for k in (0, 0.09):
            shape(ellipse(-0.1, -0.3 + k, 0.03, 0.03), hsv(0.6, 0.3, 0.08), 0.01)
    elif thing == "book":
        pages = [[-0.42, -0.36], [0.0, -0.3], [0.42, -0.36], [0.42, 0.24], [0.0, 0.32], [-0.42, 0.24]]
        shape(pages, tint, 0.05)
        shape([[-0.015, -0.3], [0.015, -0.3], [0.015, 0.32], [-0.015, 0.32]], tint * 0.5, 0.02)
        shape([[0.1, -0.22], [0.33, -0.25], [0.33, -0.17], [0.1, -0.13]], np.minimum(1, tint * 1.6), 0.02)
    elif thing == "umbrella":
        shape([[-0.025, 0.3], [0.025, 0.3], [0.025, -2.4], [-0.025, -2.4]], hsv(0.6, 0.1, 0.2), 0.02)
        turn = np.linspace(np.pi, 2 * np.pi, 37)
        dome = np.stack([1.5 * np.cos(turn), 0.85 * np.sin(turn) - 1.7], axis=1)
        hem = dome[::-1] * (1, 0) - np.array([0, 1.7]) - np.abs(np.sin(3 * turn))[:, None] * (0, 0.12)
        shape(np.concatenate([dome, hem]), tint, 0.3)
        for k in range(1, 6):
            rib = np.linspace([0, -2.55], hem[::-1][6 * k], 9)
            rib[:, 0] *= np.sin(np.linspace(0, np.pi / 2, 9))
            shape(np.concatenate([rib - (0.012, 0), rib[::-1] + (0.012, 0)]), tint * 0.6, 0.02)
    else:
        shape([[-0.3, 0.45], [0.3, 0.45], [0.36, 1.05], [-0.36, 1.05]], tint, 0.08)
        shape(limb([[-0.2, 0.5], [-0.12, 0.08], [0.12, 0.08], [0.2, 0.5]], [0.025] * 4)[0], tint * 0.6, 0.02)


# Where the hand is (for the right arm), what it may hold, and whether the arm is behind the body.
POSES: dict[str, tuple[tuple[float, float], tuple[str, ...], bool]] = {
    "hang": ((1.12, 3.1), ("", "", "bag"), False),
    "hip": ((0.62, 2.6), ("",), False),
    "chest": ((0.35, 1.75), ("cup", "book", "phone"), False),
    "face": ((0.8, 0.62), ("phone", "cup"), False),
    "wave": ((1.5, 0.1), ("",), False),
    "carry": ((0.95, 1.25), ("umbrella",), False),
    "back": ((0.45, 2.7), ("",), True),
    "selfie": ((1.75, 2.3), ("",), False),
}


def _elbow(shoulder: Points, wrist: Points, side: int) -> tuple[Points, Points]:
    """Elbow of an arm with bones 1.3 and 1.15, bent outwards and down, and its wrist, kept within reach."""
    away = wrist - shoulder
    d = float(np.clip(np.hypot(*away), 0.4, 2.42))
    away = away / np.hypot(*away)
    along = (d**2 + 1.3**2 - 1.15**2) / (2 * d)
    off = np.sqrt(max(0.0, 1.3**2 - along**2)) * np.array([-away[1], away[0]])
    elbow = max((shoulder + away * along + s * off for s in (-1, 1)), key=lambda e: side * e[0] + 0.8 * e[1])
    return elbow, shoulder + away * d


def _arm(rng: Rng, pen: Pen, look: Look, side: int, pose: str, garment: Floats) -> None:
    target, things, _ = POSES[pose]
    shoulder = np.array([side * (look.shoulder - 0.18), 1.02])
    goal = np.array([side * target[0], target[1]]) + rng.normal(0, 0.07, 2)
    elbow, wrist = _elbow(shoulder, goal, side)
    near = 1.6 if pose == "selfie" else 1.0  # the hand with the camera is close to the lens
    pen.fill(limb([(shoulder + elbow) / 2, elbow, wrist], [0.14, 0.125 * near, 0.09 * near]), look.skin, 0.08)
    cuff = elbow + (wrist - elbow) * max(0.0, look.sleeve * 2 - 1)
    bone = elbow - shoulder
    cover = [elbow, cuff] if look.sleeve > 0.5 else [shoulder + 0.5 * bone, shoulder + 0.7 * bone]
    sleeve = limb([shoulder, *cover], [0.21, 0.165 * near, 0.135 * near])
    pen.fill(sleeve, garment, 0.13, shadow=0.25, joint=(shoulder, 0.34))
    if pose in ("selfie", "back"):
        return
    thing = str(rng.choice(things))
    turn = float(np.arctan2(*(wrist - elbow)[::-1]))
    at = wrist + 0.12 * np.array([np.cos(turn), np.sin(turn)])
    pen.fill(ellipse(at[0], at[1], 0.16, 0.16), look.skin, 0.07)  # the palm
    if thing:
        _held(rng, pen, thing, at)
    if not thing or thing == "bag":
        _hand(pen, look, at, turn, curled=bool(thing))
    else:
        _hand(pen, look, at + (side * 0.17, 0.04), np.pi if side > 0 else 0.0, curled=True)


def _legs(rng: Rng, pen: Pen, look: Look, garment: Floats) -> None:
    stance = rng.uniform(0.25, 0.55)
    shoe = hsv(rng.random(), rng.uniform(0, 0.5), rng.uniform(0.1, 0.9))
    for side in (-1, 1):
        bend = rng.uniform(0, 0.12)
        joints = np.array([[side * 0.3, 3.2], [side * (stance + bend), 4.8], [side * stance, 6.35]])
        foot = joints[-1] + (side * rng.uniform(0.05, 0.2), 0.2)
        pen.fill(limb(joints, [0.34, 0.2, 0.11]), look.skin, 0.15)
        pen.fill(limb([joints[-1] + (0, 0.1), foot], [0.13, 0.15]), shoe, 0.08)
        if look.lower == "trousers":
            pen.fill(limb(joints, [0.37, 0.25, 0.19]), garment, 0.17)
    if look.lower != "trousers":
        hem, wide = rng.uniform(4.2, 5.6), rng.uniform(0.75, 1.1)
        skirt = [[0, 2.3], [look.waist, 2.3], [0.68, 3.1], [wide, hem], [0.5, hem + 0.08], [0, hem + 0.05]]
        pen.fill(mirrored(skirt), garment, 0.2)


def _torso(rng: Rng, pen: Pen, look: Look, garment: Floats) -> None:
    b, w = look.shoulder, look.waist
    half = [[0.12, 0.56], [0.22, 0.62], [0.48, 0.72], [b - 0.1, 0.84], [b, 1.12], [b - 0.12, 1.6],
            [w, 2.3], [0.66, 3.1], [0.6, 3.4], [0.2, 3.45]]
    pen.fill(mirrored(half), garment, 0.3, volume=0.4)
    depth = rng.choice([0.78, 0.92, 1.15])
    neckline = mirrored([[0, 0.52], [0.22, 0.6], [0.18, 0.72], [0.08, depth - 0.05], [0, depth]])
    opening = rng.random()
    if opening < 0.3:  # an open jacket over another shirt
        inner = cloth(rng, pen)
        front = [[-0.2, 0.6], [0.2, 0.6], [0.3, 1.6], [0.22, 3.4], [-0.22, 3.4], [-0.3, 1.6]]
        pen.fill(front, inner, 0.1, shadow=0)
        for side in (-1, 1):
            lapel = np.array([[0.2, 0.6], [0.4, 0.78], [0.34, 1.3], [0.28, 1.75], [0.22, 1.2]]) * (side, 1)
            pen.fill(lapel, garment * 0.8, 0.05, shadow=0.5)
    pen.fill(neckline, look.skin * 0.97, 0.06, volume=0.1, shadow=0.1)
    pen.fill(limb([[0, 0.25], [0, 0.5], [0, 0.62]], [0.2, 0.19, 0.22]), look.skin * 0.93, 0.09, shadow=0.15)
    if opening > 0.7:
        for side in (-1, 1):
            collar = np.array([[0.17, 0.56], [0.3, 0.64], [0.24, 0.9], [0, 0.82]]) * (side, 1)
            pen.fill(collar, garment * 1.1, 0.04)


# Head height and headroom as shares of the picture's height, and how often each pose in POSES occurs.
SHOTS: dict[str, tuple[float, float, list[float]]] = {
    "selfie": (0.41, 0.06, [2, 0, 1, 2, 1, 0.3, 1, 4]),
    "half": (0.25, 0.09, [3, 2, 4, 2, 1, 1, 2, 0]),
    "full": (0.128, 0.045, [4, 3, 3, 1, 1, 1.5, 1, 0]),
}


def draw_person(rng: Rng, canvas: Canvas, shot: str, x: float, size: float = 1.0) -> None:
    """Draw a figure whose head's centre is at `x` (share of the width); shot: selfie, half or full."""
    h, w = canvas.shape
    share, top, chance = SHOTS[shot]
    unit = h * share * rng.uniform(0.85, 1.12) * size
    y = unit * 0.58 + h * top * rng.uniform(0.3, 1.7) + h * (1 - size) * 0.3
    look = Look.draw(rng)
    body = Pen(canvas, (w * x, y), unit, rng.normal(0, 0.03), (0, 2))
    neck = body.place((0, 0.5)) - (0, 0.5 * unit)
    head = Pen(canvas, (neck[0], neck[1]), unit, body.angle + rng.normal(0, 0.09), (0, 0.5))
    arms = [(side, str(rng.choice(list(POSES), p=np.array(chance) / sum(chance)))) for side in (-1, 1)]
    if arms[0][1] == arms[1][1] == "carry":
        arms[0] = (-1, "hang")
    if "carry" in (arms[0][1], arms[1][1]):
        below = 0.7 * unit  # room for the umbrella
        body, head = (replace(pen, origin=(pen.origin[0], pen.origin[1] + below)) for pen in (body, head))
    garment = cloth(rng, body)
    volume, wave = rng.uniform(0.02, 0.14), rng.choice([0, 0.02, 0.05])
    _hair_back(rng, head, look, volume, wave)
    for side, pose in arms:
        if POSES[pose][2]:
            _arm(rng, body, look, side, pose, garment)
    if shot != "selfie":
        _legs(rng, body, look, garment if look.lower == "dress" else cloth(rng, body))
    _torso(rng, body, look, garment)
    _face(rng, head, look)
    _hair_front(rng, head, look, volume, wave)
    for side, pose in arms:
        if not POSES[pose][2]:
            _arm(rng, body, look, side, pose, garment)
