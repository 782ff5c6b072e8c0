"""Numbers as `words` has them, with their sources: what templates put values through."""

from finetune.report import words
from finetune.report.records import Score
from finetune.report.sourced import Record, Shown, Value, at, shown

Figure = Score | Value | float | int | None


def number(figure: Figure, places: int = 3) -> Shown | str:
    """'0.934' of a score, a value or a plain number."""
    plain, source = _parted(figure)
    return shown(words.number(plain, places), source) if plain is not None else words.NOTHING


def probability(figure: Figure) -> Shown | str:
    """'0.83', '0.997' of a probability: more decimals where two would say that it is certain."""
    plain, source = _parted(figure)
    return shown(words.probability(plain), source) if plain is not None else words.NOTHING


def signed(figure: Figure, places: int = 3) -> Shown | str:
    """'+0.012' of a score, a value or a plain number."""
    plain, source = _parted(figure)
    return shown(words.signed(plain, places), source) if plain is not None else words.NOTHING


def hundredths(figure: Figure, places: int = 0) -> Shown | str:
    """'71 %' of a share."""
    plain, source = _parted(figure)
    return words.NOTHING if plain is None else shown(f"{words.share(plain, places)} %", source, verb="percent")


def points(figure: Figure, places: int = 1) -> Shown | str:
    """'+1.2': a difference of shares in hundredths."""
    plain, source = _parted(figure)
    return words.NOTHING if plain is None else shown(words.signed(100 * plain, places), source, verb="percent")


def count(figure: Figure) -> Shown | str:
    """'1,234' of a whole number."""
    plain, source = _parted(figure)
    return words.NOTHING if plain is None else shown(f"{plain:,}", source)


def counted(figure: Figure, one: str, many: str) -> Shown | str:
    """'1 image', '1,234 images'."""
    plain, source = _parted(figure)
    return shown(words.counted(int(plain or 0), one, many), source)


def interval(score: Score, places: int = 3, between: str = " to ") -> Shown | str:
    """'0.89 to 0.97' of a score, or a dash."""
    text = words.interval(score, places, between)
    return text if text == words.NOTHING else shown(text, *_ends(score))


def interval_in_hundredths(score: Score) -> Shown | str:
    """'95 to 99 %' of a share, or a dash."""
    if score.low is None or score.high is None:
        return words.NOTHING
    text = f"{words.share(score.low)} to {words.share(score.high)} %"
    return shown(text, *_ends(score), verb="percent")


def signed_interval(score: Score, places: int = 3) -> Shown | str:
    """'−0.012 to +0.034' of a difference, or a dash."""
    if score.low is None or score.high is None:
        return words.NOTHING
    return shown(f"{words.signed(score.low, places)} to {words.signed(score.high, places)}", *_ends(score))


def low(score: Score, places: int = 3) -> Shown | str:
    """The lower end of the interval."""
    return number(at(score, "low"), places)


def high(score: Score, places: int = 3) -> Shown | str:
    """The upper end of the interval."""
    return number(at(score, "high"), places)


def interval_if_any(figure: Figure, places: int = 3) -> Shown | str:
    """The interval of a score, a dash for what has none."""
    return interval(figure, places) if isinstance(figure, Score) else words.NOTHING


def interval_in_points(score: Score) -> Shown | str:
    """'1.2 to 3.4' of a difference of shares, in hundredths."""
    if score.low is None or score.high is None:
        return words.NOTHING
    text = f"{100 * score.low:.1f} to {100 * score.high:.1f}"
    return shown(text, *_ends(score), verb="percent")


def lost(score: Score) -> Shown | str:
    """'1.2' points of what was lost, where something was."""
    plain, source = _parted(score)
    return words.NOTHING if plain is None else shown(f"{100 * plain:.1f}", source, verb="percent")


def drop(score: Score) -> Shown | str:
    """'−0.012' of what was lost: a loss of 0.012."""
    plain, source = _parted(score)
    return words.NOTHING if plain is None else shown(words.signed(-plain), source, verb="minus")


def drop_interval(score: Score) -> Shown | str:
    """'[−0.03, 0.01]' of what was lost."""
    if score.low is None or score.high is None:
        return ""
    ends = _ends(score)
    return shown(f"[{words.signed(-score.high)}, {words.signed(-score.low)}]", ends[1], ends[0], verb="minus")


def less(record: Record, name: str, taken: str) -> Shown | str:
    """How many are left of one number of a record when another is taken away."""
    whole, part = at(record, name), at(record, taken)
    left = int(whole.number or 0) - int(part.number or 0)
    return shown(f"{left:,}", whole.source, part.source, verb="less")


def plainly(figure: Figure) -> Shown | str:
    """'0.25': as few digits as the number has."""
    plain, source = _parted(figure)
    return words.NOTHING if plain is None else shown(f"{plain:.4g}", source)


def significant(figure: Figure) -> Shown | str:
    """'0.0123', '7,890': three digits of a number that is not negative and may be of any size."""
    plain, source = _parted(figure)
    return words.NOTHING if plain is None else shown(words.significant(plain), source)


def in_words(score: Score) -> Shown | str:
    """'About 9 in 10', to begin a sentence with."""
    text = words.in_words(score)
    return shown(text[:1].upper() + text[1:], score.origin, verb="words")


def _parted(figure: Figure) -> tuple[float | int | None, str]:
    match figure:
        case Score():
            return figure.value, at(figure, "value").source
        case Value():
            return figure.number, figure.source
        case _:
            return figure, ""


def _ends(score: Score) -> tuple[str, str]:
    return at(score, "low").source, at(score, "high").source
