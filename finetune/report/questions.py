"""The ten questions that a report answers, in order; and those of them that new images answer."""

from collections.abc import Callable

from finetune.report.evidence import Evidence
from finetune.report.exactly import what_exactly_is_this
from finetune.report.good import how_good_is_it
from finetune.report.helps import what_would_help
from finetune.report.learnt import how_did_it_learn
from finetune.report.robust import how_robust_is_it
from finetune.report.section import Section
from finetune.report.sees import what_does_it_see
from finetune.report.sound import is_the_data_sound
from finetune.report.trusted import can_its_confidence_be_used
from finetune.report.worse import for_whom_is_it_worse
from finetune.report.wrong import where_is_it_wrong

QUESTIONS: tuple[Callable[[Evidence], Section], ...] = (
    how_good_is_it,
    where_is_it_wrong,
    can_its_confidence_be_used,
    is_the_data_sound,
    what_does_it_see,
    how_robust_is_it,
    for_whom_is_it_worse,
    what_would_help,
    how_did_it_learn,
    what_exactly_is_this,
)

OF_NEW_IMAGES = tuple(
    question
    for question in QUESTIONS
    if question not in (how_robust_is_it, what_would_help, how_did_it_learn)  # the bundle's own report answers them
)
