"""Draw the built-in demo clip: a lake at dusk, eight seconds that loop without a seam.

Everything is procedural: a ray-cast heightfield for the mountains, an ocean spectrum with whole
periods for the lake, drawn and wind-warped foliage, a walker with a dog, and a camera held by hand.
All motion is made of whole cycles of the clip, or is hidden when the clip starts again.

    python scripts/draw_demo.py                 # writes stylecam/assets/demo.mp4
    python scripts/draw_demo.py --stills out 0 60 120
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import cv2  # before av: both carry FFmpeg, and this order is the one that loads cleanly

from demo_clip.canvas import FPS, FRAMES, HEIGHT, WIDTH
from demo_clip.scene import Scene

import av  # isort: skip

DEFAULT_OUT = Path(__file__).resolve().parents[1] / "stylecam" / "assets" / "demo.mp4"


def write_clip(scene: Scene, path: Path, crf: float) -> None:
    """Encode the loop as H.264, bt709, short GOPs, no sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {
        "crf": str(crf),
        "preset": "slow",
        "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709:aq-mode=3:threads=1",
    }
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as box:
        stream = box.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.codec_context.gop_size = FPS
        stream.codec_context.color_primaries = 1
        stream.codec_context.color_trc = 1
        stream.codec_context.colorspace = 1
        stream.codec_context.color_range = 1
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(scene.frame(index), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts = index
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))


def main() -> None:
    """Write the clip, or only some of its frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--crf", type=float, default=29.5)
    parser.add_argument(
        "--stills", nargs="+", metavar="DIR/FRAME", help="a folder and frame numbers, instead of the clip"
    )
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    scene = Scene()
    if chosen.stills:
        folder = Path(chosen.stills[0])
        folder.mkdir(parents=True, exist_ok=True)
        for number in chosen.stills[1:]:
            cv2.imwrite(
                str(folder / f"{int(number):03d}.png"),
                cv2.cvtColor(scene.frame(int(number)), cv2.COLOR_RGB2BGR),
            )
        return
    write_clip(scene, chosen.out, chosen.crf)
    print(f"{chosen.out.name}: {chosen.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
