"""A TIFF of 20,000 x 20,000 px, predicted by windows: memory, recall, and duplicates at seams.

The file is written by blocks, with 2,000 rectangles of 6 to 40 px at known places, half of them
moved onto the ends of windows. What is looked at here is the way from the file to the image's
detections, so the detector is a rule that finds bright rectangles and all that a window shows of
them; a part scores as much as the whole. For memory and time of a network, a strip of the same file
is predicted by an untrained FCOS. Each prediction runs in a process of its own, of which the most
memory it ever held is read in the end, torch and all; Linux only.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window as Part
from torch import Tensor, nn

from motedet.data import Tiles
from motedet.data.rasters import Raster, open_raster
from motedet.data.tiling import Window, windows
from motedet.engine.tiles import predict_tiles
from motedet.engine.weights import LoadedDetector, build_untrained
from motedet.geometry.iou import pairwise_iof, pairwise_iou
from motedet.geometry.merge import AnyMerge, PlainMerge, SeamMerge
from motedet.models.detectors import Detector
from motedet.recipes import load_recipe
from motedet.structures import Detections, Size, Targets

CELLS: Final = 45  # objects lie in cells of their own, 45 x 45 of them
SIDES: Final = (6, 41)  # px
BLOCK: Final = 512  # rows and columns of a block of the file
BRIGHT: Final = 160  # objects are, the ground is not
NOTE: Final = "the machine was shared: seconds of the clock are upper bounds"


@dataclass(frozen=True)
class Record:
    """One row of the result; memory is the most that the process held, in MB.

    Attributes:
        rows: of the image that were looked at.
        straddling: objects that at least one window cuts.
        block_cache: of GDAL, as the environment has it.
        found: objects on which a detection lies.
        exact: objects of which a detection has the box.
        duplicates: further detections on objects that have one.
        false: detections on no object.
        peak_before_mb: with torch and the detector, before the first window.
    """

    detector: str
    merge: str
    side: int
    rows: int
    file_mb: float
    block_cache: str
    windows: int
    batch: int
    peak_mb: float
    peak_before_mb: float
    seconds: float
    processor_seconds: float
    objects: int
    straddling: int
    found: int
    recall: float
    duplicates: int
    false: int
    exact: int
    threads: int
    machine: str
    note: str


class Rectangles(Detector):
    """Finds bright rectangles that do not touch."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), nn.Identity(), num_classes=1)
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> tuple[object, ...]:
        """The images as they are."""
        return (images,)

    def loss(self, images: Tensor, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}

    def predict(
        self, images: Tensor, image_sizes: Sequence[Size] | None = None
    ) -> list[Detections]:
        """Detections in images [B, 3, H, W] of uint8, scored by their brightness."""
        return [_rectangles(image[0]) for image in images]


def _rectangles(image: Tensor) -> Detections:
    """The rectangles of one channel [H, W]."""
    bright = image >= BRIGHT  # [H, W]
    corner = bright.clone()
    corner[1:] &= ~bright[:-1]
    corner[:, 1:] &= ~bright[:, :-1]
    y, x = corner.nonzero().unbind(1)  # [D]
    ends = _end(bright[y], x), _end(bright[:, x].T, y)
    boxes = torch.stack((x, y, *ends), dim=1).float()  # [D, 4]
    scores, order = (image[y, x].float() / 255).sort(descending=True)
    return Detections(boxes[order], scores, torch.zeros(len(boxes), dtype=torch.int64))


def _end(lines: Tensor, start: Tensor) -> Tensor:
    """[D] int64, where the bright run that covers `start` [D] ends on each line [D, L]."""
    dark = ~lines & (torch.arange(lines.shape[1]) > start[:, None])  # [D, L]
    return dark.int().argmax(1).where(dark.any(1), lines.shape[1])


class Strip:
    """The upper rows of another raster."""

    def __init__(self, raster: Raster, rows: int) -> None:
        self._raster = raster
        self.size: Size = (min(rows, raster.size[0]), raster.size[1])

    def read(self, window: Window) -> Tensor:
        """[3, h, w] uint8."""
        return self._raster.read(window)


def planted(side: int, tiles: Tiles) -> NDArray[np.int64]:
    """[G, 4] xyxy of rectangles in cells of their own; every second is moved to a window's end."""
    random = np.random.default_rng(0)
    cell = side // CELLS
    place = random.choice(CELLS**2, size=min(2000, CELLS**2), replace=False)
    low = np.stack((place % CELLS, place // CELLS), axis=1) * cell + 2  # [G, 2]
    sides = random.integers(*SIDES, size=low.shape)
    room = cell - 4 - sides
    corner = low + random.integers(0, room)
    ends = [window.corners for window in _plan((side, side), tiles)]
    seams = np.unique([x for x1, _, x2, _ in ends for x in (x1, x2) if 0 < x < side])
    for axis in (0, 1):
        seam = seams[np.abs(seams - corner[:, axis, None]).argmin(1)]  # [G], the nearest
        moved = seam - random.integers(1, sides[:, axis])
        fits = (moved >= low[:, axis]) & (moved <= (low + room)[:, axis])
        chosen = fits & (np.arange(len(low)) % 4 <= 1) & (np.arange(len(low)) % 2 == axis)
        corner[chosen, axis] = moved[chosen]
    return np.concatenate((corner, corner + sides), axis=1)


def _plan(size: Size, tiles: Tiles) -> tuple[Window, ...]:
    return windows(size, window=tiles.size, overlap=tiles.overlap)


def straddling(boxes: Tensor, size: Size, tiles: Tiles) -> int:
    """How many boxes [G, 4] some window cuts."""
    corners = torch.tensor([window.corners for window in _plan(size, tiles)]).float()  # [W, 4]
    share = pairwise_iof(boxes, corners)  # [G, W]
    return int(((share > 0) & (share < 1)).any(1).sum())


def write_tiff(path: Path, boxes: NDArray[np.int64], side: int) -> None:
    """Dark noise and rectangles, RGB in tiles without compression, a row of blocks at a time."""
    random = np.random.default_rng(1)
    ground = random.integers(40, 120, size=(3, BLOCK, side), dtype=np.uint8)
    grey = random.integers(BRIGHT, 256, size=len(boxes), dtype=np.uint8)
    layout = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "bigtiff": "if_safer"}
    size = {"width": side, "height": side, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", photometric="rgb", **size, **layout) as file:
        for top in range(0, side, BLOCK):
            rows = np.roll(ground, 7 * top, axis=2)[:, : side - top]  # [3, h, W]
            for i in np.flatnonzero((boxes[:, 1] < top + BLOCK) & (boxes[:, 3] > top)):
                x1, y1, x2, y2 = boxes[i]
                rows[:, max(y1 - top, 0) : max(y2 - top, 0), x1:x2] = grey[i]
            file.write(rows, window=Part(0, top, side, rows.shape[1]))


def detector(name: str) -> LoadedDetector:
    if name == "rectangles":
        recipe = load_recipe("demo", ["data.test_transforms=[]", "train.channels_last=false"])
        return LoadedDetector(Rectangles().eval(), recipe, ("rectangle",))
    recipe = load_recipe("cars_fcos_p2_r18", ["data.test_transforms.0.factor=1.0"])
    model = build_untrained(recipe, 1).eval().to(memory_format=torch.channels_last)
    return LoadedDetector(model, recipe, ("vehicle",))


def measure(options: argparse.Namespace) -> Record:
    """What a process of its own does."""
    merge: AnyMerge = PlainMerge() if options.merge == "nms" else SeamMerge()
    tiles = Tiles(size=640, overlap=100, merge=merge)
    boxes = torch.from_numpy(planted(options.side, tiles)).float()  # [G, 4]
    loaded = detector(options.detector)
    before, start, worked = peak_mb(), time.perf_counter(), time.process_time()
    with open_raster(options.file) as whole:
        raster = Strip(whole, options.rows)
        found = predict_tiles(loaded, raster, tiles, batch_size=options.batch)
    taken, processor = time.perf_counter() - start, time.process_time() - worked
    on, exact = pairwise_iof(found.boxes, boxes) > 0.5, pairwise_iou(found.boxes, boxes) > 0.99
    hit = on.any(0)  # [G]
    return Record(
        detector=options.detector,
        merge=options.merge,
        side=options.side,
        rows=raster.size[0],
        file_mb=options.file.stat().st_size / 1e6,
        block_cache=os.environ.get("GDAL_CACHEMAX", "as the library sets it"),
        windows=len(_plan(raster.size, tiles)),
        batch=options.batch,
        peak_mb=peak_mb(),
        peak_before_mb=before,
        seconds=taken,
        processor_seconds=processor,
        objects=len(boxes),
        straddling=straddling(boxes, (options.side, options.side), tiles),
        found=int(hit.sum()),
        recall=float(hit.float().mean()),
        exact=int(exact.any(0).sum()),
        duplicates=int(on.any(1).sum() - hit.sum()),
        false=int((~on.any(1)).sum()),
        threads=torch.get_num_threads(),
        machine=f"cpu ({platform.machine()})",
        note=NOTE,
    )


def peak_mb() -> float:
    """The most memory that this process ever held, whatever the one before it did."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def child(file: Path, options: argparse.Namespace, *, named: Sequence[str]) -> Record:
    """A record measured by another process.

    Args:
        file: the image.
        options: of this one.
        named: its detector, its merging, and the rows that it looks at.
    """
    name, merge, rows = named
    command = [sys.executable, __file__, "--file", str(file), "--detector", name, "--merge", merge]
    command += ["--rows", rows, "--side", str(options.side), "--batch", str(options.batch)]
    command += ["--threads", str(options.threads)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Record(**json.loads(answer.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--strip", type=int, default=1180, help="rows for the network; 0: none")
    parser.add_argument("--json", type=Path, help="write the records here")
    parser.add_argument("--file", type=Path, help="predict this file and say so in JSON")
    parser.add_argument("--detector", choices=["rectangles", "fcos"], default="rectangles")
    parser.add_argument("--merge", choices=["nms", "seams"], default="seams")
    parser.add_argument("--rows", type=int, default=1 << 30)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # pixels are all there is
    if options.file:
        print(json.dumps(asdict(measure(options))))
        return
    whole = str(options.side)
    runs = [("rectangles", "seams", whole), ("rectangles", "nms", whole)]
    runs += [("fcos", "seams", str(options.strip))] if options.strip else []
    records = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "huge.tif"
        write_tiff(file, planted(options.side, Tiles(size=640, overlap=100)), options.side)
        for named in runs:
            row = child(file, options, named=named)
            records.append(asdict(row))
            print(
                f"{row.detector:10} {row.merge:5} {row.windows:5} windows, {row.seconds:6.1f} s "
                f"(processor {row.processor_seconds:6.1f} s), peak {row.peak_mb:5.0f} MB (before "
                f"{row.peak_before_mb:4.0f}), found {row.found} of {row.objects} "
                f"({row.straddling} at seams), exact {row.exact}, duplicates {row.duplicates}, "
                f"false {row.false}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
