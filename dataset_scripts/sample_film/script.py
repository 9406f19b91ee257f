"""What is said and shown in the sample film, and when: the script, and the timeline that the spoken lengths give it.

The voices are espeak-ng's. Its Mandarin voice for characters spells their pinyin in English, so Mandarin lines carry the pinyin
to be spoken beside the characters to be shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FPS = 24
WIDTH, HEIGHT = 640, 360
SAMPLE_RATE = 48_000

View = Literal["title", "launch", "a", "b", "two_warm", "two_cold", "sunrise", "end"]


@dataclass(frozen=True)
class Speaker:
    """One voice, and the person behind it.

    Attributes:
        variant: espeak-ng voice variant, appended to the language's voice.
        pitch: espeak-ng pitch, 0 to 99.
        speed: factor on the words per minute of the language.
        pan: place between the loudspeakers, -1 (left) to 1 (right).
    """

    name: str
    gender: Literal["female", "male"]
    age: Literal["adult", "middle-aged", "elderly"]
    on_screen: bool
    variant: str
    pitch: int
    speed: float
    pan: float


SPEAKERS: dict[str, Speaker] = {
    "a": Speaker("Lin", "female", "adult", True, "f2", 66, 1.0, -0.22),
    "b": Speaker("Mark", "male", "adult", True, "edward", 36, 1.0, 0.22),
    "narrator": Speaker("Narrator", "male", "elderly", False, "gustave", 5, 0.94, 0.0),
}

# (espeak-ng voice, words per minute): chosen so that Mandarin runs at about four and a half syllables a second.
LANGUAGES: dict[str, tuple[str, int]] = {"zh": ("cmn-latn-pinyin", 190), "en": ("en-us", 158)}


@dataclass(frozen=True)
class Line:
    """One sentence: who says it, what is shown and written, and how espeak-ng has to read it."""

    speaker: str
    view: View
    text: str
    spoken: str


@dataclass(frozen=True)
class Scene:
    """Lines in one place and language.

    Attributes:
        lead: seconds before the first line.
        tail: seconds after the last line; a scene without lines lasts `lead + tail`.
        view: what a scene without lines shows.
    """

    scene_type: Literal["card", "narration", "monologue", "dialogue"]
    lang: Literal["zh", "en", ""]
    burnt_in: bool
    lines: tuple[Line, ...]
    lead: float = 0.5
    tail: float = 0.45
    view: View = "title"


SCENES: tuple[Scene, ...] = (
    Scene("card", "", False, (), 1.6, 1.4, "title"),
    Scene(
        "narration",
        "zh",
        True,
        (
            Line(
                "narrator",
                "launch",
                "那一年冬天，他们第一次飞向月亮。",
                "na4 yi4 nian2 dong1tian1, ta1men5 di4 yi1 ci4 fei1 xiang4 yue4liang5.",
            ),
            Line("narrator", "launch", "出发之前，没有人知道归期。", "chu1fa1 zhi1qian2, mei2you3 ren2 zhi1dao4 gui1qi1."),
        ),
        0.7,
    ),
    Scene(
        "monologue",
        "zh",
        True,
        (
            Line(
                "a",
                "a",
                "小时候，我每天晚上都在院子里数星星。",
                "xiao3shi2hou5, wo3 mei3tian1 wan3shang5 dou1 zai4 yuan4zi5 li3 shu3 xing1xing5.",
            ),
            Line("a", "a", "今天，我终于要离它们近一点了！", "jin1tian1, wo3 zhong1yu2 yao4 li2 ta1men5 jin4 yi4dian3 le5!"),
        ),
    ),
    Scene(
        "dialogue",
        "zh",
        False,
        (
            Line("b", "two_warm", "马上就要起飞，你真的不害怕吗？", "ma3shang4 jiu4 yao4 qi3fei1, ni3 zhen1de5 bu2 hai4pa4 ma5?"),
            Line("a", "two_warm", "怕，可是我更怕留在这里。", "pa4, ke3shi4 wo3 geng4 pa4 liu2 zai4 zhe4li3."),
        ),
    ),
    Scene(
        "dialogue",
        "en",
        False,
        (
            Line("b", "b", "Control gives us ten minutes before the hatch closes.", ""),
            Line("a", "a", "So tell me one thing: why did you really come?", ""),
            Line("b", "two_cold", "Because somebody has to bring you home again.", ""),
            Line("a", "two_cold", "Then promise me we will both see the morning.", ""),
        ),
    ),
    Scene(
        "narration",
        "en",
        False,
        (Line("narrator", "sunrise", "And when the sun came up, the sea was waiting for them.", ""),),
        0.7,
        0.9,
    ),
    Scene("card", "", False, (), 1.2, 1.4, "end"),
)

# Pauses between the lines of a scene, in seconds, taken in turn: an even rhythm would sound like a metronome.
_PAUSES = (0.55, 0.7, 0.45, 0.6, 0.5)


@dataclass(frozen=True)
class Cue:
    """A line in its place: `start` and `end` are the first and last audible moments, in seconds, on a 1 ms grid."""

    line: Line
    scene: int
    start: float
    end: float


@dataclass(frozen=True)
class Shot:
    """Frames `first` to `last` (exclusive) that show one view."""

    view: View
    scene: int
    first: int
    last: int


@dataclass(frozen=True)
class Timeline:
    """The whole film: cues in order, and shots that tile it."""

    cues: tuple[Cue, ...]
    shots: tuple[Shot, ...]

    @property
    def frames(self) -> int:
        """Number of video frames."""
        return self.shots[-1].last


def all_lines() -> list[Line]:
    """Every line, in the order of the film."""
    return [line for scene in SCENES for line in scene.lines]


def lay_out(seconds: list[float]) -> Timeline:
    """Place every line, given how long each one is when spoken; shots change in the middle of pauses.

    Args:
        seconds: spoken length of each line, in the order of `all_lines`.
    """
    cues: list[Cue] = []
    cuts: list[tuple[View, int, float]] = []
    lengths = iter(seconds)
    now = 0.0
    for number, scene in enumerate(SCENES):
        cuts.append((scene.lines[0].view if scene.lines else scene.view, number, now))
        now += scene.lead
        for i, line in enumerate(scene.lines):
            if i:
                pause = _PAUSES[len(cues) % len(_PAUSES)]
                if line.view != scene.lines[i - 1].view:
                    cuts.append((line.view, number, now + pause / 2))
                now += pause
            start = round(now, 3)
            now = start + next(lengths)
            cues.append(Cue(line, number, start, round(now, 3)))
        now += scene.tail
    borders = [round(at * FPS) for *_, at in cuts] + [round(now * FPS)]
    shots = [Shot(view, scene, borders[i], borders[i + 1]) for i, (view, scene, _) in enumerate(cuts)]
    return Timeline(tuple(cues), tuple(shots))
