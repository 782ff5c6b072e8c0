"""Numbers as people read them: no more digits than the interval allows, and a share as '9 in 10'."""

import math

from finetune.report.records import Score

NOTHING = "–"
_UNITS = {"file_size": " in bytes", "width": " in pixels", "height": " in pixels"}


def digits(score: Score) -> int:
    """How many decimals are worth showing: two, or more where the interval is narrow."""
    if score.low is None or score.high is None or score.high <= score.low:
        return 3
    return max(2, min(4, math.ceil(-math.log10((score.high - score.low) / 2))))


def number(value: float | None, places: int = 3) -> str:
    """A fixed number of decimals; 0.9996 is not shown as 1.000, nor 0.0004 as 0.000."""
    if value is None:
        return NOTHING
    shown = f"{value:.{places}f}"
    if 0 < value < 1 and float(shown) in (0.0, 1.0):
        return f"> 0.{'9' * places}" if value > 0.5 else f"< 0.{'0' * (places - 1)}1"
    return shown


def probability(value: float) -> str:
    """'0.83', '0.997', '> 0.9999': two decimals, and more, up to four, where they would say that it is certain."""
    return next((text for places in (2, 3) if (text := number(value, places))[0] not in "<>"), number(value, 4))


def significant(value: float) -> str:
    """Three digits and no more, of numbers of any size: '0.0123', '4.56', '7,890'; what is tiny is '< 0.000001'."""
    if value == 0:
        return "0"
    places = min(6, max(0, 2 - math.floor(math.log10(abs(value)))))
    shown = f"{value:,.{places}f}"
    return shown if float(shown.replace(",", "")) else "< 0.000001"


def fact(name: str) -> str:
    """What a fact of images is called, with its unit: 'file size in bytes', 'width in pixels', 'sharpness'."""
    return name.replace("_", " ") + _UNITS.get(name, "")


def signed(value: float, places: int = 3) -> str:
    """'+0.012', '−0.012', '0.000': with a sign, unless nothing is left of it."""
    shown = f"{abs(value):.{places}f}"
    return shown if float(shown) == 0 else f"{'+' if value > 0 else '−'}{shown}"


def share(value: float, places: int = 0) -> str:
    """'71' of a share 0..1, in hundredths; 0.996 is not shown as 100, nor 0.004 as 0."""
    shown = f"{100 * value:.{places}f}"
    if 0 < value < 1 and float(shown) in (0.0, 100.0):
        return share(value, places + 1) if places < 3 else shown
    return shown


def gained(points: float, low: float, high: float) -> str:
    """'+2 points [0, 4]' of shares 0..1, in hundredths; with a decimal where the interval is narrow."""
    places = 0 if high - low >= 0.02 else 1
    shown, least, most = (signed(100 * share, places) for share in (points, low, high))
    return f"{shown} {'point' if shown.lstrip('+−') == '1' else 'points'} [{least.lstrip('+')}, {most.lstrip('+')}]"


def interval(score: Score, places: int = 3, between: str = " to ") -> str:
    """'0.89 to 0.97', or a dash."""
    if score.low is None or score.high is None:
        return NOTHING
    return f"{number(score.low, places)}{between}{number(score.high, places)}"


def in_words(score: Score) -> str:
    """'about 9 in 10': the coarsest fraction well inside the interval, so that words claim no more than it does."""
    value = score.value
    if value is None:
        return "an unknown share"
    if value in (0.0, 1.0):
        return "all" if value else "no"
    room = (
        0.75 * min(value - score.low, score.high - value) if score.low is not None and score.high is not None else 0.0
    )
    for wholes in ((2, 3, 4, 5, 10), (20,), (100,)):
        fractions = [(abs(part / whole - value), part, whole) for whole in wholes for part in range(1, whole)]
        away, part, whole = min(fractions)
        if away <= max(room, 0.005):
            return f"about {part} in {whole}"
    return "more than 99 in 100" if value > 0.5 else "fewer than 1 in 100"


def counted(count: int, one: str, many: str) -> str:
    """'1 image', '1,234 images'."""
    return f"{count:,} {one if count == 1 else many}"


def duration(seconds: float) -> str:
    """'0.4 s', '38 s', '4 min 12 s', '2 h 5 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
