"""TinyDet S, M and L on a CPU: PyTorch against ONNX Runtime in float32 and in 8 bits.

Each looks at the same noise of its recipe's size, from decoded pixels to boxes in pixels of the
image: 200 proposals, random weights, a score threshold that lets `--candidates` pairs of a region
and a class reach the suppression. They run in turns; a ratio is the median of the ratios of the
turns. The published code took 47.1, 76.3 and 180 ms for S, M and L, on another machine, with one
thread and without reading or preparing the image.

Peak memory is that of a process of its own that runs the exported TinyDet-S with the runner of
`motedet export --with-runner`, and of one that imports the same packages and does nothing.

    python benchmarks/cpu.py --json benchmarks/results/cpu.json
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from motedet.data import Compose, Sample, collate
from motedet.engine import LoadedDetector
from motedet.engine.predict import predict_images
from motedet.engine.weights import build_untrained
from motedet.export.onnx_file import ExportOptions, export_onnx
from motedet.export.runtime import Model
from motedet.models.detectors import FasterRCNN
from motedet.recipes import load_recipe

PUBLISHED: Final = {"tinydet/s_coco": 47.1, "tinydet/m_coco": 76.3, "tinydet/l_coco": 180.0}  # ms
CLASSES: Final = 80
IMPORTS: Final = "import numpy, onnxruntime, PIL.Image"
RUN: Final = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code
"""
TELL_PEAK: Final = """
import re
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])  # kB
"""


@dataclass(frozen=True)
class Record:
    """One recipe in one runtime.

    Attributes:
        ratio: of PyTorch's wall seconds to these; above 1 is faster than PyTorch.
        processor_ratio: likewise of processor seconds.
        published: milliseconds of the published code.
        candidates: that reached the suppression.
        detections: that it left.
    """

    recipe: str
    runtime: str
    threads: int
    milliseconds: float
    processor_milliseconds: float
    ratio: float
    processor_ratio: float
    published: float
    candidates: int
    detections: int
    rounds: int
    machine: str


@dataclass(frozen=True)
class Setup:
    """A detector with random weights, its image and its files.

    Attributes:
        candidates: pairs of a region and a class that its threshold lets through.
        onnx: exported file of each precision.
    """

    loaded: LoadedDetector
    image: Tensor
    candidates: int
    onnx: dict[str, Path]


def set_up(name: str, candidates: int, folder: Path) -> Setup:
    """Build, choose the threshold, and export."""
    torch.manual_seed(0)
    recipe = load_recipe(name)
    detector = build_untrained(recipe, CLASSES).eval()
    if not isinstance(detector, FasterRCNN):
        raise TypeError(f"{name} must be a Faster R-CNN; found {type(detector).__name__}")
    (side, _), classes = recipe_size(name), tuple(map(str, range(CLASSES)))
    image = torch.randint(256, (3, side, side), dtype=torch.uint8)
    loaded = LoadedDetector(detector, recipe, classes)
    passed = choose_threshold(loaded, detector, image, candidates)
    noise = folder / "noise"
    noise.mkdir(exist_ok=True)
    for number in range(8):
        pixels = torch.randint(256, (side, side, 3), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(noise / f"{side}_{number}.png")
    calibration = sorted(noise.glob(f"{side}_*.png"))
    options = {
        "ONNX": ExportOptions(size=(side, side)),
        "ONNX int8": ExportOptions(size=(side, side), precision="int8", calibration=calibration),
    }
    paths = {}
    for runtime, option in options.items():
        paths[runtime] = folder / f"{name.replace('/', '_')} {runtime}.onnx"
        found = export_onnx(detector, recipe, classes, paths[runtime], options=option)
        print(f"{name} {runtime}: {found}", flush=True)
    return Setup(loaded, image, passed, paths)


def recipe_size(name: str) -> tuple[int, int]:
    """(height, width) to which a recipe resizes every image."""
    resize = load_recipe(name).data.test_transforms[0]
    height, width = getattr(resize, "size", (None, None))
    if height is None or width is None:
        raise TypeError(f"{name} must resize images to one size; found {resize}")
    return height, width


@torch.no_grad()
def choose_threshold(
    loaded: LoadedDetector, detector: FasterRCNN, image: Tensor, candidates: int
) -> int:
    """Spread the logits, and set the threshold; the number of pairs that it lets through."""
    inputs = collate([Compose(loaded.recipe.data.test_transforms)(Sample.of_image(image), _none())])
    outputs = detector.outputs(inputs.images, inputs.image_sizes).second
    classifier = detector.roi_head["bbox_head"].fc_cls
    classifier.weight *= 2 / outputs.logits.std()  # type: ignore[union-attr, operator]
    outputs = detector.outputs(inputs.images, inputs.image_sizes).second
    probs = outputs.logits.softmax(dim=1)[:, :-1]  # [R, K]
    thresh = probs.flatten().topk(candidates + 1).values[-1].item()
    rule = replace(detector.spec.postprocess, score_thresh=thresh)
    detector.spec = replace(detector.spec, postprocess=rule)
    return int((probs > thresh).sum())


def _none() -> torch.Generator:
    """For transforms that draw nothing."""
    return torch.Generator()


def compare(name: str, setup: Setup, threads: int, rounds: int) -> list[Record]:
    """All runtimes in turns."""
    torch.set_num_threads(threads)
    pixels = setup.image.permute(1, 2, 0).contiguous().numpy()
    calls: dict[str, Callable[[], int]] = {
        "PyTorch": lambda: len(predict_images(setup.loaded, [setup.image])[0])
    }
    for runtime, path in setup.onnx.items():
        model = Model(path, threads=threads)
        calls[runtime] = lambda model=model: len(model.predict([pixels])[0][1])  # type: ignore[misc]
    wall: dict[str, list[float]] = {runtime: [] for runtime in calls}
    processor: dict[str, list[float]] = {runtime: [] for runtime in calls}
    found = dict.fromkeys(calls, 0)
    for turn in range(rounds + 2):  # two to warm up
        for runtime, call in calls.items():
            start, used = time.perf_counter(), time.process_time()
            found[runtime] = call()
            if turn >= 2:
                wall[runtime].append(time.perf_counter() - start)
                processor[runtime].append(time.process_time() - used)
    return [
        Record(
            recipe=name,
            runtime=runtime,
            threads=threads,
            milliseconds=1e3 * statistics.median(wall[runtime]),
            processor_milliseconds=1e3 * statistics.median(processor[runtime]),
            ratio=median_ratio(wall["PyTorch"], wall[runtime]),
            processor_ratio=median_ratio(processor["PyTorch"], processor[runtime]),
            published=PUBLISHED[name],
            candidates=setup.candidates,
            detections=found[runtime],
            rounds=rounds,
            machine=f"cpu ({platform.machine()}), torch {torch.__version__}",
        )
        for runtime in calls
    ]


def median_ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """Of the turns."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def peak_megabytes(code: str, arguments: Sequence[str] = ()) -> float:
    """Largest resident memory of a Python process that runs some code with one thread."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", f"{code}\n{TELL_PEAK}", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    return int(done.stdout.split()[-1]) / 1024


def memory(setup: Setup, folder: Path) -> dict[str, float]:
    """Peak memory in MB of the runner with each file, and of its imports alone."""
    runner = folder / "run_model.py"
    runner.write_text(files("motedet.export").joinpath("runtime.py").read_text(encoding="utf-8"))
    picture = folder / "picture.png"
    Image.fromarray(setup.image.permute(1, 2, 0).numpy()).save(picture)
    peaks = {"imports alone": peak_megabytes(IMPORTS)}
    for runtime, path in setup.onnx.items():
        out = folder / "found"
        shutil.rmtree(out, ignore_errors=True)
        arguments = [str(runner), str(path), str(picture), "-o", str(out)]
        peaks[runtime] = peak_megabytes(RUN, arguments)
    return peaks


def table(records: Sequence[Record]) -> str:
    """One row per recipe, runtime and number of threads."""
    lines = [
        "| recipe | threads | runtime | ms | processor ms | faster than PyTorch | published, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in records:
        lines.append(
            f"| {r.recipe} | {r.threads} | {r.runtime} | {r.milliseconds:.1f} "
            f"| {r.processor_milliseconds:.1f} | {r.ratio:.2f} | {r.published:g} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", choices=list(PUBLISHED), default=list(PUBLISHED))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()

    records: list[Record] = []
    peaks: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in args.recipes:
            setup = set_up(name, args.candidates, folder)
            for threads in args.threads:
                records += compare(name, setup, threads, args.rounds)
            if name == "tinydet/s_coco":
                peaks = memory(setup, folder)
    print(table(records))
    print("peak memory, MB:", {name: round(peak, 1) for name, peak in peaks.items()})
    if args.json:
        content = {"records": [asdict(r) for r in records], "peak_megabytes": peaks}
        args.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
