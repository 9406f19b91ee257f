"""Music of several kinds, made on the spot, to put under real voices: from exact loops to what never repeats.

Notes are sums of harmonics with an envelope, drums are decaying sines and noise; tempo, key, chords and timbre are drawn
from the seed. Only `loop` repeats to the sample: the others have a player's small errors of time and strength.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Chords as semitones above the key: I, V, vi, IV and three other common orders.
PROGRESSIONS = ((0, 7, 9, 5), (0, 5, 7, 0), (9, 5, 0, 7), (0, 9, 5, 7))
MINOR = 9
BASS = (1.0, 0.5, 0.25, 0.1)


class Player:
    """One piece: its tempo, key, chords and timbre, and the sound so far."""

    def __init__(self, seconds: float, rate: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.seconds, self.rate = seconds, rate
        self.sound = np.zeros(round(seconds * rate))
        self.beat = 60 / self.random.uniform(85, 140)
        self.key = int(self.random.integers(45, 57))
        self.progression = PROGRESSIONS[self.random.integers(len(PROGRESSIONS))]
        self.harmonics = tuple(1 / (h + 1) ** self.random.uniform(1.0, 1.8) for h in range(12))

    def add(self, sound: Floats, at: float, strength: float = 1.0) -> None:
        first = max(0, round(at * self.rate))
        part = sound[: max(0, len(self.sound) - first)]
        self.sound[first : first + len(part)] += strength * part

    def note(
        self,
        pitch: float,
        seconds: float,
        decay: float,
        attack: float = 0.01,
        harmonics: Sequence[float] = (),
        vibrato: float = 0.0,
    ) -> Floats:
        t = np.arange(round(seconds * self.rate)) / self.rate
        hertz = 440 * 2 ** ((pitch - 69) / 12)
        phase = 2 * np.pi * hertz * t + vibrato * np.sin(2 * np.pi * 5.3 * t)
        parts = [
            a * np.sin((h + 1) * phase) for h, a in enumerate(harmonics or self.harmonics) if (h + 1) * hertz < self.rate / 2.2
        ]
        release = np.minimum(1, (t[-1] - t) / 0.03)
        return np.asarray(sum(parts) * np.minimum(1, t / attack) * np.exp(-t * decay) * release)

    def chord(self, number: int) -> tuple[int, ...]:
        step = self.progression[number % 4]
        root = self.key + step
        return (root, root + (3 if step == MINOR else 4), root + 7)

    def human(self, spread: float) -> float:
        return float(spread * self.random.standard_normal())

    def drums(self, timing: float, strength: float) -> None:
        for number in range(int(self.seconds / self.beat) + 1):
            hits = ((_kick if number % 2 == 0 else _snare, 0.0), (_hat, 0.0), (_hat, 0.5))
            for hit, at in hits:
                self.add(hit(self.rate, self.random), (number + at) * self.beat + self.human(timing), 1 + self.human(strength))

    def band(self, timing: float, strength: float) -> None:
        length = 2 * self.beat
        for number in range(int(self.seconds / length) + 1):
            root, *_ = chord = self.chord(number)
            for pitch in chord:
                at = number * length + abs(self.human(timing))
                self.add(self.note(pitch + 12, 0.97 * length, 1.0), at, 0.25 * (1 + self.human(strength)))
            for quarter in range(4):
                at = number * length + quarter * length / 4 + abs(self.human(timing))
                self.add(self.note(root - 12, 0.22 * length, 4.0, harmonics=BASS), at, 0.5 * (1 + self.human(strength)))
        self.drums(timing, strength)


def _kick(rate: int, random: np.random.Generator) -> Floats:
    t = np.arange(rate // 4) / rate
    return np.asarray(1.2 * np.sin(2 * np.pi * (50 * t + 12 * (1 - np.exp(-30 * t)))) * np.exp(-14 * t))


def _snare(rate: int, random: np.random.Generator) -> Floats:
    t = np.arange(rate // 5) / rate
    return np.asarray(
        0.5 * random.standard_normal(len(t)) * np.exp(-22 * t) + 0.5 * np.sin(2 * np.pi * 190 * t) * np.exp(-25 * t)
    )


def _hat(rate: int, random: np.random.Generator) -> Floats:
    t = np.arange(rate // 12) / rate
    return np.asarray(0.12 * np.diff(random.standard_normal(len(t) + 2), n=2) * np.exp(-60 * t))


def loop(player: Player) -> None:
    """One bar with chords, bass and drums, repeated to the sample."""
    bar = Player(4 * player.beat, player.rate, int(player.random.integers(1 << 30)))
    bar.beat = player.beat
    bar.band(0.0, 0.0)
    player.sound = np.resize(bar.sound, len(player.sound))


def band(player: Player) -> None:
    """Chords, bass and drums, tightly played."""
    player.band(0.004, 0.1)


def loose_band(player: Player) -> None:
    """The same, played as amateurs do."""
    player.band(0.012, 0.3)


def arpeggio(player: Player) -> None:
    """Plucked chords, note after note."""
    for number in range(int(2 * player.seconds / player.beat) + 1):
        root, third, fifth = player.chord(number // 8)
        pitch = (root, third, fifth, root + 12, fifth, third, root, fifth)[number % 8] + 12
        at = number * player.beat / 2 + abs(player.human(0.005))
        player.add(player.note(pitch, 1.2, 3.5, 0.003), at, 0.4 * (1 + player.human(0.15)))


def strings(player: Player) -> None:
    """Long chords with vibrato, swelling: film music that does not repeat."""
    length = player.random.uniform(2, 4)
    for number in range(int(player.seconds / length) + 1):
        root, *others = player.chord(number)
        for pitch in (root, *others, root + 12, root + 19):
            vibrato = player.random.uniform(0.1, 0.5)
            player.add(player.note(pitch, length + 0.3, 0.1, 0.3, vibrato=vibrato), number * length, 0.2)
    player.sound *= 1 + 0.3 * np.sin(2 * np.pi * 0.2 * np.arange(len(player.sound)) / player.rate)


def piano(player: Player) -> None:
    """A left hand with a pattern and a melody without one."""
    for number in range(int(2 * player.seconds / player.beat) + 1):
        root, _, fifth = player.chord(number // 4)
        player.add(player.note(fifth if number % 2 else root, 1.0, 2.5, 0.003), number * player.beat / 2, 0.35)
        if player.random.random() < 0.7:
            pitch = player.key + 24 + int(player.random.choice((0, 2, 4, 5, 7, 9, 11)))
            player.add(player.note(pitch, 1.2, 2.0, 0.003), number * player.beat / 2, 0.35 * (1 + player.human(0.2)))


def drums(player: Player) -> None:
    """Nothing held: kick, snare and hats."""
    player.drums(0.006, 0.2)


KINDS: dict[str, Callable[[Player], None]] = {
    kind.__name__: kind for kind in (loop, band, loose_band, arpeggio, strings, piano, drums)
}


def music(kind: str, count: int, rate: int, seed: int) -> Floats:
    """`count` samples of a kind of music."""
    player = Player(count / rate, rate, seed)
    KINDS[kind](player)
    return player.sound[:count]


def mixed(voice: Floats, other: Floats, decibels: float = 0.0) -> Floats:
    """Voice plus something else, the voice `decibels` louder."""
    return np.asarray(voice + other * np.sqrt((voice @ voice) / (other @ other) / 10 ** (decibels / 10)))


def si_sdr(estimate: Floats, truth: Floats) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (J. Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019)."""
    estimate, truth = estimate - estimate.mean(), truth - truth.mean()
    target = (estimate @ truth) / (truth @ truth) * truth
    rest = estimate - target
    return float(10 * np.log10((target @ target) / (rest @ rest + 1e-20)))
