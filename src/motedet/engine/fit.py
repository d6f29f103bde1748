"""Training: a recipe and a data folder become a run folder."""

import logging
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from motedet.data import (
    Catalog,
    ImageRecord,
    TrainTiles,
    count_kinds,
    cut_windows,
    decoded_bytes,
    image_problems,
    prepare_catalog,
    refuse_fatal,
)
from motedet.data.rasters import TIFF_SUFFIXES
from motedet.data.transforms.scale_match import SizeMatching
from motedet.engine.callbacks import MovingAverage, Saving
from motedet.engine.class_order import order_classes
from motedet.engine.evaluate import Scoring, evaluate
from motedet.engine.loaders import (
    CACHE_BYTES,
    record_loader,
    shuffled_loader,
    training_batches,
    training_listing,
    validation_loader,
    whole_batches,
)
from motedet.engine.module import DetectorModule
from motedet.engine.processes import choose_device, is_main_process, processes_here
from motedet.engine.progress import EpochBars, EpochLines
from motedet.engine.run_folder import RunFolder
from motedet.engine.schedules import static_precision
from motedet.engine.tiles import predict_record
from motedet.engine.weights import (
    LoadedDetector,
    backbones,
    build_untrained,
    frozen_layers,
    start_from,
)
from motedet.errors import RecipeError
from motedet.files import write_json, write_text
from motedet.metrics import Scores
from motedet.models.detectors import Detector
from motedet.recipes import Recipe, ViewsSpec, dump_recipe, load_recipe, parse_recipe
from motedet.structures import Detections

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
    detector = recipe.model.build(num_classes)
    random = not any(backbone.pretrained for backbone in backbones(recipe))
    if random and (frozen := frozen_layers(detector.backbone)):
        logger.warning(
            "%s freezes %d layers of %s, which now stay random: start from weights (--init FILE "
            "reads yours, --pretrained fetches timm's where there are any) or freeze nothing "
            "(such as --set model.backbone.frozen_stages=0)",
            recipe.name,
            frozen,
            recipe.model.backbone.name,
        )
    return detector


def open_data(recipe: Recipe, root: Path) -> tuple[Catalog, Catalog]:
    """The cleaned training images, and the validation images as they are, labels in one order.

    Where the recipe has `data.tiles`, training images are windows of files; only they are cut, so
    that no image has windows on both sides. Tolerated problems are counted and named in the log.
    Validation is scored against the file's own boxes, as `evaluate` and other tools do.

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
    if data.tiles is not None:
        train_data = _cut(train_data, data.tiles, seed=recipe.train.seed)
    if recipe.classes is not None:
        train_data = order_classes(train_data, recipe.classes)
    return train_data, order_classes(val_data, train_data.classes)


def _cut(catalog: Catalog, tiles: TrainTiles, *, seed: int) -> Catalog:
    """The windows of the training images, with a word on what they cost."""
    cut = cut_windows(catalog, tiles, seed=seed)
    logger.info("train: %d windows of %d images", len(cut), len(catalog))
    whole = [r.path for r in cut.records if r.path.suffix.lower() not in TIFF_SUFFIXES]
    if whole and decoded_bytes(cut) >= CACHE_BYTES:
        logger.warning(
            "the images are too large to keep decoded (%.1f GB) and each, such as %s, is decoded "
            "for every window of it; `motedet tile` cuts them once, and TIFF files are read by "
            "window",
            decoded_bytes(cut) / 1e9,
            whole[0],
        )
    return cut


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
    spec, workers = recipe.train, hardware.loading_processes
    listing = training_listing(recipe, catalogs[0])
    steps_per_epoch = math.ceil(whole_batches(len(listing), spec.batch_size) / spec.accumulate)
    epochs = spec.num_epochs(steps_per_epoch)
    for transform in recipe.data.train_transforms:
        if isinstance(transform, SizeMatching):
            transform.check()  # reads the sizes once, before processes that load images start
    trainer = build_trainer(recipe, folder, hardware, epochs=epochs)
    rank, world = trainer.global_rank, trainer.world_size
    batches = training_batches(recipe, catalogs[0], listing=listing, rank=rank, world=world)
    average = MovingAverage(spec.ema_decay) if spec.ema_decay else None
    saving = Saving(
        folder,
        batches,
        describe=(recipe.model_dump_json(), catalogs[0].classes),
        average=average,
        steps=spec.num_steps(steps_per_epoch),
        headline=recipe.protocol.headline,
    )
    callbacks = [c for c in (average, saving) if c is not None]
    trainer.callbacks[:0] = callbacks  # type: ignore[attr-defined]  # Lightning sets it late

    if spec.channels_last:
        detector = detector.to(memory_format=torch.channels_last)
    module = DetectorModule(
        detector,
        spec,
        steps_per_epoch=steps_per_epoch,
        scoring=Scoring.of(catalogs[1], recipe.protocol),
        tiled=_tiled(recipe, detector, catalogs[1]),
    )
    trainer.fit(
        module,
        shuffled_loader(batches, workers=workers),
        record_loader(catalogs[1], rank=rank, world=world)
        if recipe.test_tiles
        else validation_loader(recipe, catalogs[1], workers=workers, rank=rank, world=world),
        ckpt_path=folder.state if resume else None,
        weights_only=False,  # our own state, written by this run
    )


def _tiled(
    recipe: Recipe, detector: Detector, val_data: Catalog
) -> Callable[[ImageRecord], Detections] | None:
    """How validation looks at an image of a recipe with `test_tiles`: once, as it is."""
    if recipe.test_tiles is None:
        return None
    plain = recipe.model_copy(update={"test_time": ViewsSpec()})
    return partial(
        predict_record,
        LoadedDetector(detector, plain, val_data.classes),
        tiles=recipe.test_tiles,
        batch_size=recipe.train.batch_size,
    )


def build_trainer(
    recipe: Recipe, folder: RunFolder, hardware: Hardware, *, epochs: int
) -> L.Trainer:
    """Lightning's trainer, set as the recipe and the hardware say, for so many epochs at most."""
    spec, part = recipe.train, folder.next_part()
    devices, machines = processes_here(hardware.devices)
    loggers: list[Logger] = [
        CSVLogger(folder.root, name=folder.logs.name, version=part, flush_logs_every_n_steps=50),
        TensorBoardLogger(folder.root, name=folder.logs.name, version=part),
    ]
    device = choose_device(hardware.accelerator)
    precision = static_precision(spec, device)
    progress = EpochBars if hardware.progress else EpochLines
    return L.Trainer(
        accelerator=device,
        devices=devices,
        num_nodes=machines,
        min_epochs=0,  # training by steps may end in the first one
        max_epochs=epochs,
        precision=None if precision else spec.precision,
        plugins=precision,
        accumulate_grad_batches=spec.accumulate,
        gradient_clip_val=spec.clip_norm,
        check_val_every_n_epoch=spec.validate_every,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=hardware.progress,
        use_distributed_sampler=False,
        log_every_n_steps=10,
        logger=loggers,
        callbacks=[progress(steps=spec.steps)],
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
