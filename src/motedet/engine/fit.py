"""Training: a recipe and a data folder become a run folder."""

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from motedet.data import (
    Catalog,
    DetectionDataset,
    count_kinds,
    decoded_bytes,
    image_problems,
    prepare_catalog,
    refuse_fatal,
)
from motedet.engine.callbacks import MovingAverage, Saving
from motedet.engine.class_order import order_classes
from motedet.engine.evaluate import Scoring, evaluate
from motedet.engine.loaders import GlobalBatches, ordered_loader, shuffled_loader
from motedet.engine.module import DetectorModule
from motedet.engine.processes import choose_device, is_main_process, processes_here
from motedet.engine.progress import EpochBars, EpochLines
from motedet.engine.run_folder import RunFolder
from motedet.engine.weights import backbones, build_untrained, start_from
from motedet.errors import RecipeError
from motedet.files import write_json, write_text
from motedet.metrics import Scores
from motedet.models.detectors import Detector
from motedet.recipes import Recipe, dump_recipe, load_recipe, parse_recipe

CACHE_BYTES = 1 << 30  # decoded images of smaller splits are kept in memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What training runs on; not part of a recipe, because results do not depend on it.

    Attributes:
        accelerator: "auto", "cpu" or "cuda".
        devices: processes that share each global batch.
        workers: processes that load images, per training process; None takes several with a GPU,
            and none on a CPU, which the network needs itself.
        progress: show a progress bar.
    """

    accelerator: str = "auto"
    devices: int = 1
    workers: int | None = None
    progress: bool = False

    @property
    def loading_processes(self) -> int:
        """The number behind `workers`."""
        if self.workers is not None:
            return self.workers
        on_gpu = choose_device(self.accelerator) == "cuda"
        return min(8, max((os.cpu_count() or 2) // 2, 1)) if on_gpu else 0


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training left behind.

    Attributes:
        run: the run folder.
        weights: the best weights.
        scores: of the best weights on the validation images; empty in all processes but the first.
    """

    run: Path
    weights: Path
    scores: Scores


def train(
    recipe: Recipe | str,
    data: Path | str,
    *,
    run: Path | str | None = None,
    init: Path | str | None = None,
    resume: bool = False,
    force: bool = False,
    hardware: Hardware = Hardware(),
) -> TrainResult:
    """Train a detector and score it on the validation images.

    Args:
        recipe: a recipe, or the name or path of one.
        data: the folder that the recipe's data set expects.
        run: where everything goes; by default `runs/<recipe name>`.
        init: weights to start from, as far as they fit; of ours or a published `.pth`.
        resume: go on with the run in that folder.
        force: replace the run in that folder.
        hardware: devices, loading processes, progress bar.

    Returns:
        The run folder, its best weights and their scores.

    Raises:
        RecipeError: if the recipe is not valid.
        DataError: if the data cannot be used, or the run folder is taken.
        TrainingError: if a loss is not finite, or training was stopped with Ctrl-C.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    folder = RunFolder(Path(run) if run is not None else Path("runs") / recipe.name)
    train_data, val_data = open_data(recipe, Path(data))
    for catalog in (train_data, val_data):
        refuse_fatal(image_problems(catalog))
    recipe = recipe.model_copy(update={"classes": train_data.classes})
    if resume:
        _refuse_other_recipe(folder, recipe)
    if is_main_process():
        folder.prepare(resume=resume, force=force)
        write_text(folder.recipe, dump_recipe(recipe))

    L.seed_everything(recipe.train.seed, workers=True, verbose=False)
    detector = _starting_detector(recipe, len(train_data.classes), init=init, resume=resume)
    _fit(recipe, detector, (train_data, val_data), folder=folder, resume=resume, hardware=hardware)

    best = folder.best if folder.best.exists() else folder.last
    if not is_main_process():
        return TrainResult(folder.root, best, Scores({}))
    scores, results = evaluate(best, data, workers=hardware.loading_processes)
    write_json(folder.metrics, scores.as_dict())
    write_json(folder.detections, results)
    return TrainResult(folder.root, best, scores)


def _starting_detector(
    recipe: Recipe, num_classes: int, *, init: Path | str | None, resume: bool
) -> Detector:
    """The detector before its first step."""
    if resume:
        return build_untrained(recipe, num_classes)
    if init is not None:
        detector = build_untrained(recipe, num_classes)
        start_from(detector, init)
        return detector
    for backbone in backbones(recipe):
        if backbone.pretrained:
            logger.info("fetching timm's pretrained weights of %s", backbone.name)
        elif backbone.frozen_stages:
            logger.warning(
                "%s freezes %d stages of %s, which now stay random: start from weights "
                "(--pretrained fetches timm's, --init FILE reads yours) or set "
                "model.backbone.frozen_stages=0",
                recipe.name,
                backbone.frozen_stages,
                backbone.name,
            )
    return recipe.model.build(num_classes)


def open_data(recipe: Recipe, root: Path) -> tuple[Catalog, Catalog]:
    """The cleaned training images, and the validation images as they are, labels in one order.

    Tolerated problems are counted and named in the log. Validation is scored against the file's
    own boxes, as `evaluate` and other tools do.

    Raises:
        DataError: at the first fatal problem.
    """
    data = recipe.data
    train_data = data.dataset.catalog(root, "train")
    train_data = prepare_catalog(
        train_data, keep_empty=data.keep_empty, min_image_side=data.min_image_side
    )
    val_data = data.dataset.catalog(root, "val")
    refuse_fatal(val_data.problems)
    for split, catalog in (("train", train_data), ("val", prepare_catalog(val_data))):
        for kind, count in count_kinds(catalog.problems).items():
            first = next(p for p in catalog.problems if p.kind == kind)
            logger.warning("%s: %d x %s, for example %s", split, count, kind, first)
    if recipe.classes is not None:
        train_data = order_classes(train_data, recipe.classes)
    return train_data, order_classes(val_data, train_data.classes)


def _fit(
    recipe: Recipe,
    detector: Detector,
    catalogs: tuple[Catalog, Catalog],
    *,
    folder: RunFolder,
    resume: bool,
    hardware: Hardware,
) -> None:
    """Run Lightning over the training images."""
    trainer = build_trainer(recipe, folder, hardware)
    train_set, val_set = (
        DetectionDataset(
            catalog,
            transforms,
            seed=recipe.train.seed,
            cache=decoded_bytes(catalog) < CACHE_BYTES,
        )
        for catalog, transforms in zip(
            catalogs, (recipe.data.train_transforms, recipe.data.test_transforms), strict=True
        )
    )
    batches = GlobalBatches(
        train_set,
        recipe.train.batch_size,
        seed=recipe.train.seed,
        rank=trainer.global_rank,
        world=trainer.world_size,
    )
    average = MovingAverage(recipe.train.ema_decay) if recipe.train.ema_decay else None
    describe = (recipe.model_dump_json(), catalogs[0].classes)
    saving = Saving(folder, batches, describe=describe, average=average)
    callbacks = [c for c in (average, saving) if c is not None]
    trainer.callbacks[:0] = callbacks  # type: ignore[attr-defined]  # Lightning sets it late

    if recipe.train.channels_last:
        detector = detector.to(memory_format=torch.channels_last)
    module = DetectorModule(
        detector,
        recipe.train,
        steps_per_epoch=math.ceil(len(batches) / recipe.train.accumulate),
        scoring=Scoring.of(catalogs[1], recipe.protocol),
    )
    trainer.fit(
        module,
        shuffled_loader(train_set, batches, workers=hardware.loading_processes),
        ordered_loader(
            val_set,
            batch_size=max(recipe.train.batch_size // trainer.world_size, 1),
            workers=hardware.loading_processes,
            rank=trainer.global_rank,
            world=trainer.world_size,
        ),
        ckpt_path=folder.state if resume else None,
        weights_only=False,  # our own state, written by this run
    )


def build_trainer(recipe: Recipe, folder: RunFolder, hardware: Hardware) -> L.Trainer:
    """Lightning's trainer, set as the recipe and the hardware say."""
    part = folder.next_part()
    devices, machines = processes_here(hardware.devices)
    loggers: list[Logger] = [
        CSVLogger(folder.root, name=folder.logs.name, version=part, flush_logs_every_n_steps=50),
        TensorBoardLogger(folder.root, name=folder.logs.name, version=part),
    ]
    return L.Trainer(
        accelerator=choose_device(hardware.accelerator),
        devices=devices,
        num_nodes=machines,
        max_epochs=recipe.train.epochs,
        precision=recipe.train.precision,
        accumulate_grad_batches=recipe.train.accumulate,
        gradient_clip_val=recipe.train.clip_norm,
        check_val_every_n_epoch=recipe.train.validate_every,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=hardware.progress,
        use_distributed_sampler=False,
        log_every_n_steps=10,
        logger=loggers,
        callbacks=[EpochBars() if hardware.progress else EpochLines()],
    )


def _refuse_other_recipe(folder: RunFolder, recipe: Recipe) -> None:
    """Going on with another recipe would give weights that no recipe describes."""
    if not folder.recipe.is_file():
        return
    saved = parse_recipe(folder.recipe.read_text(encoding="utf-8"), source=str(folder.recipe))
    changed = _differences(saved.model_dump(mode="json"), recipe.model_dump(mode="json"))
    if changed:
        raise RecipeError(
            f"{folder.recipe}: cannot resume, the recipe differs at {', '.join(changed[:5])}; "
            "give the same recipe and settings, or start anew in another folder with -o."
        )


def _differences(
    saved: Mapping[str, object], given: Mapping[str, object], path: str = ""
) -> list[str]:
    """Paths of the leaves that differ."""
    paths: list[str] = []
    for key in {**saved, **given}:
        left, right = saved.get(key), given.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            paths += _differences(left, right, f"{path}{key}.")
        elif left != right:
            paths.append(f"{path}{key}")
    return paths
