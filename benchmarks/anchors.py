"""Faster R-CNN from scratch: RFLA's receptive fields against plain and against tuned anchors.

Only the priors and the assigner of the first stage differ. Plain anchors are those published for
COCO (8 strides: 32 px at stride 4), tuned ones have the median size of the training objects.
"""

import argparse
from pathlib import Path

from runs import Arm, compare, markdown, write

BY_IOU = "model.rpn.assigner={kind: max_iou, pos_iou: 0.7, neg_iou: 0.3, min_pos_iou: 0.3}"
PLAIN = 8.0  # strides
TUNED = {"sirst": 2.5, "cars": 3.0}  # 10 px and 12 px at stride 4, in pixels of the network input


def arms(name: str) -> list[Arm]:
    """The three ways to place and match priors."""
    recipe = f"{name}_faster_p2_r18"
    return [
        Arm("rfla", recipe),
        Arm("tuned", recipe, (_anchors(TUNED[name]), BY_IOU)),
        Arm("plain", recipe, (_anchors(PLAIN), BY_IOU)),
    ]


def _anchors(scale: float) -> str:
    return f"model.rpn.priors={{kind: anchors, strides: [4, 8, 16, 32], scales: [{scale}]}}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sirst", type=Path, help="folder of SIRST")
    parser.add_argument("--cars", type=Path, help="folder of the aerial cars")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument("--out", type=Path, default=Path("runs/anchors"))
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()

    folders = {"sirst": args.sirst, "cars": args.cars}
    pairs = [(arm, folder) for name, folder in folders.items() if folder for arm in arms(name)]
    results = compare(pairs, args.seeds, out=args.out, jobs=args.jobs, threads=args.threads)
    print(markdown(results))
    if args.json:
        write(results, args.json)


if __name__ == "__main__":
    main()
