"""One bar for all columns."""

from jquanta.lm.corpus.progress import ProgressLine


class OneBar(ProgressLine):
    """Progress over all columns, with the column that is computed and its tokens a second."""

    def work(self, stage: str, share: float, documents: int = 0, tokens: int = 0) -> None:
        """See ``Monitor``."""
        if self.stage and stage != self.stage:
            self.bar.remove_task(self.task)
        super().work(stage, share, documents, tokens)
