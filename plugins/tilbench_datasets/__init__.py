"""Public test data by id: exams, reading comprehension, minimal pairs, labelled texts, named entities, reviews,
translations.

Two kinds of source. Where a public dataset on the Hub has columns that can be mapped surely, it is the source, and a
data directory with the same id takes its place. Where it has not, the dataset lives in a data directory only, and its
summary says where to get it. Columns, splits and licences are those of the datasets' published loaders; a licence that
could not be established is left empty.
"""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register
from tilbench_datasets.causes import cause_datasets
from tilbench_datasets.exams import exam_datasets
from tilbench_datasets.kazakh_exams import kazakh_exam_datasets
from tilbench_datasets.labelled import labelled_datasets
from tilbench_datasets.parallel import reversed_datasets
from tilbench_datasets.sentences import sentence_pair_datasets
from tilbench_datasets.texts import text_datasets


@hookimpl
def register_datasets(register: Register) -> None:
    """Register every dataset of this package."""
    sources = (
        exam_datasets,
        kazakh_exam_datasets,
        cause_datasets,
        sentence_pair_datasets,
        labelled_datasets,
        text_datasets,
        reversed_datasets,
    )
    for name, dataset in (each for source in sources for each in source()):
        register(name, dataset, summary=dataset.summary)
