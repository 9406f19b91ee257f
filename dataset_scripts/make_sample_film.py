"""Make the sample film that ships in `cineforge_hf/assets`: picture, sound, and everything that is true of them.

    python -m cineforge_hf.dataset_scripts.make_sample_film OUT_DIR [--seed 0]

Writes sample_film.mp4, .json (the truth), .srt (the cues that are not burnt in) and .rttm. Needs espeak-ng, fonts-noto-cjk and
the `sample-film` extra; using the film needs none of them. The same machine writes the same bytes.

The faces come from NASA's public-domain portrait of Eileen Collins, as scikit-image ships it; the voices are espeak-ng's; all
else is made here. The words are fiction, not those of anyone shown, and nobody shown endorses anything.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cineforge_hf.dataset_scripts.sample_film import camera, scenery, sound
from cineforge_hf.dataset_scripts.sample_film.encode import write_film
from cineforge_hf.dataset_scripts.sample_film.script import FPS, SAMPLE_RATE, SCENES, all_lines, lay_out
from cineforge_hf.dataset_scripts.sample_film.truth import write_truth
from cineforge_hf.errors import UsageError

logger = logging.getLogger(__name__)

NAME = "sample_film"


def make_sample_film(folder: Path, seed: int = 0) -> Path:
    """Make the film and its truth files in `folder`.

    Args:
        folder: created if missing; files of the same names are replaced.
        seed: of the music, the head motion and the blinks.

    Returns:
        Path of the film.

    Raises:
        UsageError: espeak-ng or the font is missing.
    """
    espeak = sound.find_espeak()
    scenery.font("Serif", 10)
    cv2.setNumThreads(1)  # so that results do not depend on the number of cores
    folder.mkdir(parents=True, exist_ok=True)

    languages = [scene.lang for scene in SCENES for _ in scene.lines]
    spoken = [sound.speak(espeak, line, lang) for line, lang in zip(all_lines(), languages, strict=True)]
    timeline = lay_out([voice.size / SAMPLE_RATE for voice in spoken])
    tracks = sound.voice_tracks(timeline, spoken)
    curves = {name: sound.mouth_curves(tracks[name], timeline.frames) for name in ("a", "b")}
    mixed, ratio = sound.mix(timeline, tracks, seed)
    logger.info("%d lines, %.1f s; drawing %d frames", len(spoken), timeline.frames / FPS, timeline.frames)

    boxes: list[dict[str, camera.Box]] = []

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for number, frame in enumerate(camera.film(timeline, curves, seed)):
            boxes.append(frame.boxes)
            if number % (5 * FPS) == 0:
                logger.info("frame %d of %d", number, timeline.frames)
            yield frame.rgb

    path = folder / f"{NAME}.mp4"
    write_film(path, pictures(), mixed)
    write_truth(folder / NAME, timeline, {name: opening for name, (opening, _) in curves.items()}, boxes, ratio)
    return path


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make_sample_film", description="Make the bundled sample film and its truth.")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        path = make_sample_film(options.out_dir, options.seed)
    except UsageError as error:
        logger.error("%s", error)
        return 2
    logger.info("%s: %d KB", path, path.stat().st_size // 1024)
    return 0


if __name__ == "__main__":
    sys.exit(main())
