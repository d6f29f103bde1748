"""The folder in which a run keeps what it makes."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from motedet.errors import DataError


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names of the files of a run; nothing outside this class spells them.

    Attributes:
        root: the folder.
    """

    root: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.root / "recipe.yaml"

    @property
    def best(self) -> Path:
        """Weights of the best validation."""
        return self.root / "best.safetensors"

    @property
    def last(self) -> Path:
        """Weights of the last epoch."""
        return self.root / "last.safetensors"

    @property
    def state(self) -> Path:
        """Everything that `--resume` needs."""
        return self.root / "last.ckpt"

    @property
    def metrics(self) -> Path:
        """Scores of the best weights."""
        return self.root / "metrics.json"

    @property
    def detections(self) -> Path:
        """Detections of the best weights on the validation images, as COCO results."""
        return self.root / "detections.json"

    @property
    def logs(self) -> Path:
        """One folder of CSV and TensorBoard logs for each start or restart."""
        return self.root / "logs"

    @property
    def history(self) -> Path:
        """The CSV logs of all starts of the run, one after the other."""
        return self.root / "history.csv"

    @property
    def figures(self) -> Path:
        """Pictures."""
        return self.root / "figures"

    def prepare(self, *, resume: bool, force: bool) -> None:
        """Make the folder, unless that would mix two runs.

        Raises:
            DataError: if there is a run already and neither `resume` nor `force` is set, or nothing
                to resume.
        """
        if resume and not self.state.is_file():
            raise DataError(f"{self.root}: nothing to resume, {self.state.name} is missing.")
        if not resume and self.recipe.exists() and not force:
            raise DataError(
                f"{self.root}: there is a run already; go on with --resume, choose another folder "
                "with -o, or replace it with --force."
            )
        if force and not resume:
            for path in (self.best, self.last, self.state, self.metrics, self.detections):
                path.unlink(missing_ok=True)
            shutil.rmtree(self.logs, ignore_errors=True)
            shutil.rmtree(self.figures, ignore_errors=True)
        self.root.mkdir(parents=True, exist_ok=True)

    def histories(self) -> list[Path]:
        """The CSV log of each start or restart, in order."""
        parts = self.logs.glob("part_*/metrics.csv")
        return sorted(parts, key=lambda path: int(path.parent.name.removeprefix("part_")))

    def next_part(self) -> str:
        """Name of the log folder of this start."""
        parts = [int(p.name.removeprefix("part_")) for p in self.logs.glob("part_*")]
        return f"part_{max(parts, default=-1) + 1}"
